// sample: the sequence of kernels, and the division of the vocabulary among blocks.
#include <cstddef>

#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/sample.cuh"

namespace baton::cuda {
namespace {

constexpr std::size_t kAlignment = 256;

// Lays out the workspace at `base`; returns its size.
std::size_t lay_out(std::byte* base, std::int32_t max_rows, std::int32_t vocab, Workspace& workspace) {
  std::size_t size = 0;
  const auto rows = static_cast<std::size_t>(max_rows);
  const auto take = [&](std::size_t bytes) {
    const std::size_t at = size;
    size += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return base + at;
  };
  workspace.max_parts = divide_up(vocab, kPartUnit);
  const auto parts = static_cast<std::size_t>(workspace.max_parts);
  workspace.state = reinterpret_cast<RowState*>(take(rows * sizeof(RowState)));
  workspace.keys = reinterpret_cast<std::uint64_t*>(take(rows * parts * sizeof(std::uint64_t)));
  workspace.scores = reinterpret_cast<Score*>(take(rows * parts * sizeof(Score)));
  workspace.bin_weight = reinterpret_cast<std::uint64_t*>(take(rows * kBins * sizeof(std::uint64_t)));
  workspace.bin_count = reinterpret_cast<std::uint32_t*>(take(rows * kBins * sizeof(std::uint32_t)));
  return size;
}

}  // namespace

std::size_t sample_workspace_bytes(std::int32_t max_rows, std::int32_t vocab) {
  Workspace workspace{};
  return lay_out(nullptr, max_rows, vocab, workspace);
}

cudaError_t sample(const SampleArgs& args, const SampleStages& stages, cudaStream_t stream) {
  if (args.rows > args.max_rows || args.vocab <= 0) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  SampleLaunch work{};
  work.args = args;
  lay_out(static_cast<std::byte*>(args.workspace), args.max_rows, args.vocab, work.workspace);
  const std::int32_t wanted =
      std::clamp(divide_up(4 * multiprocessors(), args.rows), 1, work.workspace.max_parts);
  work.part = divide_up(divide_up(args.vocab, wanted), kPartUnit) * kPartUnit;
  work.parts = divide_up(args.vocab, work.part);
  work.wide =
      reinterpret_cast<std::uintptr_t>(args.logits) % 16 == 0 && (args.stride % 4 == 0 || args.rows == 1);
  work.draws = stages.draw;
  work.logprobs = stages.logprobs;
  cudaError_t error = cudaSuccess;
  if (stages.logprobs) error = launch_logprobs(work, stream);
  if (error == cudaSuccess) error = launch_best(work, stream);
  if (error == cudaSuccess && stages.draw && stages.filters) error = launch_limit(work, stream);
  if (error == cudaSuccess && stages.draw) error = launch_draw(work, stream);
  return error;
}

}  // namespace baton::cuda
