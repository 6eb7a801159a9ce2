// sample, third and fourth kernels: top_k and top_p become the largest key that they keep. First every row's
// tokens are counted (and for top_p alone weighed) by bins of their distance to the largest logit, by many
// blocks; then one block a row finds the bin in which the limit lies and looks at that bin's tokens only.
//
// The CPU keeps the first k keys, then of these the fewest whose weights reach p of the weight of all of
// these; sums of integers are the same in any order, so both keep the same tokens.
#include "kernels/cuda/sample.cuh"

namespace baton::cuda {
namespace {

__device__ bool is_filtered(const SampleRow& row, std::int32_t vocab) {
  return keeps_top_k(row, vocab) || row.top_p < 1;
}

template <bool Wide>
__global__ void __launch_bounds__(kScanThreads)
    histogram_kernel(const __grid_constant__ SampleLaunch launch) {
  // A weight has at most 41 bits: three counters of 14 bits and more, each of which adds up 2^18 tokens in 32
  // bits.
  __shared__ std::uint32_t counts[kBins], low[kBins], middle[kBins], high[kBins];
  let_next_start();
  wait_for_previous();
  const SampleArgs& args = launch.args;
  const auto index = static_cast<std::int32_t>(blockIdx.y);
  const SampleRow& row = args.row[index];
  const RowState& state = launch.workspace.state[index];
  if (state.done != 0 || !is_filtered(row, args.vocab)) return;

  const bool weighs = !keeps_top_k(row, args.vocab);
  for (int bin = static_cast<int>(threadIdx.x); bin < kBins; bin += kScanThreads)
    counts[bin] = low[bin] = middle[bin] = high[bin] = 0;
  __syncthreads();
  const std::int32_t begin = static_cast<std::int32_t>(blockIdx.x) * launch.part;
  const std::int32_t end = min(begin + launch.part, args.vocab);
  const float maximum = state.maximum;
  const double temperature = row.temperature;
  const float inverse = 1.0F / row.temperature;
  for_each_logits<Wide, kScanThreads>(
      args.logits + index * args.stride, begin, end, [&](std::int32_t, float logit) {
        const float x = sane(logit);
        if (x == minus_infinity()) return;
        const int bin = bin_of(x, maximum);
        atomicAdd(&counts[bin], 1U);
        if (!weighs || (maximum - x) * inverse > 28.5F) return;  // e^-28.4 is less than 2^-40
        const std::uint64_t weight = weight_of(x, maximum, temperature);
        atomicAdd(&low[bin], static_cast<std::uint32_t>(weight) & 0x3fffU);
        atomicAdd(&middle[bin], static_cast<std::uint32_t>(weight >> 14) & 0x3fffU);
        atomicAdd(&high[bin], static_cast<std::uint32_t>(weight >> 28));
      });
  __syncthreads();
  const std::int64_t first = static_cast<std::int64_t>(index) * kBins;
  for (int bin = static_cast<int>(threadIdx.x); bin < kBins; bin += kScanThreads) {
    if (counts[bin] == 0) continue;
    atomicAdd(launch.workspace.bin_count + first + bin, counts[bin]);
    const std::uint64_t weight = low[bin] + (static_cast<std::uint64_t>(middle[bin]) << 14) +
                                 (static_cast<std::uint64_t>(high[bin]) << 28);
    if (weight > 0)
      atomicAdd(reinterpret_cast<unsigned long long*>(launch.workspace.bin_weight + first + bin),
                static_cast<unsigned long long>(weight));
  }
}

__global__ void __launch_bounds__(kSelectThreads) limit_kernel(const __grid_constant__ SampleLaunch launch) {
  __shared__ SelectMemory memory;
  let_next_start();
  wait_for_previous();
  const SampleArgs& args = launch.args;
  const auto index = static_cast<std::int32_t>(blockIdx.x);
  const SampleRow& row = args.row[index];
  RowState& state = launch.workspace.state[index];
  if (state.done != 0 || !is_filtered(row, args.vocab)) return;

  const std::int64_t mine = static_cast<std::int64_t>(index) * kBins + threadIdx.x;
  const std::uint32_t count = launch.workspace.bin_count[mine];
  const std::uint64_t weight = launch.workspace.bin_weight[mine];
  launch.workspace.bin_count[mine] = 0;
  launch.workspace.bin_weight[mine] = 0;

  const float maximum = state.maximum;
  const double temperature = row.temperature;
  const auto weigh = [&](std::uint64_t key) { return weight_of(logit_of(key), maximum, temperature); };
  KeySet set{nullptr, 0, args.logits + index * args.stride, args.vocab, maximum, 0, kBins - 1};
  std::uint64_t limit = kNoKey;
  if (keeps_top_k(row, args.vocab)) {
    const auto wanted = static_cast<std::uint64_t>(row.top_k);
    const ChosenBin chosen = choose_bin(count, count, wanted, memory);
    set.last_bin = chosen.bin;
    list_keys(set, chosen.through, memory);
    if (chosen.reached) limit = select_key<false>(set, wanted, memory, weigh);
    if (row.top_p < 1) {
      std::uint64_t kept = 0;
      set.for_each([&](std::uint64_t key) { kept += key <= limit ? weigh(key) : 0; });
      const std::uint64_t total = block_total(kept, memory);
      limit = select_key<true>(set, nucleus_weight(row.top_p, total), memory, weigh);
    }
  } else {
    const std::uint64_t total = block_total(weight, memory);
    const std::uint64_t wanted = nucleus_weight(row.top_p, total);
    const ChosenBin chosen = choose_bin(weight, count, wanted, memory);
    set.first_bin = set.last_bin = chosen.bin;
    list_keys(set, chosen.count, memory);
    limit = select_key<true>(set, wanted - chosen.before, memory, weigh);
  }
  if (threadIdx.x == 0) state.limit = limit;
}

}  // namespace

cudaError_t launch_limit(const SampleLaunch& work, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(work.parts), static_cast<unsigned>(work.args.rows));
  const cudaError_t error = launch(work.wide ? histogram_kernel<true> : histogram_kernel<false>, grid,
                                   kScanThreads, 0, stream, work);
  if (error != cudaSuccess) return error;
  return launch(limit_kernel, static_cast<unsigned>(work.args.rows), kSelectThreads, 0, stream, work);
}

}  // namespace baton::cuda
