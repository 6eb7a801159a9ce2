// Plain attention: one thread block per row and query head, any element, any head_dim up to 512. It is the
// way for f32, for the small heads of test models, and what the tensor-core kernels are compared with on the
// device.
#include "kernels/cuda/attention_generic.cuh"
#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/launch.cuh"

namespace baton::cuda::attention {

namespace {

constexpr int kThreads = 128;
constexpr int kMostDim = 512;
constexpr int kDimsPerThread = kMostDim / kThreads;

struct Arguments {
  AttentionRows rows;
  PagedKv kv;
  StepTables tables;
  const DecodeItem* items;  // of decode, or null
  const std::int32_t* item_count;
  const PrefillTile* tiles;  // of prefill, or null
  std::int32_t group;
  std::int32_t block_shift;
};

struct Shared {
  float query[kMostDim];
  float weights[kThreads];
  float reduced[kThreads / 32];
};

template <bool kMax>
__device__ float reduce(Shared& shared, float value) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int other = 16; other > 0; other /= 2) {
    const float got = __shfl_xor_sync(kWholeWarp, value, other);
    value = kMax ? fmaxf(value, got) : value + got;
  }
  __syncthreads();
  if (lane == 0) shared.reduced[threadIdx.x / 32] = value;
  __syncthreads();
  value = shared.reduced[0];
  for (int w = 1; w < kThreads / 32; ++w)
    value = kMax ? fmaxf(value, shared.reduced[w]) : value + shared.reduced[w];
  return value;
}

template <class T, class Kv>
__device__ void attend(const Arguments& arguments, Shared& shared, int row, int head, int position,
                       int table) {
  const PagedKv& kv = arguments.kv;
  const int dim = kv.head_dim, thread = static_cast<int>(threadIdx.x);
  const T* query = static_cast<const T*>(arguments.rows.queries) + row * arguments.rows.query_stride +
                   static_cast<std::int64_t>(head) * dim;
  const std::byte* keys = kv.base + (head / arguments.group) * kv.head_stride;
  const auto token_at = [&](const std::byte* piece, int token) {
    const int block = arguments.tables.block_table[table + (token >> arguments.block_shift)];
    return reinterpret_cast<const Kv*>(piece + block * kv.block_stride) +
           static_cast<std::int64_t>(token & (kv.block_size - 1)) * dim;
  };
  __syncthreads();  // the row before is done with `shared`
  for (int d = thread; d < dim; d += kThreads) shared.query[d] = to_float(query[d]);
  __syncthreads();
  float max = -INFINITY, sum = 0, out[kDimsPerThread] = {};
  const int seen = first_seen(position, arguments.rows.window);
  for (int first = seen / kThreads * kThreads; first <= position; first += kThreads) {
    const int token = first + thread;
    float score = -INFINITY;
    if (token >= seen && token <= position) {
      const Kv* key = token_at(keys, token);
      score = 0;
      for (int d = 0; d < dim; ++d) score = fmaf(shared.query[d], to_float(key[d]), score);
      score *= arguments.rows.scale;
    }
    const float now = fmaxf(max, reduce<true>(shared, score));
    const float shrink = expf(max - now);
    const float weight = expf(score - now);
    shared.weights[thread] = weight;
    sum = sum * shrink + reduce<false>(shared, weight);  // its barriers publish the weights
    max = now;
    const int begin = seen > first ? seen - first : 0, end = min(kThreads, position + 1 - first);
    for (int j = 0; j < kDimsPerThread; ++j) {
      const int d = thread + j * kThreads;
      if (d >= dim) break;
      out[j] *= shrink;
      for (int k = begin; k < end; ++k) {
        out[j] = fmaf(shared.weights[k], to_float(token_at(keys + kv.value_offset, first + k)[d]), out[j]);
      }
    }
  }
  float keep = 1;
  if (arguments.rows.sinks != nullptr) {
    const float above = arguments.rows.sinks[head] - max;
    keep = expf(fminf(-above, 0));
    sum = fmaf(sum, keep, expf(fminf(above, 0)));
  }
  T* target = static_cast<T*>(arguments.rows.out) +
              (static_cast<std::int64_t>(row) * arguments.rows.query_heads + head) * dim;
  for (int j = 0; j < kDimsPerThread; ++j) {
    const int d = thread + j * kThreads;
    if (d < dim) target[d] = from_float<T>(keep * out[j] / sum);
  }
}

template <class T, class Kv>
__global__ void __launch_bounds__(kThreads) decode_kernel(const __grid_constant__ Arguments arguments) {
  __shared__ Shared shared;
  let_next_start();
  wait_for_previous();
  const int heads = arguments.rows.query_heads;
  const std::int64_t total = static_cast<std::int64_t>(*arguments.item_count) * heads;
  for (std::int64_t unit = blockIdx.x; unit < total; unit += gridDim.x) {
    const DecodeItem item = arguments.items[unit / heads];
    const int position = arguments.tables.positions[item.row];
    if (item.split != position / kSplitTokens) continue;  // a row is done whole, at its last item
    const SequenceEntry& sequence = arguments.tables.sequences[arguments.tables.sequence_of[item.row]];
    attend<T, Kv>(arguments, shared, item.row, static_cast<int>(unit % heads), position,
                  sequence.table_offset);
  }
}

template <class T, class Kv>
__global__ void __launch_bounds__(kThreads) prefill_kernel(const __grid_constant__ Arguments arguments) {
  __shared__ Shared shared;
  let_next_start();
  wait_for_previous();
  const PrefillTile tile = arguments.tiles[blockIdx.y];
  const SequenceEntry sequence = arguments.tables.sequences[tile.sequence];
  const int row = tile.first_row + static_cast<int>(blockIdx.z);
  if (row >= sequence.rows) return;
  attend<T, Kv>(arguments, shared, sequence.first_row + row, static_cast<int>(blockIdx.x),
                sequence.first_position + row, sequence.table_offset);
}

template <class T, class Kv>
cudaError_t start(const Arguments& arguments, std::int64_t count, cudaStream_t stream) {
  const auto heads = static_cast<unsigned>(arguments.rows.query_heads);
  if (arguments.tiles != nullptr) {
    return launch(prefill_kernel<T, Kv>, dim3(heads, static_cast<unsigned>(count), kPrefillTileRows),
                  dim3(kThreads), 0, stream, arguments);
  }
  const std::int64_t units = count * heads;
  return launch(decode_kernel<T, Kv>, dim3(static_cast<unsigned>(units < 2048 ? units : 2048)),
                dim3(kThreads), 0, stream, arguments);
}

template <class T>
cudaError_t start_for_cache(const Arguments& arguments, std::int64_t count, cudaStream_t stream) {
  switch (arguments.kv.element) {
    case Element::f32:
      return start<T, float>(arguments, count, stream);
    case Element::f16:
      return start<T, f16>(arguments, count, stream);
    case Element::bf16:
      return start<T, bf16>(arguments, count, stream);
    case Element::e4m3:
      return start<T, e4m3>(arguments, count, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t start_for_rows(const Arguments& arguments, std::int64_t count, cudaStream_t stream) {
  switch (arguments.rows.element) {
    case Element::f32:
      return start_for_cache<float>(arguments, count, stream);
    case Element::f16:
      return start_for_cache<f16>(arguments, count, stream);
    case Element::bf16:
      return start_for_cache<bf16>(arguments, count, stream);
    case Element::e4m3:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t generic_decode(const DecodeAttention& attention, cudaStream_t stream) {
  const Arguments arguments{attention.rows,
                            attention.kv,
                            attention.tables,
                            attention.items,
                            attention.item_count,
                            nullptr,
                            attention.rows.query_heads / attention.kv.kv_heads,
                            block_shift(attention.kv.block_size)};
  return start_for_rows(arguments, attention.max_items, stream);
}

cudaError_t generic_prefill(const PrefillAttention& attention, cudaStream_t stream) {
  const Arguments arguments{attention.rows,
                            attention.kv,
                            attention.tables,
                            nullptr,
                            nullptr,
                            attention.tiles,
                            attention.rows.query_heads / attention.kv.kv_heads,
                            block_shift(attention.kv.block_size)};
  return start_for_rows(arguments, attention.tile_count, stream);
}

}  // namespace baton::cuda::attention
