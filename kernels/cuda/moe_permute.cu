// moe_permute: a stable counting sort of a step's choices by expert. A block an expert: it counts the choices
// of lower experts, which is where its slots begin, and then numbers its own in their order.
#include "kernels/cuda/moe.hpp"
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

__global__ void __launch_bounds__(kThreads) moe_permute_kernel(const MoePermute args) {
  __shared__ std::int32_t partial[kWarps];
  __shared__ std::int32_t partial_lower[kWarps];
  let_next_start();
  wait_for_previous();
  const auto expert = static_cast<std::int32_t>(blockIdx.x);
  const auto thread = static_cast<std::int32_t>(threadIdx.x);
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;

  std::int32_t lower = 0, own = 0;
  for (std::int32_t entry = thread; entry < args.entries; entry += kThreads) {
    const std::int32_t e = args.experts[entry] - args.first_expert;
    lower += e >= 0 && e < expert ? 1 : 0;
    own += e == expert ? 1 : 0;
    if (expert == 0 && (e < 0 || e >= args.expert_count)) args.slot_of[entry] = -1;
  }
  lower = __reduce_add_sync(0xffffffffU, lower);
  own = __reduce_add_sync(0xffffffffU, own);
  if (lane == 0) {
    partial_lower[warp] = lower;
    partial[warp] = own;
  }
  __syncthreads();
  lower = own = 0;
  for (int i = 0; i < kWarps; ++i) {
    lower += partial_lower[i];
    own += partial[i];
  }
  if (thread == 0) {
    args.offsets[expert] = lower;
    if (expert == args.expert_count - 1) args.offsets[args.expert_count] = lower + own;
  }
  if (own == 0) return;

  std::int32_t next = lower;
  for (std::int32_t first = 0; first < args.entries; first += kThreads) {
    const std::int32_t entry = first + thread;
    const bool is_mine = entry < args.entries && args.experts[entry] - args.first_expert == expert;
    const unsigned mine = __ballot_sync(0xffffffffU, is_mine);
    __syncthreads();  // the partial sums of the round before have been read
    if (lane == 0) partial[warp] = __popc(mine);
    __syncthreads();
    std::int32_t before = 0, all = 0;
    for (unsigned i = 0; i < kWarps; ++i) {
      before += i < warp ? partial[i] : 0;
      all += partial[i];
    }
    if (is_mine) {
      const std::int32_t slot = next + before + __popc(mine & ((1U << lane) - 1));
      args.entry_of[slot] = entry;
      args.slot_of[entry] = slot;
    }
    next += all;
  }
}

}  // namespace

cudaError_t moe_permute(const MoePermute& args, cudaStream_t stream) {
  if (args.expert_count <= 0) return cudaErrorInvalidValue;
  return launch(moe_permute_kernel, static_cast<unsigned>(args.expert_count), kThreads, 0, stream, args);
}

}  // namespace baton::cuda
