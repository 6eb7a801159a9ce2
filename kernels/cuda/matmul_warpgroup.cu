// Products of up to 64 rows on the warpgroup-level tensor cores of sm_90a: the time is that of reading the
// weight once.
//
// A tile is 128 rows of the weight (with a gate 64 gates and their ups), over all of K or, where tiles are
// few, over a share of it for each block of a cluster. One thread has the copy engine bring boxes of 64 rows
// by 64 of K; two warpgroups multiply 64 rows each with the tokens, which are the product's N and lie beside
// the weight in shared memory. Half of a multiprocessor's shared memory and registers serve a block, so that
// the next product's block can be there and fill its ring with weight while this one's tail and the small
// kernels between them run: memory must not rest.
//
// Row invariance: K is added up in its order within a block, then block by block. Where it is parted follows
// from the weight's shape and the GPU; the number of rows only chooses how many are computed beside each
// other.
#include <algorithm>

#include "kernels/cuda/arrival.cuh"
#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/matmul.hpp"
#include "kernels/cuda/matmul_mma.cuh"
#include "kernels/cuda/tensor_map.cuh"
#include "kernels/cuda/warpgroup.cuh"

namespace baton::cuda {
namespace {

constexpr int kGroups = 2;
constexpr int kGroupThreads = 128;
constexpr int kConsumers = kGroups * kGroupThreads;
constexpr int kThreads = kConsumers + 32;
constexpr int kBoxRows = 64;
constexpr int kTileRows = kGroups * kBoxRows;
constexpr int kChunk = 64;  // of K: 128 bytes
constexpr int kBoxBytes = kBoxRows * kChunk * 2;
constexpr int kMostShared = 110 * 1024;  // of a block, two of which share a multiprocessor
constexpr int kMostSplits = 8;
constexpr int kPitch = kTileRows + 4;  // floats from token to token of a tile's sums

template <int kTokens>
struct Ring {
  static constexpr int kStageBytes = kGroups * kBoxBytes + kTokens * kChunk * 2;
  static constexpr int kStages = (kMostShared - 2048) / kStageBytes;
  static constexpr int kBytes = kStages * kStageBytes;
  static constexpr int kSharedBytes = 1024 + kBytes + 2 * kStages * 8;
  static_assert(kTokens * kPitch * 4 <= kBytes, "the sums lie where the ring was");
};

struct Parameters {
  TensorMap weight;  // [out][in]
  TensorMap x;       // [rows][in]
  const void* bias;
  void* y;
  std::int64_t y_stride;
  int rows;
  int out;
  int chunks;  // of K
  int splits;
  Gate gate;
  bool result_f32;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Chunks that a block has still to ask for when the next kernel may start: that one's first then come while
// this one's tail runs, not instead of what this one needs.
constexpr int kLead = 2;

__device__ __forceinline__ bool has_gate(const Parameters& p) { return p.gate != Gate::none; }
__device__ __forceinline__ int columns_of(const Parameters& p) { return has_gate(p) ? p.out / 2 : p.out; }
__device__ __forceinline__ int tile_columns_of(const Parameters& p) {
  return has_gate(p) ? kBoxRows : kTileRows;
}

// Four neighbouring sums of a token, over the blocks of the cluster, in their order.
__device__ __forceinline__ float4 sum_splits(std::uint32_t at, int splits) {
  if (splits == 1) {
    const uint4 bits = load_shared16(at);
    return {__uint_as_float(bits.x), __uint_as_float(bits.y), __uint_as_float(bits.z),
            __uint_as_float(bits.w)};
  }
  float4 sum = load_cluster16(at, 0);
  for (int rank = 1; rank < splits; ++rank) {
    const float4 more = load_cluster16(at, rank);
    sum = {sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w};
  }
  return sum;
}

// Never contracted, so that every instantiation rounds alike.
template <class T>
__device__ __forceinline__ void add_bias(const Parameters& p, float (&value)[4], int column, int count) {
  if (p.bias == nullptr) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) value[i] = __fadd_rn(value[i], to_float(static_cast<const T*>(p.bias)[column + i]));
  }
}

// Each block of a cluster finishes its share of the tile's outputs.
template <class T>
__device__ __forceinline__ void write_outputs(const Parameters& p, std::uint32_t sums, int tile, int rank) {
  const int fours = tile_columns_of(p) / 4 / p.splits;
  for (int index = static_cast<int>(threadIdx.x); index < p.rows * fours; index += kThreads) {
    const int token = index / fours;
    const int in_tile = (rank * fours + index % fours) * 4;
    const int column = tile * tile_columns_of(p) + in_tile;
    const int count = min(4, columns_of(p) - column);
    if (count <= 0) continue;
    const std::uint32_t at = sums + (token * kPitch + in_tile) * 4;
    const float4 sum = sum_splits(at, p.splits);
    float value[4] = {sum.x, sum.y, sum.z, sum.w};
    add_bias<T>(p, value, column, count);
    if (has_gate(p)) {
      const float4 second = sum_splits(at + kBoxRows * 4, p.splits);
      float up[4] = {second.x, second.y, second.z, second.w};
      add_bias<T>(p, up, columns_of(p) + column, count);
#pragma unroll
      for (int i = 0; i < 4; ++i) value[i] = gated<FastExponential>(p.gate, value[i], up[i]);
    }
    const std::int64_t to = token * p.y_stride + column;
    if (p.result_f32) {
      store4(static_cast<float*>(p.y) + to, value, count);
    } else {
      store4(static_cast<T*>(p.y) + to, value, count);
    }
  }
}

#endif

template <class T, int kTokens>
__global__ void __launch_bounds__(kThreads, 2) warpgroup_kernel(const __grid_constant__ Parameters p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using R = Ring<kTokens>;
  extern __shared__ unsigned char memory[];
  const std::uint32_t ring = (shared_address(memory) + 1023) / 1024 * 1024;
  const std::uint32_t full = ring + R::kBytes, empty = full + 8 * R::kStages;
  const int tile = static_cast<int>(blockIdx.x) / p.splits, rank = static_cast<int>(blockIdx.x) % p.splits;
  const int first = p.chunks * rank / p.splits;
  const int count = p.chunks * (rank + 1) / p.splits - first;
  const int warp = __shfl_sync(0xFFFFFFFFU, static_cast<int>(threadIdx.x) / 32, 0);
  const int group = warp / 4;

  const std::uint64_t once = read_once();
  const auto start_weight = [&](int chunk, int stage) {
    const std::uint32_t to = ring + stage * R::kStageBytes, barrier = full + 8 * stage;
    const int row = tile * tile_columns_of(p);
    arrival::expect(barrier, R::kStageBytes);
    copy_box(p.weight, to, barrier, (first + chunk) * kChunk, row, once);
    copy_box(p.weight, to + kBoxBytes, barrier, (first + chunk) * kChunk,
             has_gate(p) ? columns_of(p) + row : row + kBoxRows, once);
  };
  const auto start_tokens = [&](int chunk, int stage) {
    copy_box(p.x, ring + stage * R::kStageBytes + kGroups * kBoxBytes, full + 8 * stage,
             (first + chunk) * kChunk, 0);
  };
  if (threadIdx.x == kConsumers) {
    prefetch_map(p.weight);
    prefetch_map(p.x);
    for (int stage = 0; stage < R::kStages; ++stage) {
      arrival::make(full + 8 * stage, 1);
      arrival::make(empty + 8 * stage, kConsumers / 32);
    }
    arrival::publish_to_copies();
    for (int i = 0; i < min(R::kStages, count); ++i) start_weight(i, i);
    if (kLead >= count - R::kStages) let_next_start();
  }
  __syncthreads();

  float sums[kTokens / 2] = {};
  if (group == kGroups) {  // the copying warp
    if (threadIdx.x == kConsumers) {
      wait_for_previous();
      for (int i = 0; i < min(R::kStages, count); ++i) start_tokens(i, i);
      int stage = 0;
      std::uint32_t parity = 0;
      for (int i = R::kStages; i < count; ++i) {
        arrival::wait(empty + 8 * stage, parity);
        start_weight(i, stage);
        start_tokens(i, stage);
        if (count - 1 - i == kLead) let_next_start();
        if (++stage == R::kStages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
    __syncwarp();
  } else {
    int stage = 0;
    std::uint32_t parity = 0;
    int before = -1;  // the stage whose products may still be under way
    for (int i = 0; i < count; ++i) {
      arrival::wait(full + 8 * stage, parity);
      const std::uint32_t at = ring + stage * R::kStageBytes;
      const warpgroup::Operand weight(at + group * kBoxBytes, 16), tokens(at + kGroups * kBoxBytes, 16);
      warpgroup::pin(sums);
      warpgroup::fence();
#pragma unroll
      for (int k = 0; k < kChunk / 16; ++k)
        warpgroup::multiply_add<T>(sums, weight.at(k * 32), tokens.at(k * 32));
      warpgroup::commit();
      if (before >= 0) {
        warpgroup::wait<1>();
        if (threadIdx.x % 32 == 0) arrival::arrive(empty + 8 * before);
      }
      before = stage;
      if (++stage == R::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
    warpgroup::wait<0>();
    warpgroup::pin(sums);
  }
  __syncthreads();  // the ring is read

  if (group < kGroups) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float* const to =
        reinterpret_cast<float*>(memory + (ring - shared_address(memory))) + warp * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) {
      const int token = i / 4 * 8 + lane % 4 * 2 + i % 2;
      to[token * kPitch + i / 2 % 2 * 8] = sums[i];
    }
  }
  if (p.splits > 1) {
    cluster_barrier();
  } else {
    __syncthreads();
  }
  // The results' memory may still be read until the kernel ahead has ended.
  wait_for_previous();
  write_outputs<T>(p, ring, tile, rank);
  if (p.splits > 1) cluster_barrier();  // nobody leaves while its sums are read
#else
  __trap();  // built for another architecture, where matmul_warpgroup() does not come here
#endif
}

// A function of the weight's shape and the GPU alone: rows must not change it. Blocks of a quarter less than
// the multiprocessors still keep memory busy.
int splits_of(const MatmulArguments& a, int tiles, int chunks) {
  if (a.splits > 0) return a.splits;
  int splits = 1;
  while (splits < kMostSplits && tiles * splits * 2 <= hopper_multiprocessors() && chunks >= 8 * splits)
    splits *= 2;
  return splits;
}

template <class T, int kTokens>
cudaError_t start(const MatmulArguments& a, cudaStream_t stream) {
  using R = Ring<kTokens>;
  auto* const kernel = warpgroup_kernel<T, kTokens>;
  if (const cudaError_t error = allow_shared(kernel, R::kSharedBytes); error != cudaSuccess) return error;
  // A multiprocessor divides its memory anew only when it is empty: what has the most shared memory can start
  // beside others.
  if (const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                                     cudaSharedmemCarveoutMaxShared);
      error != cudaSuccess)
    return error;

  Parameters p{};
  if (!map_matrix(p.weight, a.weight, a.out, a.in, a.in, kBoxRows) ||
      !map_matrix(p.x, a.x, a.rows, a.in, a.x_stride, kTokens))
    return cudaErrorNotSupported;
  p.bias = a.bias;
  p.y = a.y;
  p.y_stride = a.y_stride;
  p.rows = a.rows;
  p.out = a.out;
  p.chunks = (a.in + kChunk - 1) / kChunk;
  p.gate = a.gate;
  p.result_f32 = a.result == Element::f32;
  const int tiles =
      a.gate != Gate::none ? (a.out / 2 + kBoxRows - 1) / kBoxRows : (a.out + kTileRows - 1) / kTileRows;
  p.splits = splits_of(a, tiles, p.chunks);

  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  if (p.splits > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {static_cast<unsigned>(p.splits), 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(tiles * p.splits));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = R::kSharedBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, p);
}

template <class T>
cudaError_t start_for_rows(const MatmulArguments& a, cudaStream_t stream) {
  if (a.rows <= 8) return start<T, 8>(a, stream);
  if (a.rows <= 16) return start<T, 16>(a, stream);
  if (a.rows <= 32) return start<T, 32>(a, stream);
  return start<T, 64>(a, stream);
}

bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

}  // namespace

bool warpgroup_takes(const MatmulArguments& a) {
  return hopper_multiprocessors() > 0 && a.rows <= kMostWarpgroupRows && size_of(a.activation) == 2 &&
         a.weight_type == a.activation && (a.result == a.activation || a.result == Element::f32) &&
         aligned(a.x) && aligned(a.weight) && a.x_stride % 8 == 0 && a.in % 8 == 0 && a.in > 0;
}

cudaError_t matmul_warpgroup(const MatmulArguments& a, cudaStream_t stream) {
  if (!warpgroup_takes(a) || a.rows < 0) return cudaErrorInvalidValue;
  if (a.rows == 0 || a.out == 0) return cudaSuccess;
  return a.activation == Element::bf16 ? start_for_rows<bf16>(a, stream) : start_for_rows<f16>(a, stream);
}

}  // namespace baton::cuda
