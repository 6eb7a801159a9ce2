// What the sampler's kernels share: the workspace, how a row's vocabulary is divided among blocks, tokens
// ranked as integers, and selection by rank or by weight.
//
// Kernels of one launch, in order: logprobs (of the model's own logits), best (adjusts the logits, finds the
// largest and ends greedy rows), histogram and limit (top_k and top_p as one key: a token is kept when its
// key is not above it), draw (Gumbel-max over the tokens kept). Blocks of a row meet through integers alone,
// so no order of theirs shows in a result.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/exact.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sample.hpp"

namespace baton::cuda {

inline constexpr int kScanThreads = 256;
inline constexpr std::int32_t kPartUnit = 4 * kScanThreads;  // tokens: parts of a row are multiples of it
inline constexpr int kBins = 1024;
inline constexpr int kSelectThreads = kBins;
inline constexpr std::uint64_t kNoKey = ~std::uint64_t{0};

// What kernels of one launch tell each other about a row.
struct RowState {
  std::uint64_t limit;         // the largest key that top_k and top_p keep
  double log_sum;              // of exp(logit - raw_maximum), over the model's logits
  float raw_maximum;           // -inf: no token has a probability
  float maximum;               // of the adjusted logits
  float raw_first;             // token 0's logit as the model gave it: what is taken where nothing is allowed
  std::int32_t best;           // its lowest id
  std::int32_t done;           // the token is chosen
  std::uint32_t best_arrived;  // blocks; zero between launches
  std::uint32_t draw_arrived;  // likewise
};

struct Score {
  double value;
  std::int32_t token;
  std::int32_t unused;
};

struct Workspace {
  RowState* state;            // [rows]
  std::uint64_t* keys;        // [rows, parts]
  Score* scores;              // [rows, parts]
  std::uint64_t* bin_weight;  // [rows, kBins], zero between launches
  std::uint32_t* bin_count;   // likewise
  std::int32_t max_parts;
};

struct SampleLaunch {
  SampleArgs args;
  Workspace workspace;
  std::int32_t part;   // tokens of a block
  std::int32_t parts;  // blocks of a row
  bool wide;           // logits may be read 16 bytes at a time
  bool draws;          // a draw follows; else every row is greedy
  bool logprobs;
};

cudaError_t launch_logprobs(const SampleLaunch& launch, cudaStream_t stream);
cudaError_t launch_best(const SampleLaunch& launch, cudaStream_t stream);
cudaError_t launch_limit(const SampleLaunch& launch, cudaStream_t stream);
cudaError_t launch_draw(const SampleLaunch& launch, cudaStream_t stream);

#ifdef __CUDACC__

inline constexpr float kMaxFloat = 3.402823466e+38F;
__device__ __forceinline__ float minus_infinity() { return __int_as_float(static_cast<int>(0xff800000U)); }

// NaN counts as -inf, +inf as the largest number.
__device__ __forceinline__ float sane(float x) {
  return x < kMaxFloat ? x : (x >= kMaxFloat ? kMaxFloat : minus_infinity());
}

// The larger the logit the smaller the key, then the lower the id the smaller. Not for NaN.
__device__ __forceinline__ std::uint64_t rank_key(float logit, std::int32_t id) {
  const std::uint32_t bits = __float_as_uint(__fadd_rn(logit, 0.0F));  // -0 equals +0
  const std::uint32_t ascending = bits >> 31 ? ~bits : bits | 0x80000000U;
  return static_cast<std::uint64_t>(~ascending) << 32 | static_cast<std::uint32_t>(id);
}
__device__ __forceinline__ std::int32_t id_of(std::uint64_t key) { return static_cast<std::int32_t>(key); }
__device__ __forceinline__ float logit_of(std::uint64_t key) {
  const std::uint32_t ascending = ~static_cast<std::uint32_t>(key >> 32);
  return __uint_as_float(ascending >> 31 ? ascending & 0x7fffffffU : ~ascending);
}

__device__ __forceinline__ bool keeps_top_k(const SampleRow& row, std::int32_t vocab) {
  return row.top_k > 0 && row.top_k < vocab;
}

__device__ __forceinline__ double scaled_logit(float logit, float maximum, double temperature) {
  return __ddiv_rn(__dsub_rn(static_cast<double>(logit), static_cast<double>(maximum)), temperature);
}

// A probability in units of 2^-40 of the most likely token's.
__device__ __forceinline__ std::uint64_t weight_of(float logit, float maximum, double temperature) {
  return static_cast<std::uint64_t>(
      __double2ll_rz(__dmul_rn(exact_exp(scaled_logit(logit, maximum, temperature)), 0x1p40)));
}

// What a nucleus of share p must weigh; at least one unit, so that it has at least one token.
__device__ __forceinline__ std::uint64_t nucleus_weight(float p, std::uint64_t total) {
  const double share = p > 0.0F ? static_cast<double>(p) : 0.0;
  const std::uint64_t need = __double2ull_rz(__dmul_rn(share, __ull2double_rn(total)));
  return need > 0 ? need : 1;
}

// Tokens by their distance to the largest logit: 64 bins an octave from 2^-6 to 2^10. Never falls as the
// logit falls, so the tokens of a bin are neighbours in order of key.
__device__ __forceinline__ int bin_of(float logit, float maximum) {
  const auto bits = static_cast<int>(__float_as_uint(fabsf(maximum - logit)) >> 17);
  const int bin = bits - (121 << 6) + 1;
  return bin < 0 ? 0 : bin >= kBins ? kBins - 1 : bin;
}

// f(first id, logits of kCount tokens) for this thread's share of tokens [begin, end).
template <bool Wide, int Threads, class F>
__device__ __forceinline__ void for_each_logits(const float* logits, std::int32_t begin, std::int32_t end,
                                                F f) {
  const auto thread = static_cast<std::int32_t>(threadIdx.x);
  if constexpr (Wide) {
    std::int32_t id = begin + 4 * thread;
#pragma unroll 4
    for (; id + 4 <= end; id += 4 * Threads) {
      const float4 four = *reinterpret_cast<const float4*>(logits + id);
      f(id, four.x);
      f(id + 1, four.y);
      f(id + 2, four.z);
      f(id + 3, four.w);
    }
    for (; id < end; ++id) f(id, logits[id]);  // one thread's, where vocab is no multiple of four
  } else {
#pragma unroll 4
    for (std::int32_t id = begin + thread; id < end; id += Threads) f(id, logits[id]);
  }
}

// A set of tokens of one row: listed, or all whose bin is in [first_bin, last_bin]. Tokens at -inf belong to
// no set: nothing ever draws them.
struct KeySet {
  const std::uint64_t* keys;  // in shared memory, or null
  std::int32_t count;
  const float* logits;
  std::int32_t vocab;
  float maximum;
  int first_bin, last_bin;

  template <class F>
  __device__ __forceinline__ void for_each(F f) const {
    if (keys) {
      for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < count; i += kSelectThreads)
        f(keys[i]);
      return;
    }
    for (std::int32_t id = static_cast<std::int32_t>(threadIdx.x); id < vocab; id += kSelectThreads) {
      const float logit = sane(logits[id]);
      const int bin = bin_of(logit, maximum);
      if (bin >= first_bin && bin <= last_bin && logit != minus_infinity()) f(rank_key(logit, id));
    }
  }
};

inline constexpr std::int32_t kListed = 4096;  // keys that fit into shared memory

struct SelectMemory {
  std::uint64_t keys[kListed];
  std::uint64_t sums[256];
  std::uint32_t counts[256];
  std::uint64_t warp_sums[32];
  std::uint64_t before;  // the chosen bin or digit: what lies before it, what is in it
  std::uint64_t found;
  std::uint64_t total;
  std::uint32_t inside;
  std::int32_t chosen;
  std::uint32_t listed;
};

// Inclusive sum over the block's kSelectThreads threads.
__device__ __forceinline__ std::uint64_t block_scan(std::uint64_t value, SelectMemory& memory) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const std::uint64_t below = __shfl_up_sync(0xffffffffU, value, distance);
    if (lane >= distance) value += below;
  }
  if (lane == 31) memory.warp_sums[warp] = value;
  __syncthreads();
  std::uint64_t sum = memory.warp_sums[lane];
#pragma unroll
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const std::uint64_t below = __shfl_up_sync(0xffffffffU, sum, distance);
    if (lane >= distance) sum += below;
  }
  const std::uint64_t before = __shfl_sync(0xffffffffU, sum, warp > 0 ? warp - 1 : 0);
  __syncthreads();
  return warp > 0 ? before + value : value;
}

// Lists the set's keys in shared memory, if they fit. All threads; ends with a barrier.
__device__ __forceinline__ void list_keys(KeySet& set, std::uint32_t size, SelectMemory& memory) {
  if (size > static_cast<std::uint32_t>(kListed)) return;
  if (threadIdx.x == 0) memory.listed = 0;
  __syncthreads();
  set.for_each([&](std::uint64_t key) { memory.keys[atomicAdd(&memory.listed, 1U)] = key; });
  __syncthreads();
  set.keys = memory.keys;
  set.count = static_cast<std::int32_t>(size);
}

// The smallest key of the set such that the measure of the keys up to it reaches `target` >= 1. The measure
// of a key is weigh(key), or 1 without ByWeight. Eight bits at a time from the top, until one key is left.
// All threads; the result in all of them.
template <bool ByWeight, class Weigh>
__device__ std::uint64_t select_key(const KeySet& set, std::uint64_t target, SelectMemory& memory,
                                    Weigh weigh) {
  std::uint64_t prefix = 0;
  int shift = 56;
  for (;; shift -= shift == 32 ? 16 : 8) {  // ids have 24 bits
    const std::uint64_t above = shift == 56 ? 0 : ~std::uint64_t{0} << (shift + 8);
    if (threadIdx.x < 256) {
      memory.sums[threadIdx.x] = 0;
      memory.counts[threadIdx.x] = 0;
    }
    if (threadIdx.x == 0) {
      memory.found = kNoKey;
      memory.chosen = 255;
      memory.before = 0;
      memory.inside = 1;
    }
    __syncthreads();
    set.for_each([&](std::uint64_t key) {
      if (((key ^ prefix) & above) != 0) return;
      const auto digit = static_cast<unsigned>(key >> shift) & 255U;
      atomicAdd(&memory.counts[digit], 1U);
      if constexpr (ByWeight)
        atomicAdd(reinterpret_cast<unsigned long long*>(&memory.sums[digit]),
                  static_cast<unsigned long long>(weigh(key)));
    });
    __syncthreads();
    if (threadIdx.x < 32) {
      std::uint64_t measure[8], sum = 0;
#pragma unroll
      for (unsigned i = 0; i < 8; ++i) {
        const unsigned digit = threadIdx.x * 8 + i;
        measure[i] = ByWeight ? memory.sums[digit] : memory.counts[digit];
        sum += measure[i];
      }
      std::uint64_t through = sum;
#pragma unroll
      for (unsigned distance = 1; distance < 32; distance *= 2) {
        const std::uint64_t below = __shfl_up_sync(0xffffffffU, through, distance);
        if (threadIdx.x >= distance) through += below;
      }
      std::uint64_t before = through - sum;
#pragma unroll
      for (unsigned i = 0; i < 8; ++i) {
        if (before < target && before + measure[i] >= target) {
          memory.chosen = static_cast<std::int32_t>(threadIdx.x * 8 + i);
          memory.before = before;
          memory.inside = memory.counts[threadIdx.x * 8 + i];
        }
        before += measure[i];
      }
    }
    __syncthreads();
    prefix |= static_cast<std::uint64_t>(memory.chosen) << shift;
    target -= memory.before;
    const bool alone = memory.inside == 1;
    __syncthreads();
    if (alone || shift == 0) break;
  }
  const std::uint64_t through = ~std::uint64_t{0} << shift;
  set.for_each([&](std::uint64_t key) {
    if (((key ^ prefix) & through) == 0) memory.found = key;  // one key has this prefix
  });
  __syncthreads();
  const std::uint64_t found = memory.found;
  __syncthreads();
  return found;
}

struct ChosenBin {
  std::int32_t bin;
  std::uint64_t before;   // the sum over the bins before it
  std::uint32_t count;    // the tokens in it
  std::uint32_t through;  // the tokens in it and in the bins before
  bool reached;
};

// The first bin in which the sum over bins reaches `target`, else the last one. `measure` and `count` are
// those of this thread's bin. All threads; the same in all of them.
__device__ __forceinline__ ChosenBin choose_bin(std::uint64_t measure, std::uint32_t count,
                                                std::uint64_t target, SelectMemory& memory) {
  const std::uint64_t through = block_scan(measure, memory);
  const std::uint64_t count_through = block_scan(count, memory);
  const bool crosses = through >= target && through - measure < target;
  const bool reached = __syncthreads_or(crosses);
  if (crosses || (!reached && threadIdx.x == kBins - 1)) {
    memory.chosen = static_cast<std::int32_t>(threadIdx.x);
    memory.before = through - measure;
    memory.inside = count;
    memory.listed = static_cast<std::uint32_t>(count_through);
  }
  __syncthreads();
  const ChosenBin result{memory.chosen, memory.before, memory.inside, memory.listed, reached};
  __syncthreads();
  return result;
}

// The sum over the block, in every thread.
__device__ __forceinline__ std::uint64_t block_total(std::uint64_t value, SelectMemory& memory) {
  const std::uint64_t through = block_scan(value, memory);
  if (threadIdx.x == kSelectThreads - 1) memory.total = through;
  __syncthreads();
  const std::uint64_t total = memory.total;
  __syncthreads();
  return total;
}

// Whether this block is the last of the row's to arrive; what the others wrote before is visible to it then.
// All threads.
__device__ __forceinline__ bool last_to_arrive(std::uint32_t* arrived, std::int32_t parts) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(arrived, 1U) == static_cast<std::uint32_t>(parts) - 1;
    if (last) *arrived = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

// The log probability of a logit of the model.
__device__ __forceinline__ float logprob_of(float logit, const RowState& state) {
  constexpr float kNoLogprob = -9999.0F;
  const float x = sane(logit);
  if (state.raw_maximum == minus_infinity() || x == minus_infinity()) return kNoLogprob;
  const auto logprob = static_cast<float>(
      __dsub_rn(__dsub_rn(static_cast<double>(x), static_cast<double>(state.raw_maximum)), state.log_sum));
  return fmaxf(logprob, kNoLogprob);
}

// Writes what was chosen. All threads of one block.
__device__ __forceinline__ void finish_row(const SampleLaunch& launch, std::int32_t index,
                                           std::int32_t token) {
  __shared__ float raw;
  const SampleArgs& args = launch.args;
  const SampleRow& row = args.row[index];
  const bool with_logprob = launch.logprobs && row.logprobs >= 0;
  if (threadIdx.x == 0) {
    args.tokens[index] = token;
    raw = token == 0 ? launch.workspace.state[index].raw_first : args.logits[index * args.stride + token];
  }
  if (!with_logprob) return;
  __syncthreads();
  const auto thread = static_cast<std::int32_t>(threadIdx.x), step = static_cast<std::int32_t>(blockDim.x);
  // Several entries may be the token's, found by several warps; all hold the same logit.
  const auto find_raw = [&](const auto* entries, EntryRange range) {
    for (std::int32_t i = thread; i < range.count; i += step)
      if (entries[range.first + i].token == token) atomicExch(&raw, entries[range.first + i].raw);
  };
  find_raw(args.bias, row.bias);
  find_raw(args.counts, row.counts);
  find_raw(args.banned, row.banned);
  __syncthreads();
  if (threadIdx.x == 0) args.logprobs[index] = logprob_of(raw, launch.workspace.state[index]);
}

#endif  // __CUDACC__

}  // namespace baton::cuda
