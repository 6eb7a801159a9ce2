// sample, last kernel: argmax of (logit - maximum) / temperature + Gumbel noise over the tokens kept, a
// sample of the softmax. Nearly every token is ruled out by a bound in f32; the others are scored as the CPU
// scores them.
#include "kernels/cuda/sample.cuh"

namespace baton::cuda {
namespace {

__device__ bool wins(double value, std::int32_t token, double best, std::int32_t best_token) {
  return value > best || (value == best && token < best_token);
}

// In thread 0 only. May be called again after a barrier.
__device__ Score block_best(double value, std::int32_t token) {
  __shared__ Score scores[kScanThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const double other = __shfl_xor_sync(0xffffffffU, value, distance);
    const std::int32_t other_token = __shfl_xor_sync(0xffffffffU, token, distance);
    if (wins(other, other_token, value, token)) {
      value = other;
      token = other_token;
    }
  }
  if (threadIdx.x % 32 == 0) scores[threadIdx.x / 32] = {value, token, 0};
  __syncthreads();
  if (threadIdx.x == 0) {
    for (const Score& other : scores) {
      if (wins(other.value, other.token, value, token)) {
        value = other.value;
        token = other.token;
      }
    }
  }
  return {value, token, 0};
}

template <bool Wide>
__global__ void __launch_bounds__(kScanThreads) draw_kernel(const __grid_constant__ SampleLaunch launch) {
  __shared__ std::int32_t winner;
  let_next_start();
  wait_for_previous();
  const SampleArgs& args = launch.args;
  const auto index = static_cast<std::int32_t>(blockIdx.y);
  const SampleRow& row = args.row[index];
  const RowState& state = launch.workspace.state[index];
  if (state.done != 0) return;

  const std::int32_t begin = static_cast<std::int32_t>(blockIdx.x) * launch.part;
  const std::int32_t end = min(begin + launch.part, args.vocab);
  const float maximum = state.maximum;
  const double temperature = row.temperature;
  const float inverse = 1.0F / row.temperature;
  const std::uint64_t key = stream_key(row.seed, row.choice, row.output_index);
  const bool limits = state.limit != kNoKey;
  const float least = limits ? logit_of(state.limit) : minus_infinity();
  const std::int32_t last_id = limits ? id_of(state.limit) : args.vocab;
  const bool floors = row.min_p > 0;
  const double floor = floors ? exact_log(fmin(static_cast<double>(row.min_p), 1.0)) : 0.0;

  // The most likely token is always kept: its score is one to beat from the start.
  std::int32_t token = state.best;
  double best = gumbel(uniform(noise_bits(key, token)));
  auto bound = static_cast<float>(best);
  for_each_logits<Wide, kScanThreads>(
      args.logits + index * args.stride, begin, end, [&](std::int32_t id, float logit) {
        const float x = logit > kMaxFloat ? kMaxFloat : logit;
        if (!(x > minus_infinity()) || x < least || (x == least && id > last_id)) return;
        // To win, noise >= best - scaled, so 1 - u <= -log(u) <= e^(scaled - best). The bound is rounded up
        // by more than f32 can be off; where it is NaN (a temperature near 0) it rules out nothing.
        const std::uint64_t bits = noise_bits(key, id);
        const float scaled_about = (x - maximum) * inverse;
        const float reach = __expf(scaled_about + fabsf(scaled_about) * 1e-5F + 1e-4F - bound) * 1.001F;
        const float gap = __uint2float_rz(~static_cast<std::uint32_t>(bits >> 32)) * 0x1p-32F;  // <= 1 - u
        if (gap > reach) return;
        const double scaled = scaled_logit(x, maximum, temperature);
        if (floors && !(scaled >= floor)) return;
        const double score = __dadd_rn(scaled, gumbel(uniform(bits)));
        if (!wins(score, id, best, token)) return;
        best = score;
        token = id;
        bound = static_cast<float>(best);
      });
  const Score score = block_best(best, token);
  Score* scores = launch.workspace.scores + static_cast<std::int64_t>(index) * launch.workspace.max_parts;
  if (threadIdx.x == 0) scores[blockIdx.x] = score;
  if (!last_to_arrive(&launch.workspace.state[index].draw_arrived, launch.parts)) return;

  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < launch.parts; i += kScanThreads) {
    const double value = __ldcg(&scores[i].value);
    const std::int32_t its_token = __ldcg(&scores[i].token);
    if (!wins(value, its_token, best, token)) continue;
    best = value;
    token = its_token;
  }
  const Score last = block_best(best, token);
  if (threadIdx.x == 0) winner = last.token;
  __syncthreads();
  finish_row(launch, index, winner);
}

}  // namespace

cudaError_t launch_draw(const SampleLaunch& work, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(work.parts), static_cast<unsigned>(work.args.rows));
  return launch(work.wide ? draw_kernel<true> : draw_kernel<false>, grid, kScanThreads, 0, stream, work);
}

}  // namespace baton::cuda
