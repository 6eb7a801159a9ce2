// sample, second kernel: adjusts logits (logit_bias, penalties, bans, mask), finds the largest one of every
// row, and ends the rows that are greedy or have nothing to choose from.
#include "kernels/cuda/sample.cuh"

namespace baton::cuda {
namespace {

__device__ bool has_penalties(const SampleRow& row) {
  return row.presence_penalty != 0 || row.frequency_penalty != 0 || row.repetition_penalty != 1;
}

__device__ bool is_allowed(const SampleArgs& args, const SampleRow& row, std::int32_t token) {
  return row.mask < 0 || (args.masks[row.mask * args.mask_stride + token / 32] >> (token % 32) & 1U) != 0;
}

// The tokens [begin, end) of one row; a list's entries for others are other blocks'.
class Part {
 public:
  __device__ Part(const SampleArgs& args, const SampleRow& row, float* logits, std::int32_t begin,
                  std::int32_t end)
      : args_(args), row_(row), logits_(logits), begin_(begin), end_(end) {}

  __device__ void adjust() {
    keep_raw(args_.bias, row_.bias);
    keep_raw(args_.counts, row_.counts);
    keep_raw(args_.banned, row_.banned);
    __syncthreads();
    add_bias();
    __syncthreads();
    if (has_penalties(row_)) penalise();
    __syncthreads();
    for_each_entry(row_.banned, [&](std::int32_t i) { set(args_.banned[i].token, minus_infinity()); });
    if (row_.mask >= 0)
      for (std::int32_t token = begin_ + static_cast<std::int32_t>(threadIdx.x); token < end_;
           token += kScanThreads)
        if (!is_allowed(args_, row_, token)) logits_[token] = minus_infinity();
    __syncthreads();
  }

 private:
  template <class F>
  __device__ void for_each_entry(EntryRange range, F f) {
    for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < range.count; i += kScanThreads)
      f(range.first + i);
  }
  __device__ bool is_mine(std::int32_t token) { return token >= begin_ && token < end_; }
  __device__ void set(std::int32_t token, float logit) {
    if (is_mine(token)) logits_[token] = logit;
  }

  template <class Entry>
  __device__ void keep_raw(Entry* entries, EntryRange range) {
    for_each_entry(range, [&](std::int32_t i) {
      if (is_mine(entries[i].token)) entries[i].raw = logits_[entries[i].token];
    });
  }

  __device__ void add_bias() {
    for_each_entry(row_.bias, [&](std::int32_t i) {
      const std::int32_t token = args_.bias[i].token;
      if (!is_mine(token) || (i > row_.bias.first && args_.bias[i - 1].token == token)) return;
      float logit = logits_[token];
      for (std::int32_t j = i; j < row_.bias.first + row_.bias.count && args_.bias[j].token == token; ++j)
        logit = __fadd_rn(logit, args_.bias[j].bias);
      logits_[token] = logit;
    });
  }

  __device__ void penalise() {
    const float repetition = row_.repetition_penalty > 0 ? row_.repetition_penalty : 1.0F;
    for_each_entry(row_.counts, [&](std::int32_t i) {
      const TokenCount entry = args_.counts[i];
      if (!is_mine(entry.token) || (repetition == 1 && entry.in_output == 0)) return;
      float x = logits_[entry.token];
      x = x > 0 ? __fdiv_rn(x, repetition) : __fmul_rn(x, repetition);
      x = __fsub_rn(x, __fmul_rn(row_.frequency_penalty, static_cast<float>(entry.in_output)));
      if (entry.in_output > 0) x = __fsub_rn(x, row_.presence_penalty);
      logits_[entry.token] = x;
    });
  }

  const SampleArgs& args_;
  const SampleRow& row_;
  float* logits_;
  std::int32_t begin_, end_;
};

// In thread 0 only. May be called again after a barrier.
__device__ std::uint64_t block_min(std::uint64_t key) {
  __shared__ std::uint64_t keys[kScanThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    key = min(key, static_cast<std::uint64_t>(__shfl_xor_sync(0xffffffffU, key, distance)));
  if (threadIdx.x % 32 == 0) keys[threadIdx.x / 32] = key;
  __syncthreads();
  if (threadIdx.x == 0)
    for (const std::uint64_t other : keys) key = min(key, other);
  return key;
}

// The lowest id that is neither banned nor masked, else 0. All threads; the result in all of them.
__device__ std::int32_t first_allowed(const SampleArgs& args, const SampleRow& row) {
  __shared__ std::int32_t lowest;
  for (std::int32_t first = 0; first < args.vocab; first += kScanThreads) {
    if (threadIdx.x == 0) lowest = args.vocab;
    __syncthreads();
    const std::int32_t token = first + static_cast<std::int32_t>(threadIdx.x);
    bool free = token < args.vocab && is_allowed(args, row, token);
    for (std::int32_t i = 0; free && i < row.banned.count; ++i)
      free = args.banned[row.banned.first + i].token != token;
    if (free) atomicMin(&lowest, token);
    __syncthreads();
    const std::int32_t found = lowest;
    __syncthreads();
    if (found < args.vocab) return found;
  }
  return 0;
}

// All threads of the row's last block.
__device__ void end_or_pass_on(const SampleLaunch& launch, std::int32_t index, std::uint64_t winner) {
  const SampleRow& row = launch.args.row[index];
  RowState& state = launch.workspace.state[index];
  const bool draws = launch.draws && row.temperature > 0 && winner != kNoKey;
  if (threadIdx.x == 0) {
    state.done = draws ? 0 : 1;
    state.limit = kNoKey;
    state.best = id_of(winner);
    state.maximum = draws ? logit_of(winner) : 0.0F;
  }
  if (!draws) finish_row(launch, index, winner == kNoKey ? first_allowed(launch.args, row) : id_of(winner));
}

template <bool Wide>
__global__ void __launch_bounds__(kScanThreads) best_kernel(const __grid_constant__ SampleLaunch launch) {
  __shared__ std::uint64_t winner;
  let_next_start();
  wait_for_previous();
  const SampleArgs& args = launch.args;
  const auto index = static_cast<std::int32_t>(blockIdx.y);
  const SampleRow& row = args.row[index];
  float* logits = args.logits + index * args.stride;
  const std::int32_t begin = static_cast<std::int32_t>(blockIdx.x) * launch.part;
  const std::int32_t end = min(begin + launch.part, args.vocab);

  const bool adjusts = row.bias.count > 0 || row.banned.count > 0 || row.mask >= 0 || has_penalties(row);
  if (blockIdx.x == 0 && threadIdx.x == 0) launch.workspace.state[index].raw_first = logits[0];
  if (adjusts) Part(args, row, logits, begin, end).adjust();

  // +inf counts as the largest number wherever anything was adjusted or is drawn, as on the CPU.
  const bool clamps = adjusts || row.temperature > 0;
  float best = minus_infinity();
  std::int32_t best_id = -1;
  for_each_logits<Wide, kScanThreads>(logits, begin, end, [&](std::int32_t id, float logit) {
    const float x = clamps && logit > kMaxFloat ? kMaxFloat : logit;
    if (x > best) {  // never true of NaN; ids ascend
      best = x;
      best_id = id;
    }
  });
  const std::uint64_t key = block_min(best_id < 0 ? kNoKey : rank_key(best, best_id));
  std::uint64_t* keys = launch.workspace.keys + static_cast<std::int64_t>(index) * launch.workspace.max_parts;
  if (threadIdx.x == 0) keys[blockIdx.x] = key;
  if (!last_to_arrive(&launch.workspace.state[index].best_arrived, launch.parts)) return;

  std::uint64_t least = kNoKey;
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < launch.parts; i += kScanThreads)
    least =
        min(least, static_cast<std::uint64_t>(__ldcg(reinterpret_cast<const unsigned long long*>(keys + i))));
  least = block_min(least);
  if (threadIdx.x == 0) winner = least;
  __syncthreads();
  end_or_pass_on(launch, index, winner);
}

}  // namespace

cudaError_t launch_best(const SampleLaunch& work, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(work.parts), static_cast<unsigned>(work.args.rows));
  return launch(work.wide ? best_kernel<true> : best_kernel<false>, grid, kScanThreads, 0, stream, work);
}

}  // namespace baton::cuda
