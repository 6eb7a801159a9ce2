// sample, first kernel, where log probabilities are asked for: the normaliser and the most likely tokens of
// the model's own distribution, before anything is adjusted. One block a row.
#include "kernels/cuda/sample.cuh"

namespace baton::cuda {
namespace {

struct LogprobMemory {
  SelectMemory select;
  std::uint32_t counts[kBins];
  std::uint64_t best[kMaxTopLogprobs];
  double sums[32];
  float maxima[32];
  std::uint32_t found;
};

__device__ float block_max(float value, LogprobMemory& memory) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, distance));
  if (threadIdx.x % 32 == 0) memory.maxima[threadIdx.x / 32] = value;
  __syncthreads();
  value = memory.maxima[threadIdx.x % 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, distance));
  return value;
}

__device__ double block_sum(double value, LogprobMemory& memory) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffU, value, distance);
  if (threadIdx.x % 32 == 0) memory.sums[threadIdx.x / 32] = value;
  __syncthreads();
  value = memory.sums[threadIdx.x % 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffU, value, distance);
  return value;
}

// The first `wanted` keys of the row into memory.best, unordered; how many of them are not -inf.
__device__ std::uint32_t find_best(const float* logits, std::int32_t vocab, float maximum,
                                   std::uint32_t wanted, LogprobMemory& memory) {
  KeySet set{nullptr, 0, logits, vocab, maximum, 0, kBins - 1};
  const std::uint32_t count = memory.counts[threadIdx.x];
  const ChosenBin chosen = choose_bin(count, count, wanted, memory.select);
  set.last_bin = chosen.bin;
  list_keys(set, chosen.through, memory.select);
  const auto one = [](std::uint64_t) { return std::uint64_t{1}; };
  const std::uint64_t limit = chosen.reached ? select_key<false>(set, wanted, memory.select, one) : kNoKey;
  if (threadIdx.x == 0) memory.found = 0;
  __syncthreads();
  set.for_each([&](std::uint64_t key) {
    if (key <= limit) memory.best[atomicAdd(&memory.found, 1U)] = key;
  });
  __syncthreads();
  return memory.found;
}

template <bool Wide>
__global__ void __launch_bounds__(kSelectThreads)
    logprobs_kernel(const __grid_constant__ SampleLaunch launch) {
  extern __shared__ std::uint64_t shared[];
  auto& memory = *reinterpret_cast<LogprobMemory*>(shared);
  let_next_start();
  wait_for_previous();
  const SampleArgs& args = launch.args;
  const auto index = static_cast<std::int32_t>(blockIdx.x);
  const SampleRow& row = args.row[index];
  if (row.logprobs < 0) return;
  const float* logits = args.logits + index * args.stride;

  float most = minus_infinity();
  for_each_logits<Wide, kSelectThreads>(
      logits, 0, args.vocab, [&](std::int32_t, float logit) { most = logit > most ? logit : most; });
  const float maximum = sane(block_max(most, memory));
  memory.counts[threadIdx.x] = 0;
  __syncthreads();
  double sum = 0;
  for_each_logits<Wide, kSelectThreads>(logits, 0, args.vocab, [&](std::int32_t, float logit) {
    const float x = sane(logit);
    if (x == minus_infinity()) return;
    sum += static_cast<double>(expf(x - maximum));
    atomicAdd(&memory.counts[bin_of(x, maximum)], 1U);
  });
  sum = block_sum(sum, memory);
  RowState& state = launch.workspace.state[index];
  if (threadIdx.x == 0) {
    state.raw_maximum = maximum;
    state.log_sum = maximum == minus_infinity() ? 0.0 : exact_log(sum);
  }
  __syncthreads();

  const auto wanted = static_cast<std::uint32_t>(min(min(row.logprobs, kMaxTopLogprobs), args.vocab));
  if (wanted == 0) return;
  const std::uint32_t found = find_best(logits, args.vocab, maximum, wanted, memory);
  std::int32_t* tokens = args.top_tokens + static_cast<std::int64_t>(index) * kMaxTopLogprobs;
  float* logprobs = args.top_logprobs + static_cast<std::int64_t>(index) * kMaxTopLogprobs;
  if (threadIdx.x < found) {
    const std::uint64_t key = memory.best[threadIdx.x];
    std::uint32_t rank = 0;
    for (std::uint32_t i = 0; i < found; ++i) rank += memory.best[i] < key ? 1 : 0;
    tokens[rank] = id_of(key);
    logprobs[rank] = logprob_of(logits[id_of(key)], state);
  }
  if (threadIdx.x != 0) return;
  std::uint32_t rank = found;  // the rest are at -inf: lowest ids first
  for (std::int32_t id = 0; rank < wanted && id < args.vocab; ++id) {
    if (sane(logits[id]) != minus_infinity()) continue;
    tokens[rank] = id;
    logprobs[rank++] = logprob_of(minus_infinity(), state);
  }
}

}  // namespace

cudaError_t launch_logprobs(const SampleLaunch& work, cudaStream_t stream) {
  const auto kernel = work.wide ? logprobs_kernel<true> : logprobs_kernel<false>;
  const cudaError_t error = allow_shared(kernel, sizeof(LogprobMemory));
  if (error != cudaSuccess) return error;
  return launch(kernel, static_cast<unsigned>(work.args.rows), kSelectThreads, sizeof(LogprobMemory), stream,
                work);
}

}  // namespace baton::cuda
