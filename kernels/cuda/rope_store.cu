// rope_store: norm, rotation and store, one head of one row by a few neighbouring lanes. A lane holds
// kColumns of the lower half of the head and the same columns of the upper half, so that pairs meet in
// registers.
#include <bit>

#include "kernels/cuda/rope_store.hpp"
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

constexpr int kColumns = 8;
static_assert(kMaxHeadDim == 2 * 32 * kColumns);
constexpr unsigned kThreads = 128;

struct Heads {
  void* data = nullptr;
  std::int64_t stride = 0;  // elements from one row to the next
  std::int32_t count = 0;   // of a row
  const float* norm = nullptr;
};

struct Args {
  Heads q, k, v;
  std::int32_t rows;
  std::int32_t head_dim;
  std::int32_t lane_bits;   // log2 of the lanes that share a head
  std::int32_t block_bits;  // log2 of the tokens of a block
  float epsilon;
  const float2* cos_sin;  // null: nothing is rotated
  StepTables step;
  PagedKv kv;
};

// As the CPU's store: NaN keeps its sign and, in bf16, its upper bits.
template <class Kv>
__device__ __forceinline__ Kv rounded(float value) {
  return from_float<Kv>(value);
}
template <>
__device__ __forceinline__ bf16 rounded<bf16>(float value) {
  const auto kept = static_cast<unsigned short>((__float_as_uint(value) | 0x400000U) >> 16);
  return value == value ? __float2bfloat16_rn(value) : __ushort_as_bfloat16(kept);
}
template <>
__device__ __forceinline__ f16 rounded<f16>(float value) {
  const auto nan = static_cast<unsigned short>((__float_as_uint(value) >> 16 & 0x8000U) | 0x7E00U);
  return value == value ? __float2half_rn(value) : __ushort_as_half(nan);
}

template <bool Wide, class Kv>
__device__ __forceinline__ void store_rounded(Kv* to, std::int32_t column, std::int32_t cols,
                                              const float (&values)[kColumns]) {
  if constexpr (Wide) {
    constexpr int kPart = kColumns < kPerLoad<Kv> ? kColumns : kPerLoad<Kv>;
#pragma unroll
    for (int first = 0; first < kColumns; first += kPart) {
      Pack<Kv, kPart> part;
#pragma unroll
      for (int i = 0; i < kPart; ++i) part.at[i] = rounded<Kv>(values[first + i]);
      *reinterpret_cast<Pack<Kv, kPart>*>(to + column + first) = part;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kColumns; ++i)
      if (column + i < cols) to[column + i] = rounded<Kv>(values[i]);
  }
}

// The elements of one token in the piece of `head`.
template <class Kv>
__device__ __forceinline__ Kv* slot_of(const Args& args, std::int32_t row, std::int32_t position,
                                       std::int32_t head, bool is_value) {
  const std::int32_t offset = args.step.sequences[args.step.sequence_of[row]].table_offset;
  const std::int64_t block = args.step.block_table[offset + (position >> args.block_bits)];
  const std::int32_t token = position & ((1 << args.block_bits) - 1);
  std::byte* piece = args.kv.base + block * args.kv.block_stride + head * args.kv.head_stride +
                     (is_value ? args.kv.value_offset : 0);
  return reinterpret_cast<Kv*>(piece) + static_cast<std::int64_t>(token) * args.head_dim;
}

template <class T, class Kv, bool Wide>
__global__ void __launch_bounds__(kThreads) rope_store_kernel(const Args args) {
  let_next_start();
  wait_for_previous();
  const std::int32_t lanes = 1 << args.lane_bits;
  const std::int32_t half = args.head_dim / 2;
  const std::int32_t column =
      static_cast<std::int32_t>(threadIdx.x & static_cast<unsigned>(lanes - 1)) * kColumns;
  const unsigned unit = (blockIdx.x * kThreads + threadIdx.x) >> args.lane_bits;
  const auto heads = static_cast<unsigned>(args.q.count + args.k.count + args.v.count);
  const auto row = static_cast<std::int32_t>(unit / heads);
  auto head = static_cast<std::int32_t>(unit % heads);

  const std::int32_t position = row < args.rows ? args.step.positions[row] : -1;
  const bool active = position >= 0 && column < half;  // every lane takes part in the shuffles below

  const bool is_query = head < args.q.count;
  const bool is_value = head >= args.q.count + args.k.count;
  const Heads& source = is_query ? args.q : is_value ? args.v : args.k;
  head -= is_query ? 0 : is_value ? args.q.count + args.k.count : args.q.count;

  T* from =
      static_cast<T*>(source.data) + row * source.stride + static_cast<std::int64_t>(head) * args.head_dim;
  Kv* slot = active && !is_query ? slot_of<Kv>(args, row, position, head, is_value) : nullptr;
  float low[kColumns] = {}, high[kColumns] = {};
  if (active) {
    load_columns<Wide>(from, column, half, low);
    load_columns<Wide>(from + half, column, half, high);
  }

  if (args.q.norm || args.k.norm) {  // the same for the whole grid
    float squares = 0.0F;
#pragma unroll
    for (int i = 0; i < kColumns; ++i) squares = fmaf(low[i], low[i], fmaf(high[i], high[i], squares));
    for (std::int32_t distance = lanes / 2; distance > 0; distance /= 2)
      squares += __shfl_xor_sync(0xffffffffU, squares, distance);
    if (active && source.norm) {
      const float inverse = rsqrtf(squares / static_cast<float>(args.head_dim) + args.epsilon);
      float weight_low[kColumns], weight_high[kColumns];
      load_columns<Wide>(source.norm, column, half, weight_low);
      load_columns<Wide>(source.norm + half, column, half, weight_high);
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        low[i] = low[i] * inverse * weight_low[i];
        high[i] = high[i] * inverse * weight_high[i];
      }
    }
  }
  if (!active) return;

  if (args.cos_sin && !is_value) {
    const auto* angles =
        reinterpret_cast<const float*>(args.cos_sin + static_cast<std::int64_t>(position) * half);
    float cos_sin[2 * kColumns];
    load_columns<Wide>(angles, 2 * column, 2 * half, cos_sin);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      const float c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
      const float x = low[i], y = high[i];
      low[i] = fmaf(x, c, -(y * s));
      high[i] = fmaf(y, c, x * s);
    }
  }
  if (is_query) {
    store_columns<Wide>(from, column, half, low);
    store_columns<Wide>(from + half, column, half, high);
  } else {
    store_rounded<Wide>(slot, column, half, low);
    store_rounded<Wide>(slot + half, column, half, high);
  }
}

template <class F>
cudaError_t with_element(Element element, F f) {
  return element == Element::e4m3 ? f(Type<e4m3>{}) : with_activation(element, f);
}

bool is_aligned(const void* data, std::int64_t bytes = 0) {
  return (reinterpret_cast<std::uintptr_t>(data) | static_cast<std::uintptr_t>(bytes)) % 16 == 0;
}

bool is_wide(const Heads& heads, Element element) {
  return is_aligned(heads.data, heads.stride * static_cast<std::int64_t>(size_of(element))) &&
         is_aligned(heads.norm);
}

bool is_wide(const Args& args, Element element) {
  const PagedKv& kv = args.kv;
  return args.head_dim % (2 * kColumns) == 0 && is_wide(args.q, element) && is_wide(args.k, element) &&
         is_wide(args.v, element) && is_aligned(args.cos_sin) &&
         is_aligned(kv.base, kv.block_stride | kv.head_stride | kv.value_offset);
}

cudaError_t run(Args& args, Element element, cudaStream_t stream) {
  const std::int64_t heads = args.q.count + args.k.count + args.v.count;
  if (args.head_dim <= 0 || args.head_dim % 2 != 0 || args.head_dim > kMaxHeadDim)
    return cudaErrorInvalidValue;
  if (args.rows == 0 || heads == 0) return cudaSuccess;
  const auto lanes = std::bit_ceil(static_cast<unsigned>(divide_up(args.head_dim / 2, kColumns)));
  args.lane_bits = std::countr_zero(lanes);
  args.block_bits = std::countr_zero(static_cast<unsigned>(args.kv.block_size));
  const std::int64_t threads = args.rows * heads * lanes;
  const auto blocks = static_cast<unsigned>((threads + kThreads - 1) / kThreads);
  return with_activation(element, [&](auto activation) {
    return with_element(args.kv.element, [&](auto stored) {
      return with_bool(is_wide(args, element), [&](auto wide) {
        return launch(rope_store_kernel<typename decltype(activation)::type, typename decltype(stored)::type,
                                        decltype(wide)::value>,
                      blocks, kThreads, 0, stream, args);
      });
    });
  });
}

}  // namespace

cudaError_t rope_store(const RopeStore& fused, cudaStream_t stream) {
  const std::int32_t head_dim = fused.kv.head_dim;
  const std::int32_t kv_heads = fused.kv.kv_heads;
  if (fused.qkv.cols != (fused.query_heads + 2 * kv_heads) * head_dim) return cudaErrorInvalidValue;
  auto* row = static_cast<std::byte*>(fused.qkv.data);
  const auto head_bytes = head_dim * static_cast<std::int64_t>(size_of(fused.qkv.element));
  Args args{};
  args.q = {row, fused.qkv.stride, fused.query_heads, fused.query_norm};
  args.k = {row + fused.query_heads * head_bytes, fused.qkv.stride, kv_heads, fused.key_norm};
  args.v = {row + (fused.query_heads + kv_heads) * head_bytes, fused.qkv.stride, kv_heads, nullptr};
  args.rows = fused.qkv.rows;
  args.head_dim = head_dim;
  args.epsilon = fused.norm_epsilon;
  args.cos_sin = fused.cos_sin;
  args.step = fused.step;
  args.kv = fused.kv;
  return run(args, fused.qkv.element, stream);
}

cudaError_t rope(const Rows& heads, std::int32_t head_dim, const std::int32_t* positions,
                 const float2* cos_sin, cudaStream_t stream) {
  if (head_dim <= 0 || heads.cols % head_dim != 0) return cudaErrorInvalidValue;
  Args args{};
  args.q = {heads.data, heads.stride, heads.cols / head_dim, nullptr};
  args.rows = heads.rows;
  args.head_dim = head_dim;
  args.cos_sin = cos_sin;
  args.step.positions = positions;
  args.kv.block_size = 1;
  return run(args, heads.element, stream);
}

cudaError_t store_kv(const ConstRows& k, const ConstRows& v, const StepTables& step, const PagedKv& kv,
                     cudaStream_t stream) {
  if (k.element != v.element || k.rows != v.rows || k.cols != kv.kv_heads * kv.head_dim || v.cols != k.cols)
    return cudaErrorInvalidValue;
  Args args{};  // the kernel reads k and v only
  args.k = {const_cast<void*>(k.data), k.stride, kv.kv_heads, nullptr};
  args.v = {const_cast<void*>(v.data), v.stride, kv.kv_heads, nullptr};
  args.rows = k.rows;
  args.head_dim = kv.head_dim;
  args.step = step;
  args.kv = kv;
  return run(args, k.element, stream);
}

}  // namespace baton::cuda
