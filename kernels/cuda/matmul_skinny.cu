// Decode products: few rows, so the time is that of reading the weight once.
//
// A block makes 128 outputs ("tile") over a slice of K. 128-byte pieces of the tile's weight rows and the
// same K of all tokens go through a ring of stages in shared memory, copied asynchronously: 48 to 80 KiB of
// weight are on their way in each block, and the first of them are asked for before the kernel ahead has
// ended. Eight warps: four bands of 32 outputs times two halves of each stage's K, so that a weight is read
// from shared memory once and a token four times. The weight is the mma's 16-row operand, the tokens its 8
// columns, hence one to eight column groups.
//
// Row invariance: an output is a fixed tree. Each half of a stage's K adds up in the order of K, the halves
// are added, and the blocks of a cluster that share a tile's K are added in the order of their rank. All of
// it follows from (out, in); the number of rows only chooses how many columns are computed beside each other.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/matmul.hpp"
#include "kernels/cuda/matmul_mma.cuh"

namespace baton::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 128;         // outputs of a block
constexpr int kPieceBytes = 128;   // of a weight row in a stage
constexpr int kPitch = kTile + 4;  // floats between tokens in the sums; spreads them over the banks
constexpr int kMaxRows = 64;       // of one launch
constexpr int kMaxDepth = 12;      // stages, see wait_copies_but
constexpr int kDefaultDepth = 6;
constexpr int kTwoPerProcessor =
    113 * 1024;  // bytes of shared memory with which sm_90 still holds two blocks, so
                 // that the next kernel's blocks fit beside this one's

struct Parameters {
  const void* x;
  const void* weight;
  const float* scale;
  const void* bias;
  void* y;
  std::int64_t x_stride;
  std::int64_t y_stride;
  int rows;
  int out;
  int in;
  int splits;
  int depth;
  bool silu_mul;
  bool result_f32;
};

template <class W, int kGroups>
struct Stage {
  static constexpr int kIn = kPieceBytes / static_cast<int>(sizeof(W));
  static constexpr int kTokens = 8 * kGroups;
  static constexpr int kTokenBytes = kIn * 2;
  static constexpr int kWeightBytes = kTile * kPieceBytes;
  static constexpr int kBytes = kWeightBytes + kTokens * kTokenBytes;
  static_assert(kTokens * kPitch * 4 <= 2 * kBytes, "the sums take the place of the ring");
};

// What one thread copies of each stage's weight: sixteen bytes of the tile's rows local, local + 32, + 64 and
// + 96. With silu_mul a tile is 64 gate rows and the 64 up rows that belong to them.
template <class W>
struct WeightCopies {
  std::int64_t from;    // of the first row, in elements
  std::int64_t second;  // from there to row local + 64
  std::uint32_t to;
  int first_k;
  unsigned inside = 0;  // bit i: row local + 32 i exists

  __device__ WeightCopies(const Parameters& p, int tile) {
    const int piece = threadIdx.x % 8;
    const int local = threadIdx.x / 8;
    const int columns = p.silu_mul ? p.out / 2 : p.out;
    const int row = tile * (p.silu_mul ? kTile / 2 : kTile) + local;
    first_k = piece * kPerLoad<W>;
    to = local * kPieceBytes + ((piece ^ (local & 7)) * 16);
    from = static_cast<std::int64_t>(row) * p.in + first_k;
    second = static_cast<std::int64_t>(p.silu_mul ? columns : kTile / 2) * p.in;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = row + 32 * (p.silu_mul ? i % 2 : i);
      inside |= column < columns ? 1U << i : 0U;
    }
  }

  // k: first of the stage's.
  __device__ void copy(const Parameters& p, int k, std::uint32_t stage) const {
    const bool in_row = k + first_k < p.in;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool there = in_row && (inside >> i & 1U) != 0;
      const std::int64_t at = from + k + i % 2 * 32 * static_cast<std::int64_t>(p.in) + i / 2 * second;
      copy16(stage + to + i * 32 * kPieceBytes, static_cast<const W*>(p.weight) + (there ? at : 0), there);
    }
  }
};

// Sixteen-byte pieces of a token change places by its number, so that eight tokens' same piece, or with e4m3
// weights four tokens' same pair of pieces, lie in different banks.
template <class W>
__device__ __forceinline__ int token_piece(int piece, int token) {
  return sizeof(W) == 1 ? piece ^ ((token & 7) << 1) : piece ^ (token & 7);
}

template <class T, class W, int kGroups>
__device__ __forceinline__ void copy_tokens(const Parameters& p, int k, std::uint32_t stage) {
  using S = Stage<W, kGroups>;
  constexpr int kPieces = S::kTokenBytes / 16;
#pragma unroll
  for (int first = 0; first < S::kTokens * kPieces; first += kThreads) {
    const int index = first + static_cast<int>(threadIdx.x);
    const int token = index / kPieces;
    const int piece = index % kPieces;
    if (token >= p.rows) continue;  // columns that nobody reads
    const int at = k + piece * kPerLoad<T>;
    const bool inside = at < p.in;
    copy16(stage + S::kWeightBytes + token * S::kTokenBytes + token_piece<W>(piece, token) * 16,
           static_cast<const T*>(p.x) + token * p.x_stride + (inside ? at : 0), inside);
  }
}

template <int kGroups>
using Sums = float[kGroups][2][4];  // tokens in eights, outputs in sixteens

// Sixteen K of a band's 32 outputs.
__device__ __forceinline__ void load_band(std::uint32_t (&a)[2][4], std::uint32_t stage, int band,
                                          int piece) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const int row = 32 * band + 16 * m + lane % 16;
    load_matrices(a[m], stage + row * kPieceBytes + (((piece + lane / 16) ^ (row & 7)) * 16));
  }
}

// One stage with a weight of the activations' type: four pieces of eight K for each half of the warps.
template <class T, int kGroups>
__device__ __forceinline__ void multiply_stage(Sums<kGroups>& sums, std::uint32_t stage, int band, int half,
                                               T /*weight*/) {
  const int matrix = threadIdx.x % 32 / 8;
  const int row = threadIdx.x % 8;
  std::uint32_t b[4];
  if constexpr (kGroups == 1) {  // all K of the only group of tokens at once
    load_matrices(
        b, stage + kTile * kPieceBytes + row * kPieceBytes + token_piece<T>(4 * half + matrix, row) * 16);
  }
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const int piece = 4 * half + 2 * step;
    std::uint32_t a[2][4];
    load_band(a, stage, band, piece);
    if constexpr (kGroups == 1) {
#pragma unroll
      for (int m = 0; m < 2; ++m) multiply_add<T>(sums[0][m], a[m], b[2 * step], b[2 * step + 1]);
    } else {
#pragma unroll
      for (int group = 0; group < kGroups; group += 2) {
        const int token = 8 * (group + matrix / 2) + row;
        load_matrices(b, stage + kTile * kPieceBytes + token * kPieceBytes +
                             token_piece<T>(piece + matrix % 2, token) * 16);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add<T>(sums[group][m], a[m], b[0], b[1]);
          multiply_add<T>(sums[group + 1][m], a[m], b[2], b[3]);
        }
      }
    }
  }
}

// One stage with an e4m3 weight: a piece is sixteen K. A lane gets four neighbours of them, and takes the
// same four of its token: an order of K that the mma does not know of, and that is the same for every row.
template <class T, int kGroups>
__device__ __forceinline__ void multiply_stage(Sums<kGroups>& sums, std::uint32_t stage, int band, int half,
                                               e4m3 /*weight*/) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) {
    std::uint32_t words[2][4];
    load_band(words, stage, band, 4 * half + 2 * pair);
    std::uint32_t a[2][2][4];  // sixteens of K, of outputs
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        a[step][m][0] = widen_low<T>(words[m][2 * step]);
        a[step][m][1] = widen_low<T>(words[m][2 * step + 1]);
        a[step][m][2] = widen_high<T>(words[m][2 * step]);
        a[step][m][3] = widen_high<T>(words[m][2 * step + 1]);
      }
    }
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      const int token = 8 * group + lane / 4;
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const int piece = 2 * (4 * half + 2 * pair + step);  // of the token: eight K
        const uint2 b = load_shared8(stage + kTile * kPieceBytes + token * Stage<e4m3, kGroups>::kTokenBytes +
                                     token_piece<e4m3>(piece, token) * 16 + 8 * (lane % 4));
#pragma unroll
        for (int m = 0; m < 2; ++m) multiply_add<T>(sums[group][m], a[step][m], b.x, b.y);
      }
    }
  }
}

// total[token][output], floats at kPitch: the second half of the warps writes, the first adds.
template <int kGroups>
__device__ __forceinline__ void add_halves(const Sums<kGroups>& sums, float* total, int band, int half) {
  const int lane = threadIdx.x % 32;
  for (int turn = 1; turn >= 0; --turn) {
    if (half == turn) {
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
#pragma unroll
        for (int m = 0; m < 2; ++m) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int token = 8 * group + 2 * (lane % 4) + i % 2;
            const int output = 32 * band + 16 * m + lane / 4 + 8 * (i / 2);
            float& at = total[token * kPitch + output];
            at = turn == 1 ? sums[group][m][i] : sums[group][m][i] + at;
          }
        }
      }
    }
    __syncthreads();
  }
}

// Four neighbouring outputs of one token, over all blocks of the cluster.
__device__ __forceinline__ void add_splits(float (&sum)[4], const float* at, int splits) {
  float4 value;
  if (splits == 1) {
    value = *reinterpret_cast<const float4*>(at);
  } else {
    const std::uint32_t address = shared_address(at);
    value = load_cluster16(address, 0);
    for (int rank = 1; rank < splits; ++rank) {
      const float4 more = load_cluster16(address, rank);
      value = {value.x + more.x, value.y + more.y, value.z + more.z, value.w + more.w};
    }
  }
  sum[0] = value.x, sum[1] = value.y, sum[2] = value.z, sum[3] = value.w;
}

// Never contracted, so that every instantiation rounds alike.
template <class T>
__device__ __forceinline__ float finish(const Parameters& p, float sum, int row) {
  if (p.scale != nullptr) sum = __fmul_rn(sum, p.scale[row]);
  if (p.bias != nullptr) sum = __fadd_rn(sum, to_float(static_cast<const T*>(p.bias)[row]));
  return sum;
}

template <class Y>
__device__ __forceinline__ void store4(Y* to, const float (&value)[4], int count) {
  Pack<Y, 4> pack;
#pragma unroll
  for (int i = 0; i < 4; ++i) pack.at[i] = from_float<Y>(value[i]);
  if (count == 4 && reinterpret_cast<std::uintptr_t>(to) % sizeof(pack) == 0) {
    *reinterpret_cast<Pack<Y, 4>*>(to) = pack;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) to[i] = pack.at[i];
  }
}

// Each block of a cluster finishes its share of the tile's outputs.
template <class T>
__device__ __forceinline__ void write_outputs(const Parameters& p, const float* total, int tile, int rank) {
  const int outputs = p.silu_mul ? kTile / 2 : kTile;
  const int columns = p.silu_mul ? p.out / 2 : p.out;
  const int fours = outputs / p.splits / 4;
  for (int index = threadIdx.x; index < p.rows * fours; index += kThreads) {
    const int token = index / fours;
    const int local = (rank * fours + index % fours) * 4;
    const int column = tile * outputs + local;
    if (column >= columns) continue;
    const int count = min(4, columns - column);
    float sum[4];
    add_splits(sum, total + token * kPitch + local, p.splits);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] = i < count ? finish<T>(p, sum[i], column + i) : 0.0F;
    if (p.silu_mul) {
      float up[4];
      add_splits(up, total + token * kPitch + kTile / 2 + local, p.splits);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) sum[i] = sum[i] / (1.0F + __expf(-sum[i])) * finish<T>(p, up[i], columns + column + i);
      }
    }
    const std::int64_t at = token * p.y_stride + column;
    if (p.result_f32) {
      store4(static_cast<float*>(p.y) + at, sum, count);
    } else {
      store4(static_cast<T*>(p.y) + at, sum, count);
    }
  }
}

template <class T, class W, int kGroups>
__global__ void __launch_bounds__(kThreads, 2) skinny_kernel(const __grid_constant__ Parameters p) {
  using S = Stage<W, kGroups>;
  extern __shared__ __align__(128) unsigned char ring[];
  const std::uint32_t first_stage = shared_address(ring);
  const int tile = static_cast<int>(blockIdx.x) / p.splits;
  const int rank = static_cast<int>(blockIdx.x) % p.splits;
  const int stages = (p.in + S::kIn - 1) / S::kIn;  // of the whole K
  const int first = static_cast<int>(static_cast<std::int64_t>(stages) * rank / p.splits);
  const int last = static_cast<int>(static_cast<std::int64_t>(stages) * (rank + 1) / p.splits);
  const WeightCopies<W> weight(p, tile);

  let_next_start();
#pragma unroll 1
  for (int i = 0; i < p.depth - 1; ++i) {
    if (first + i < last) weight.copy(p, (first + i) * S::kIn, first_stage + i * S::kBytes);
    close_copies();
  }
  wait_for_previous();
#pragma unroll 1
  for (int i = 0; i < p.depth - 1; ++i) {
    if (first + i < last) copy_tokens<T, W, kGroups>(p, (first + i) * S::kIn, first_stage + i * S::kBytes);
    close_copies();
  }

  // Groups close in this order: depth - 1 of weights, depth - 1 of tokens, then both together. So when all
  // but the newest depth - 2 are complete, the stage is.
  const int band = static_cast<int>(threadIdx.x) / 32 % 4;
  const int half = static_cast<int>(threadIdx.x) / 128;
  Sums<kGroups> sums = {};
  int slot = 0;
  int free_slot = p.depth - 1;
#pragma unroll 1
  for (int stage = first; stage < last; ++stage) {
    wait_copies_but(p.depth - 2);
    __syncthreads();  // everyone's copies have arrived, and everyone has left the slot that is filled next
    const int ahead = stage + p.depth - 1;
    if (ahead < last) {
      weight.copy(p, ahead * S::kIn, first_stage + free_slot * S::kBytes);
      copy_tokens<T, W, kGroups>(p, ahead * S::kIn, first_stage + free_slot * S::kBytes);
    }
    close_copies();
    multiply_stage<T, kGroups>(sums, first_stage + slot * S::kBytes, band, half, W());
    free_slot = slot;
    slot = slot + 1 == p.depth ? 0 : slot + 1;
  }
  wait_copies<0>();
  __syncthreads();

  float* const total = reinterpret_cast<float*>(ring);
  add_halves<kGroups>(sums, total, band, half);
  if (p.splits > 1) cluster_barrier();
  write_outputs<T>(p, total, tile, rank);
  if (p.splits > 1) cluster_barrier();  // nobody leaves while its sums are read
}

int tiles_of(const MatmulArguments& a) {
  const int columns = a.silu_mul ? a.out / 2 : a.out;
  const int outputs = a.silu_mul ? kTile / 2 : kTile;
  return (columns + outputs - 1) / outputs;
}

// Enough blocks to ask for the memory's whole bandwidth, each with some stages to do. A function of the
// weight's shape alone: rows must not change it, nor should the GPU.
int splits_of(const MatmulArguments& a, int stages) {
  constexpr int kBlocks = 96;
  constexpr int kStages = 4;
  int splits = 1;
  while (splits < 8 && tiles_of(a) * splits < kBlocks && stages >= 2 * splits * kStages) splits *= 2;
  return splits;
}

cudaError_t shared_limit(int& bytes) {
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}

template <class T, class W, int kGroups>
cudaError_t launch_skinny(const MatmulArguments& a, cudaStream_t stream) {
  using S = Stage<W, kGroups>;
  int limit = 0;
  if (const cudaError_t error = shared_limit(limit); error != cudaSuccess) return error;
  const int stages = (a.in + S::kIn - 1) / S::kIn;
  int splits = a.splits > 0 ? a.splits : splits_of(a, stages);
  if (!has_dependent_launch()) splits = 1;  // no clusters either
  int depth = a.depth > 0 ? a.depth : std::min(kDefaultDepth, kTwoPerProcessor / S::kBytes);
  depth = std::clamp(std::min(depth, limit / S::kBytes), 2, kMaxDepth);
  const int bytes = depth * S::kBytes;
  auto* const kernel = skinny_kernel<T, W, kGroups>;
  if (const cudaError_t error = allow_shared(kernel, bytes); error != cudaSuccess) return error;
  // A processor divides its memory anew only when it is empty: what has the most shared memory can start
  // beside others.
  if (const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                                     cudaSharedmemCarveoutMaxShared);
      error != cudaSuccess) {
    return error;
  }

  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (has_dependent_launch()) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (splits > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {static_cast<unsigned>(splits), 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(tiles_of(a) * splits);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  const Parameters parameters{.x = a.x,
                              .weight = a.weight,
                              .scale = a.weight_type == Element::e4m3 ? a.scale : nullptr,
                              .bias = a.bias,
                              .y = a.y,
                              .x_stride = a.x_stride,
                              .y_stride = a.y_stride,
                              .rows = a.rows,
                              .out = a.out,
                              .in = a.in,
                              .splits = splits,
                              .depth = depth,
                              .silu_mul = a.silu_mul,
                              .result_f32 = a.result == Element::f32};
  return cudaLaunchKernelEx(&config, kernel, parameters);
}

template <class T, class W>
cudaError_t launch_for_rows(const MatmulArguments& a, cudaStream_t stream) {
  if (a.rows <= 8) return launch_skinny<T, W, 1>(a, stream);
  if (a.rows <= 16) return launch_skinny<T, W, 2>(a, stream);
  if (a.rows <= 32) return launch_skinny<T, W, 4>(a, stream);
  return launch_skinny<T, W, 8>(a, stream);
}

cudaError_t launch_for_types(const MatmulArguments& a, cudaStream_t stream) {
  const bool small = a.weight_type == Element::e4m3;
  if (a.activation == Element::bf16) {
    return small ? launch_for_rows<bf16, e4m3>(a, stream) : launch_for_rows<bf16, bf16>(a, stream);
  }
  return small ? launch_for_rows<f16, e4m3>(a, stream) : launch_for_rows<f16, f16>(a, stream);
}

bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

}  // namespace

bool skinny_takes(const MatmulArguments& a) {
  const bool types = (a.activation == Element::bf16 || a.activation == Element::f16) &&
                     (a.weight_type == a.activation || a.weight_type == Element::e4m3) &&
                     (a.result == a.activation || a.result == Element::f32);
  const auto weight_bytes = static_cast<std::int64_t>(size_of(a.weight_type)) * a.in;
  return types && aligned(a.x) && aligned(a.weight) && a.x_stride % 8 == 0 && weight_bytes % 16 == 0 &&
         a.in > 0;
}

cudaError_t matmul_skinny(const MatmulArguments& arguments, cudaStream_t stream) {
  if (!skinny_takes(arguments)) return matmul_generic(arguments, stream);
  if (arguments.rows <= 0 || arguments.out <= 0) return cudaSuccess;
  const auto x_bytes = static_cast<std::int64_t>(size_of(arguments.activation)) * arguments.x_stride;
  const auto y_bytes = static_cast<std::int64_t>(size_of(arguments.result)) * arguments.y_stride;
  for (int row = 0; row < arguments.rows; row += kMaxRows) {
    MatmulArguments part = arguments;
    part.x = static_cast<const char*>(arguments.x) + row * x_bytes;
    part.y = static_cast<char*>(arguments.y) + row * y_bytes;
    part.rows = std::min(kMaxRows, arguments.rows - row);
    if (const cudaError_t error = launch_for_types(part, stream); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace baton::cuda
