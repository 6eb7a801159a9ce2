// Decode products: few rows, so the time is that of reading the weight once.
//
// The weight's rows come in units of eight, of e4m3 sixteen (with a gate half of them gates and half their
// ups), K in chunks of 64. One block per processor takes an even share of the units ("tile") over all of K,
// or a cluster of blocks takes a larger tile and shares its K. Within a block each of the eight warps takes
// every eighth chunk of K, for all units of the tile, and streams the weight through a ring of its own: a
// piece is one unit's chunk, 80 KiB of pieces are on their way in a block, and no warp waits for another
// before the sums are added. A tile that is too large for the registers is done in several passes, through
// which the ring runs on.
//
// The memory must not rest between kernels either: the ring is filled before the kernel ahead has ended, and
// the next kernel may start when this one has asked for its last piece, not before, so that its first pieces
// arrive while this one's tail runs.
//
// The tokens are the mma's sixteen rows, eight weight rows its columns. A lane takes K 8 (lane % 4) to + 7 of
// a chunk and the eight that are 32 further on, from weight row lane / 4 and from the token of the same
// number: an order of K that the mma does not know of.
//
// Row invariance: an output is a fixed tree. A warp adds its chunks up in the order of K, a block its warps
// and a cluster its blocks in their order. All of it follows from the weight's shape and type and the GPU;
// the number of rows only chooses how many are computed beside each other.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/matmul.hpp"
#include "kernels/cuda/matmul_stream.cuh"

namespace baton::cuda {
namespace {

using namespace skinny;

constexpr int kMaxRows = 64;          // of one launch
constexpr int kSumBytes = 16 * 1024;  // at least what the sums of all warps for eight rows take

// Tokens come in sixteens. How many eights of weight rows a warp adds up for them at a time.
template <int kSixteens>
constexpr int kEights = kSixteens == 1 ? 8 : 6;
// Up to 32 tokens registers and shared memory let the next product's block be beside this one's; up to 16,
// those of a small kernel between them too.
template <class W, int kSixteens>
constexpr int kRegisters = kSixteens == 1   ? (sizeof(W) == 2 ? 112 : 120)
                           : kSixteens == 2 ? 128
                                            : 255;
template <int kSixteens>
constexpr int kPitch = kEights<kSixteens> * 8 + 4;  // floats between tokens in the totals
template <int kSixteens>
constexpr int kTotalBytes = 16 * kSixteens* kPitch<kSixteens> * 4;

template <int kSixteens>
using Sums = float[kEights<kSixteens>][kSixteens][4];

// One chunk of K of all units.
template <class T, class W, int kSixteens>
__device__ __forceinline__ void multiply_chunk(Sums<kSixteens>& sums, const Tokens<kSixteens>& x,
                                               WeightStream<W>& weight, int units) {
  constexpr int kOfUnit = kUnit<W> / 8;
#pragma unroll
  for (int unit = 0; unit < kEights<kSixteens> / kOfUnit; ++unit) {
    if (unit >= units) break;
    Operands<W> b;
    load_piece<T>(b, weight.piece(), W());
    weight.advance();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
#pragma unroll
      for (int eight = 0; eight < kOfUnit; ++eight) {
#pragma unroll
        for (int sixteen = 0; sixteen < kSixteens; ++sixteen) {
          std::uint32_t a[4];
          x.operand(a, sixteen, step);
          multiply_add<T>(sums[unit * kOfUnit + eight][sixteen], a, b[eight][step][0], b[eight][step][1]);
        }
      }
    }
  }
}

// total[token][weight row of the pass] = the warps' sums in their order, as many eights of rows at a time as
// `parts` holds: [warp][eight][token][row].
template <int kSixteens>
__device__ __forceinline__ void add_warps(const Parameters& p, const Sums<kSixteens>& sums, float* parts,
                                          float* total, int eights) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int tokens = (p.rows + 7) / 8 * 8;
  const int at_once = min(eights, p.sum_bytes / (kWarps * 8 * 4 * tokens));
#pragma unroll 1
  for (int first = 0; first < eights; first += at_once) {
    const int count = min(at_once, eights - first);
    const int size = count * tokens * 8;  // of a warp
#pragma unroll
    for (int eight = 0; eight < kEights<kSixteens>; ++eight) {
      if (eight < first || eight >= first + count) continue;
      float* const to = parts + warp * size + (eight - first) * tokens * 8 + lane * 2;
#pragma unroll
      for (int i = 0; i < 2 * kSixteens; ++i) {  // eights of tokens
        if (8 * i >= tokens) continue;
        const float* const sum = &sums[eight][i / 2][i % 2 * 2];
        *reinterpret_cast<float2*>(to + i * 64) = float2{sum[0], sum[1]};
      }
    }
    __syncthreads();
    for (int index = static_cast<int>(threadIdx.x); index < size; index += kThreads) {
      float sum = parts[index];
#pragma unroll
      for (int i = 1; i < kWarps; ++i) sum += parts[i * size + index];
      const int row = index / 8;  // of [eight][token]
      total[row % tokens * kPitch<kSixteens> + (first + row / tokens) * 8 + index % 8] = sum;
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

// Each block of a cluster finishes its share of the pass's outputs.
template <class T, class W, int kSixteens>
__device__ __forceinline__ void write_outputs(const Parameters& p, const float* total, Range units,
                                              int rank) {
  const int of_unit = unit_columns<W>(p.has_gate()) / 4;
  const Range fours = Range{0, units.size() * of_unit}.part(rank, p.splits);
  for (int index = static_cast<int>(threadIdx.x); index < p.rows * fours.size(); index += kThreads) {
    const int token = index / fours.size();
    const int four = fours.first + index % fours.size();
    const int column = (units.first * of_unit + four) * 4;
    if (column >= p.columns()) continue;
    const int count = min(4, p.columns() - column);
    const float* const at =
        total + token * kPitch<kSixteens> + four / of_unit * kUnit<W> + four % of_unit * 4;
    float sum[4];
    add_splits(sum, at, p.splits);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] = i < count ? finish<T>(p, sum[i], column + i) : 0.0F;
    if (p.has_gate()) {
      float up[4];
      add_splits(up, at + kUnit<W> / 2, p.splits);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) {
          sum[i] = gated<FastExponential>(p.gate, sum[i], finish<T>(p, up[i], p.columns() + column + i));
        }
      }
    }
    const std::int64_t to = token * p.y_stride + column;
    if (p.result_f32) {
      store4(static_cast<float*>(p.y) + to, sum, count);
    } else {
      store4(static_cast<T*>(p.y) + to, sum, count);
    }
  }
}

// Asks for what finish() reads of the tile, so that the tail does not wait for it.
template <class T>
__device__ __forceinline__ void prefetch_finish(const Parameters& p, Range rows) {
  constexpr int kLine = 128;
  const int index = static_cast<int>(threadIdx.x);
  const auto ask = [&](const void* data, int size, int first) {
    const char* const from = static_cast<const char*>(data) + static_cast<std::int64_t>(first) * size;
    for (int at = index * kLine; at < rows.size() * size; at += kThreads * kLine) prefetch_line(from + at);
    if (index == 0 && rows.size() > 0) prefetch_line(from + (rows.size() - 1) * size);
  };
  for (int part = 0; part < (p.has_gate() ? 2 : 1); ++part) {
    const int first = rows.first + part * p.columns();
    if (p.scale != nullptr) ask(p.scale, 4, first);
    if (p.bias != nullptr) ask(p.bias, static_cast<int>(sizeof(T)), first);
  }
}

template <class T, class W, int kSixteens>
__global__ void __launch_bounds__(kThreads) __maxnreg__((kRegisters<W, kSixteens>))
    skinny_kernel(const __grid_constant__ Parameters p) {
  extern __shared__ __align__(128) unsigned char memory[];
  const int ring_bytes = p.small_ring ? kSmallRingBytes : kRingBytes;
  float* const parts = reinterpret_cast<float*>(memory + kWarps * ring_bytes);
  float* const total = parts + p.sum_bytes / 4;
  constexpr int kUnitsAtOnce = kEights<kSixteens> * 8 / kUnit<W>;
  const Share share(p, unit_columns<W>(p.has_gate()), kUnitsAtOnce);
  WeightStream<W> weight(p, share, shared_address(memory) + static_cast<int>(threadIdx.x) / 32 * ring_bytes);
  const int columns = unit_columns<W>(p.has_gate());
  prefetch_finish<T>(p, {share.units.first * columns, min(share.units.last * columns, p.columns())});
  wait_for_previous();

  // One sixteen of tokens is asked for a chunk ahead; more have no registers for that.
  constexpr bool kAhead = kSixteens == 1;
  Tokens<kSixteens> x;
  if (kAhead) x.template load<T>(p, share.k.first);
#pragma unroll 1
  for (Range units = share.pass(share.units.first); units.size() > 0; units = share.pass(units.last)) {
    Sums<kSixteens> sums = {};
#pragma unroll 1
    for (int k = share.k.first; k < share.k.last; k += kBlockK) {
      if constexpr (kAhead) {
        Tokens<kSixteens> next;
        next.template load<T>(p, k + kBlockK < share.k.last ? k + kBlockK : share.k.first);
        multiply_chunk<T, W, kSixteens>(sums, x, weight, units.size());
        x = next;
      } else {
        x.template load<T>(p, k);
        multiply_chunk<T, W, kSixteens>(sums, x, weight, units.size());
      }
    }
    add_warps<kSixteens>(p, sums, parts, total, units.size() * kUnit<W> / 8);
    if (p.splits > 1) cluster_barrier();
    write_outputs<T, W, kSixteens>(p, total, units, share.rank);
    if (p.splits > 1) cluster_barrier();  // nobody overwrites or leaves its totals while they are read
  }
  wait_copies<0>();
}

cudaError_t device_attribute(int& value, cudaDeviceAttr attribute) {
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(&value, attribute, device);
}

// Functions of the weight's shape and the GPU alone: rows must not change the splits.
struct Plan {
  int splits;
  int tiles;
};

template <class W>
Plan plan_of(const MatmulArguments& a, int processors) {
  const int columns = a.gate != Gate::none ? a.out / 2 : a.out;
  const int of_unit = unit_columns<W>(a.gate != Gate::none);
  const int units = (columns + of_unit - 1) / of_unit;
  const int chunks = (a.in + kChunk - 1) / kChunk;
  constexpr int kRowsWorth = 32;  // fewer weight rows to a block, and reading the tokens counts
  int splits = 1;
  if (a.splits > 0) {
    splits = a.splits;
  } else {
    while (splits < 4 && units * splits * kUnit<W> < kRowsWorth * processors &&
           chunks >= 4 * splits * kWarps) {
      splits *= 2;
    }
  }
  if (!has_dependent_launch()) splits = 1;  // no clusters either
  const int at_once = std::max(1, processors / splits);
  const int of_a_tile = (units + at_once - 1) / at_once;
  return {splits, (units + of_a_tile - 1) / of_a_tile};
}

template <class T, class W, int kSixteens>
cudaError_t launch_skinny(const MatmulArguments& a, cudaStream_t stream) {
  int limit = 0, processors = 0;
  if (const cudaError_t error = device_attribute(limit, cudaDevAttrMaxSharedMemoryPerBlockOptin);
      error != cudaSuccess) {
    return error;
  }
  if (const cudaError_t error = device_attribute(processors, cudaDevAttrMultiProcessorCount);
      error != cudaSuccess) {
    return error;
  }
  const Plan plan = plan_of<W>(a, processors);
  constexpr int kTotals = kTotalBytes<kSixteens>;
  const bool small_ring = a.small_ring || limit < kWarps * kRingBytes + kSumBytes + kTotals;
  const int ring_bytes = kWarps * (small_ring ? kSmallRingBytes : kRingBytes);
  // All units at once where no other block would fit beside this one anyway.
  int sum_bytes = kSumBytes;
  if (kSixteens > 2) {
    sum_bytes =
        std::min(kEights<kSixteens> * kSumBytes, (limit - ring_bytes - kTotals) / kSumBytes * kSumBytes);
  }
  const int bytes = ring_bytes + sum_bytes + kTotals;
  auto* const kernel = skinny_kernel<T, W, kSixteens>;
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
  if (plan.splits > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {static_cast<unsigned>(plan.splits), 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(plan.tiles * plan.splits);
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
                              .splits = plan.splits,
                              .tiles = plan.tiles,
                              .lead = a.lead,
                              .sum_bytes = sum_bytes,
                              .small_ring = small_ring,
                              .gate = a.gate,
                              .result_f32 = a.result == Element::f32};
  return cudaLaunchKernelEx(&config, kernel, parameters);
}

template <class T, class W>
cudaError_t launch_for_rows(const MatmulArguments& a, cudaStream_t stream) {
  if (a.rows <= 16) return launch_skinny<T, W, 1>(a, stream);
  if (a.rows <= 32) return launch_skinny<T, W, 2>(a, stream);
  return launch_skinny<T, W, 4>(a, stream);
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
