// moe_route: a warp a row. Lane l holds experts l, l + 32, ...; the best is found `choices` times.
#include "kernels/cuda/moe.hpp"
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

constexpr unsigned kWarps = 4;
constexpr unsigned kAll = 0xffffffffU;

struct Candidate {
  float score;
  std::int32_t id;
};

__device__ __forceinline__ bool is_better(const Candidate& a, const Candidate& b) {
  return a.score > b.score || (a.score == b.score && a.id < b.id);
}

// The best candidate of the warp, in every lane.
__device__ __forceinline__ Candidate warp_best(Candidate best) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const Candidate other{__shfl_xor_sync(kAll, best.score, distance),
                          __shfl_xor_sync(kAll, best.id, distance)};
    if (is_better(other, best)) best = other;
  }
  return best;
}

__device__ __forceinline__ float minus_infinity() { return __int_as_float(static_cast<int>(0xff800000U)); }

// PerLane experts a lane at most.
template <class T, int PerLane>
__global__ void __launch_bounds__(kWarps * 32) moe_route_kernel(const MoeRoute args) {
  let_next_start();
  wait_for_previous();
  const auto row = static_cast<std::int32_t>(blockIdx.x * kWarps + threadIdx.x / 32);
  const auto lane = static_cast<std::int32_t>(threadIdx.x % 32);
  if (row >= args.logits.rows) return;
  const std::int32_t experts = args.logits.cols;
  const T* logits = static_cast<const T*>(args.logits.data) + row * args.logits.stride;

  float scores[PerLane], choice[PerLane];
#pragma unroll
  for (int i = 0; i < PerLane; ++i) {
    const std::int32_t id = i * 32 + lane;
    scores[i] = id < experts ? to_float(logits[id]) : minus_infinity();
  }
  if (args.scores == MoeScores::softmax) {
    float most = minus_infinity(), sum = 0.0F;
#pragma unroll
    for (int i = 0; i < PerLane; ++i) most = fmaxf(most, scores[i]);
    most = warp_best({most, lane}).score;
#pragma unroll
    for (int i = 0; i < PerLane; ++i) {
      scores[i] = i * 32 + lane < experts ? expf(scores[i] - most) : 0.0F;
      sum += scores[i];
    }
    sum = warp_reduce<Sum>(sum);
#pragma unroll
    for (int i = 0; i < PerLane; ++i) scores[i] = scores[i] / sum;
  } else {
#pragma unroll
    for (int i = 0; i < PerLane; ++i) scores[i] = 1.0F / (1.0F + expf(-scores[i]));
  }
#pragma unroll
  for (int i = 0; i < PerLane; ++i) {
    const std::int32_t id = i * 32 + lane;
    choice[i] = id >= experts ? minus_infinity() : args.bias ? scores[i] + args.bias[id] : scores[i];
  }

  if (args.groups > 1) {
    const std::int32_t group_size = experts / args.groups;
    Candidate mine{minus_infinity(), lane};  // lane g: group g
    for (std::int32_t group = 0; group < args.groups; ++group) {
      Candidate best{minus_infinity(), experts};
#pragma unroll
      for (int i = 0; i < PerLane; ++i) {
        const Candidate candidate{choice[i], i * 32 + lane};
        if (candidate.id / group_size == group && is_better(candidate, best)) best = candidate;
      }
      const Candidate first = warp_best(best);
      float score = first.score;
      if (args.bias && group_size > 1) {
        best = {minus_infinity(), experts};
#pragma unroll
        for (int i = 0; i < PerLane; ++i) {
          const Candidate candidate{choice[i], i * 32 + lane};
          if (candidate.id / group_size == group && candidate.id != first.id && is_better(candidate, best))
            best = candidate;
        }
        score += warp_best(best).score;
      }
      if (lane == group) mine.score = score;
    }
    unsigned kept = 0;
    for (std::int32_t k = 0; k < args.kept_groups; ++k) {
      const bool is_kept = (kept >> lane & 1U) != 0 || lane >= args.groups;
      const Candidate best = warp_best(is_kept ? Candidate{minus_infinity(), 32 + lane} : mine);
      if (best.id < 32) kept |= 1U << best.id;
    }
#pragma unroll
    for (int i = 0; i < PerLane; ++i) {
      const std::int32_t id = i * 32 + lane;
      if (id < experts && (kept >> (id / group_size) & 1U) == 0) choice[i] = minus_infinity();
    }
  }

  // Choice k stays with lane k.
  unsigned taken = 0;
  std::int32_t my_expert = 0;
  float my_weight = 0.0F, total = 0.0F;
  for (std::int32_t k = 0; k < args.choices; ++k) {
    Candidate best{minus_infinity(), kMaxExperts};
    float score = 0.0F;
#pragma unroll
    for (int i = 0; i < PerLane; ++i) {
      const Candidate candidate{choice[i], i * 32 + lane};
      if ((taken >> i & 1U) == 0 && candidate.id < experts && is_better(candidate, best)) {
        best = candidate;
        score = scores[i];
      }
    }
    const Candidate winner = warp_best(best);
    const float weight = __shfl_sync(kAll, score, winner.id % 32);
    if (winner.id % 32 == lane) taken |= 1U << (winner.id / 32);
    total += weight;
    if (k == lane) {
      my_expert = winner.id;
      my_weight = weight;
    }
  }
  if (lane >= args.choices) return;
  const float divisor = args.renormalise ? fmaxf(total, 1e-20F) : 1.0F;
  const std::int64_t at = static_cast<std::int64_t>(row) * args.choices + lane;
  args.experts[at] = my_expert;
  args.weights[at] = my_weight / divisor * args.factor;
}

}  // namespace

cudaError_t moe_route(const MoeRoute& args, cudaStream_t stream) {
  const std::int32_t experts = args.logits.cols;
  if (experts <= 0 || experts > kMaxExperts || args.choices <= 0 || args.choices > kMaxChoices ||
      args.choices > experts || args.groups < 1 || args.groups > 32 || experts % args.groups != 0 ||
      args.kept_groups < 1 || args.kept_groups > args.groups ||
      args.choices > experts / args.groups * args.kept_groups)
    return cudaErrorInvalidValue;
  if (args.logits.rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(divide_up(args.logits.rows, kWarps));
  return with_activation(args.logits.element, [&](auto element) {
    using T = typename decltype(element)::type;
    const auto kernel = experts <= 64    ? moe_route_kernel<T, 2>
                        : experts <= 128 ? moe_route_kernel<T, 4>
                        : experts <= 256 ? moe_route_kernel<T, 8>
                                         : moe_route_kernel<T, 16>;
    return launch(kernel, blocks, kWarps * 32, 0, stream, args);
  });
}

}  // namespace baton::cuda
