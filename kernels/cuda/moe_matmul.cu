// moe_matmul: y[slot] = x W[expert of slot]^T, tiles of tokens of one expert against tiles of its weight.
//
// Tensor cores multiply 16 tokens x 8 outputs x 16 of K. Which 16 elements of K meet in one product is ours
// to say, as long as tokens and weights agree: lane q of four takes elements 4 q .. 4 q + 3, so that every
// operand, of two bytes or of one, is a single aligned load from shared memory. Both tile sizes add up K in
// the same order, so how many tokens an expert has does not show in a token's bits.
#include "kernels/cuda/moe.hpp"
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

constexpr int kDepth = 64;  // elements of K in a stage
constexpr int kTokenRow =
    160;  // bytes of a row of two-byte elements in shared memory: 128, and no bank conflicts
constexpr unsigned kAll = 0xffffffffU;

template <class W>
constexpr int kWeightRow = sizeof(W) == 2 ? 160 : 80;

struct Tile {
  std::int32_t expert = -1;  // -1: there is no such tile
  std::int32_t first = 0;    // slots [first, last)
  std::int32_t last = 0;
};

// Tile `index` of those that experts' slots are cut into, `size` slots each. By a whole warp.
__device__ Tile find_tile(const std::int32_t* offsets, std::int32_t experts, std::int32_t size,
                          std::int32_t index) {
  const auto lane = static_cast<std::int32_t>(threadIdx.x % 32);
  for (std::int32_t first = 0; first < experts; first += 32) {
    const std::int32_t expert = first + lane;
    const std::int32_t begin = expert < experts ? offsets[expert] : 0;
    const std::int32_t end = expert < experts ? offsets[expert + 1] : 0;
    const std::int32_t tiles = (end - begin + size - 1) / size;
    std::int32_t through = tiles;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const std::int32_t below = __shfl_up_sync(kAll, through, distance);
      if (lane >= distance) through += below;
    }
    const unsigned beyond = __ballot_sync(kAll, through > index);
    if (beyond == 0) {
      index -= __shfl_sync(kAll, through, 31);
      continue;
    }
    const int owner = __ffs(static_cast<int>(beyond)) - 1;
    const std::int32_t within = index - __shfl_sync(kAll, through - tiles, owner);
    Tile tile;
    tile.expert = first + owner;
    tile.first = __shfl_sync(kAll, begin, owner) + within * size;
    tile.last = min(tile.first + size, __shfl_sync(kAll, end, owner));
    return tile;
  }
  return {};
}

__device__ __forceinline__ void copy16(std::uint32_t to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0)
               : "memory");
}

template <class T>
__device__ __forceinline__ void multiply_add(float (&sum)[4], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, bf16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

// Two e4m3 codes as two elements of T, exactly.
template <class T>
__device__ __forceinline__ std::uint32_t widen(std::uint32_t codes) {
  const __half2_raw halves = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(codes), __NV_E4M3);
  if constexpr (std::is_same_v<T, f16>) {
    return halves.x | static_cast<std::uint32_t>(halves.y) << 16;
  } else {
    const float2 floats = __half22float2(__half2(halves));
    const auto low = __bfloat16_as_ushort(__float2bfloat16_rn(floats.x));
    const auto high = __bfloat16_as_ushort(__float2bfloat16_rn(floats.y));
    return low | static_cast<std::uint32_t>(high) << 16;
  }
}

// Tokens x Outputs of a block, TokenWarps x OutputWarps warps, Stages in flight.
template <class T, class W, int Tokens, int Outputs, int TokenWarps, int OutputWarps, int Stages>
struct Config {
  using Activation = T;
  using Weight = W;
  static constexpr int kTokens = Tokens, kOutputs = Outputs, kStages = Stages;
  static constexpr int kThreads = TokenWarps * OutputWarps * 32;
  static constexpr int kTokenWarps = TokenWarps;
  static constexpr int kTokenTiles = Tokens / TokenWarps / 16;
  static constexpr int kOutputTiles = Outputs / OutputWarps / 8;
  static constexpr int kTokenBytes = Tokens * kTokenRow;
  static constexpr int kStageBytes = kTokenBytes + Outputs * kWeightRow<W>;
  static constexpr std::size_t kSharedBytes = static_cast<std::size_t>(kStageBytes) * Stages;
  // What the shared memory of sm_90's multiprocessor holds, and registers must not be too many for.
  static constexpr int kBlocks = static_cast<int>(228 * 1024 / (kSharedBytes + 1024));
};

// What becomes of sums with one row of the weight. Never contracted, so that every instantiation rounds
// alike.
template <class T>
struct Finish {
  float scale = 1.0F, bias = -0.0F;  // which changes nothing

  __device__ __forceinline__ Finish(const MoeMatmul& args, std::int64_t weight_row) {
    if (args.scale != nullptr) scale = args.scale[weight_row];
    if (args.bias != nullptr) bias = to_float(static_cast<const T*>(args.bias)[weight_row]);
  }
  __device__ __forceinline__ T of(float sum) const {
    return from_float<T>(__fadd_rn(__fmul_rn(sum, scale), bias));
  }
};

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kBlocks) moe_matmul_kernel(const MoeMatmul args) {
  using T = typename C::Activation;
  using W = typename C::Weight;
  extern __shared__ __align__(16) std::byte shared[];
  constexpr int kTokenChunks = kDepth * 2 / 16;  // 16-byte pieces of a row in a stage
  constexpr int kWeightChunks = kDepth * static_cast<int>(sizeof(W)) / 16;
  constexpr int kTokenCopies = (C::kTokens * kTokenChunks + C::kThreads - 1) / C::kThreads;
  constexpr int kWeightCopies = (C::kOutputs * kWeightChunks + C::kThreads - 1) / C::kThreads;
  static_assert(C::kTokens * kTokenChunks % C::kThreads == 0 &&
                C::kOutputs * kWeightChunks % C::kThreads == 0);

  let_next_start();
  wait_for_previous();
  const Tile tile =
      find_tile(args.offsets, args.expert_count, C::kTokens, static_cast<std::int32_t>(blockIdx.y));
  if (tile.expert < 0) return;
  const std::int32_t in = args.x.cols, out = args.y.cols;
  const std::int32_t first_out = static_cast<std::int32_t>(blockIdx.x) * C::kOutputs;
  const auto thread = static_cast<std::int32_t>(threadIdx.x);
  const auto base = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));

  const T* token_from[kTokenCopies];  // null: past the tile
#pragma unroll
  for (int i = 0; i < kTokenCopies; ++i) {
    const std::int32_t slot = tile.first + (thread + i * C::kThreads) / kTokenChunks;
    token_from[i] = nullptr;
    if (slot >= tile.last) continue;
    const std::int64_t row = args.entry_of ? args.entry_of[slot] / args.choices : slot;
    token_from[i] = static_cast<const T*>(args.x.data) + row * args.x.stride;
  }
  const W* weight = static_cast<const W*>(args.weight) + static_cast<std::int64_t>(tile.expert) * out * in;

  const auto fetch = [&](std::int32_t step) {
    const std::uint32_t stage = base + static_cast<std::uint32_t>(step % C::kStages * C::kStageBytes);
#pragma unroll
    for (int i = 0; i < kTokenCopies; ++i) {
      const std::int32_t piece = thread + i * C::kThreads;
      const std::int32_t k = step * kDepth + piece % kTokenChunks * 8;
      const bool inside = token_from[i] != nullptr && k < in;
      copy16(stage + static_cast<std::uint32_t>(piece / kTokenChunks * kTokenRow + piece % kTokenChunks * 16),
             inside ? static_cast<const void*>(token_from[i] + k) : args.x.data, inside);
    }
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      const std::int32_t piece = thread + i * C::kThreads;
      const std::int32_t k = step * kDepth + piece % kWeightChunks * (16 / static_cast<int>(sizeof(W)));
      const std::int32_t output = first_out + piece / kWeightChunks;
      const bool inside = output < out && k < in;
      copy16(stage + static_cast<std::uint32_t>(C::kTokenBytes + piece / kWeightChunks * kWeightRow<W> +
                                                piece % kWeightChunks * 16),
             inside ? static_cast<const void*>(weight + static_cast<std::int64_t>(output) * in + k)
                    : args.weight,
             inside);
    }
  };

  const int warp = thread / 32, group = thread % 32 / 4, quad = thread % 4;
  const int warp_token = warp % C::kTokenWarps * C::kTokenTiles * 16;
  const int warp_output = warp / C::kTokenWarps * C::kOutputTiles * 8;
  float sums[C::kTokenTiles][C::kOutputTiles][4] = {};

  const std::int32_t steps = (in + kDepth - 1) / kDepth;
#pragma unroll
  for (int step = 0; step < C::kStages - 1; ++step) {
    if (step < steps) fetch(step);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  for (std::int32_t step = 0; step < steps; ++step) {
    asm volatile("cp.async.wait_group %0;" ::"n"(C::kStages - 2) : "memory");
    __syncthreads();
    if (step + C::kStages - 1 < steps) fetch(step + C::kStages - 1);
    asm volatile("cp.async.commit_group;" ::: "memory");
    const std::byte* tokens = shared + step % C::kStages * C::kStageBytes;
    const std::byte* weights = tokens + C::kTokenBytes;
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      std::uint32_t a[C::kTokenTiles][4], b[C::kOutputTiles][2];
#pragma unroll
      for (int i = 0; i < C::kTokenTiles; ++i) {
        const std::byte* at = tokens + (warp_token + i * 16 + group) * kTokenRow + k * 32 + quad * 8;
        const uint2 upper = *reinterpret_cast<const uint2*>(at);
        const uint2 lower = *reinterpret_cast<const uint2*>(at + 8 * kTokenRow);
        a[i][0] = upper.x;
        a[i][1] = lower.x;
        a[i][2] = upper.y;
        a[i][3] = lower.y;
      }
#pragma unroll
      for (int j = 0; j < C::kOutputTiles; ++j) {
        const std::byte* row = weights + (warp_output + j * 8 + group) * kWeightRow<W>;
        if constexpr (sizeof(W) == 2) {
          const uint2 four = *reinterpret_cast<const uint2*>(row + k * 32 + quad * 8);
          b[j][0] = four.x;
          b[j][1] = four.y;
        } else {
          const auto four = *reinterpret_cast<const std::uint32_t*>(row + k * 16 + quad * 4);
          b[j][0] = widen<T>(four & 0xffffU);
          b[j][1] = widen<T>(four >> 16);
        }
      }
#pragma unroll
      for (int i = 0; i < C::kTokenTiles; ++i) {
#pragma unroll
        for (int j = 0; j < C::kOutputTiles; ++j) multiply_add<T>(sums[i][j], a[i], b[j]);
      }
    }
  }

  const std::int64_t first_row = static_cast<std::int64_t>(tile.expert) * out;
#pragma unroll
  for (int j = 0; j < C::kOutputTiles; ++j) {
    const std::int32_t output = first_out + warp_output + j * 8 + quad * 2;  // even, as `out` is
    if (output >= out) continue;
    const Finish<T> low(args, first_row + output), high(args, first_row + output + 1);
#pragma unroll
    for (int i = 0; i < C::kTokenTiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::int32_t slot = tile.first + warp_token + i * 16 + half * 8 + group;
        if (slot >= tile.last) continue;
        const Pack<T, 2> pair{{low.of(sums[i][j][2 * half]), high.of(sums[i][j][2 * half + 1])}};
        *reinterpret_cast<Pack<T, 2>*>(static_cast<T*>(args.y.data) + slot * args.y.stride + output) = pair;
      }
    }
  }
}

constexpr unsigned kGenericWarps = 8;

// A warp an output of a slot; any type, any size.
template <class T, class W>
__global__ void __launch_bounds__(kGenericWarps * 32) moe_matmul_generic_kernel(const MoeMatmul args) {
  let_next_start();
  wait_for_previous();
  const auto slot = static_cast<std::int32_t>(blockIdx.x);
  const Tile tile = find_tile(args.offsets, args.expert_count, 1, slot);
  const auto output = static_cast<std::int32_t>(blockIdx.y * kGenericWarps + threadIdx.x / 32);
  const std::int32_t in = args.x.cols, out = args.y.cols;
  if (tile.expert < 0 || output >= out) return;
  const std::int64_t row = args.entry_of ? args.entry_of[slot] / args.choices : slot;
  const T* x = static_cast<const T*>(args.x.data) + row * args.x.stride;
  const std::int64_t weight_row = static_cast<std::int64_t>(tile.expert) * out + output;
  const W* weight = static_cast<const W*>(args.weight) + weight_row * in;
  float sum = 0.0F;
  for (std::int32_t k = static_cast<std::int32_t>(threadIdx.x % 32); k < in; k += 32)
    sum = fmaf(to_float(x[k]), to_float(weight[k]), sum);
  sum = warp_reduce<Sum>(sum);
  if (threadIdx.x % 32 == 0)
    static_cast<T*>(args.y.data)[slot * args.y.stride + output] = Finish<T>(args, weight_row).of(sum);
}

template <class C>
cudaError_t run_tiles(const MoeMatmul& args, cudaStream_t stream) {
  const cudaError_t error = allow_shared(moe_matmul_kernel<C>, C::kSharedBytes);
  if (error != cudaSuccess) return error;
  // Every expert with slots ends in a tile that may not be full.
  const std::int32_t tiles = std::min(args.entries, args.entries / C::kTokens + args.expert_count);
  const dim3 grid(static_cast<unsigned>(divide_up(args.y.cols, C::kOutputs)), static_cast<unsigned>(tiles));
  return launch(moe_matmul_kernel<C>, grid, C::kThreads, C::kSharedBytes, stream, args);
}

template <class T, class W>
cudaError_t run(const MoeMatmul& args, cudaStream_t stream) {
  if constexpr (sizeof(T) == 2 && (std::is_same_v<T, W> || std::is_same_v<W, e4m3>)) {
    constexpr std::int32_t kInUnit = 16 / static_cast<std::int32_t>(sizeof(W));
    const ConstRows weight{args.weight, args.x.cols, 1, args.x.cols, args.weight_type};
    const bool fits =
        args.x.cols % kInUnit == 0 && is_wide(args.x, 8) && is_wide(weight, kInUnit) && is_wide(args.y, 2);
    if (fits && args.entries <= 32 * args.expert_count)
      return run_tiles<Config<T, W, 16, 64, 1, 4, sizeof(W) == 2 ? 4 : 6>>(args, stream);
    if (fits) return run_tiles<Config<T, W, 64, 128, 2, 4, 3>>(args, stream);
  }
  const dim3 grid(static_cast<unsigned>(args.entries),
                  static_cast<unsigned>(divide_up(args.y.cols, kGenericWarps)));
  return launch(moe_matmul_generic_kernel<T, W>, grid, kGenericWarps * 32, 0, stream, args);
}

}  // namespace

cudaError_t moe_matmul(const MoeMatmul& args, cudaStream_t stream) {
  const bool mixed = args.x.element != Element::f32 && args.weight_type != args.x.element &&
                     args.weight_type != Element::e4m3;
  if (args.x.element != args.y.element || mixed || args.choices <= 0 || args.expert_count <= 0 ||
      args.expert_count > kMaxExperts)
    return cudaErrorInvalidValue;
  if (args.entries == 0 || args.y.cols == 0) return cudaSuccess;
  return with_activation(args.x.element, [&](auto element) {
    using T = typename decltype(element)::type;
    if (args.weight_type == Element::e4m3) return run<T, e4m3>(args, stream);
    if constexpr (std::is_same_v<T, float>) {
      return with_activation(args.weight_type, [&](auto weight) {
        return run<T, typename decltype(weight)::type>(args, stream);
      });
    } else {
      return run<T, T>(args, stream);
    }
  });
}

}  // namespace baton::cuda
