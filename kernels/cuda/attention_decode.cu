// Decode attention: streams the paged cache once, at memory speed. A unit of work is a DecodeItem and a KV
// head; all query heads of that KV head share its keys. Blocks of threads stay resident and take unit after
// unit.
//
// Four warps consume. A unit's 256 positions are 16 tiles of 16; tile 4 * j + w is warp w's, which copies,
// waits for and multiplies its own tiles with no word to the others, and copies ahead into the next unit. The
// warps meet twice per unit, to add up. Two more warps keep global latency away from them: the scout looks up
// the unit after next (list, row, block table), the clerk brings in the next unit's queries and counts
// finished splits.
//
// A row of several splits leaves partial sums in the workspace; whoever finishes the last one merges them, in
// ascending order. Iteration i of a thread block, between its barriers B(i) and B(i + 1):
//
// - consumers: merge unit i - 2 if the clerk found it to complete its row; multiply unit i, add up, write.
// - scout: looks up unit i + 2, and takes unit i + 3.
// - clerk: counts unit i - 1, whose results precede B(i); brings in the queries of unit i + 1.
//
// A launch is ramp and tail for several microseconds, in which memory would be idle. So before it waits for
// the launch before it, a thread block asks for its first tiles, by way of L2, where it does no harm that
// some are yet to be written; and with its last copies under way it asks for the next kernel's weight.
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_decode_tile.cuh"
#include "kernels/cuda/attention_decode_units.cuh"
#include "kernels/cuda/attention_generic.cuh"
#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/launch.cuh"

namespace baton::cuda {

namespace {

using namespace attention;
using namespace attention::decode;

__device__ __forceinline__ void meet_consumers() {
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumerThreads) : "memory");
}

// ---- The clerk

template <class S>
__device__ __forceinline__ void bring_queries(const Arguments& arguments, const Shared<S>& shared, int i,
                                              Queries<S>& queries) {
  const Unit& unit = shared.unit(i);
  if (unit.row < 0) return;
  const auto* source = static_cast<const std::uint16_t*>(arguments.rows.queries) +
                       unit.row * arguments.rows.query_stride +
                       static_cast<std::int64_t>(unit.head) * arguments.group * S::kHeadDim;
  queries.load(source, arguments.group);
}

template <class S>
__device__ __forceinline__ void put_queries(const Arguments& arguments, const Shared<S>& shared, int i,
                                            const Queries<S>& queries) {
  if (shared.unit(i).row < 0) return;
  queries.store(shared.queries + (i & 1) * S::kQueryBytes, arguments.rows.element == Element::bf16);
}

// Adds one, and returns what was there before; whoever sees the sum also sees what this thread wrote before,
// and what barriers put before it. Not an acquire as well, which would empty the first-level cache.
__device__ __forceinline__ std::int32_t count_after_writes(std::int32_t* counter) {
  std::int32_t before;
  asm volatile("atom.add.release.gpu.global.s32 %0, [%1], 1;"
               : "=r"(before)
               : "l"(__cvta_generic_to_global(counter))
               : "memory");
  return before;
}

// The barrier before this orders the consumers' writes before the count.
template <class S>
__device__ void count_finished(const Arguments& arguments, const Shared<S>& shared, int i) {
  Unit& unit = shared.unit(i);
  if (unit.row < 0 || unit.splits() == 1 || threadIdx.x % 32 != 0) return;
  std::int32_t* finished = arguments.workspace.finished +
                           static_cast<std::int64_t>(unit.first_item()) * arguments.kv.kv_heads + unit.head;
  if (count_after_writes(finished) == unit.splits() - 1) {
    asm volatile("fence.acq_rel.gpu;" ::: "memory");
    *finished = 0;
    unit.completes_row = 1;
  }
}

// ---- Consumers

// Starts the copies of tile `step` of unit i, if it has one.
template <class S>
__device__ __forceinline__ void copy_tile(const Arguments& arguments, const Shared<S>& shared, int i,
                                          int step, std::uint32_t slot, std::uint64_t policy) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const Unit& unit = shared.unit(i);
  const int tile = step * kConsumers + warp;
  const int first = unit.split * kSplitTokens + tile * kTileTokens;
  if (unit.row >= 0 && first <= unit.position && first + kTileTokens > unit.first_seen) {
    const std::byte* keys = keys_of_tile<S>(arguments, unit, tile, first);
    const int first_token = unit.first_seen - first, last_token = unit.position - first;
#pragma unroll
    for (int c = 0; c < S::kRowChunks / 2; ++c) {
      const int index = lane + 32 * c, token = index / S::kRowChunks, chunk = index % S::kRowChunks;
      const bool seen = token >= first_token && token <= last_token;
      const std::uint32_t to = slot + swizzled<S::kRowChunks>(token, chunk);
      copy_async(to, keys + index * 16, seen, policy);
      copy_async(to + S::kTileBytes, keys + arguments.kv.value_offset + index * 16, seen, policy);
    }
  }
  commit_copies();
}

// A warp's sums, to shared memory.
template <class S>
__device__ __forceinline__ void hand_in(const Arguments& arguments, const Shared<S>& shared,
                                        State<S>& state) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int row = lane / 4;
#pragma unroll
  for (int h = 0; h < S::kHeadTiles; ++h) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int head = 8 * h + lane % 4 * 2 + e;
      float sum = state.sum[h][e];
#pragma unroll
      for (int other = 4; other < 32; other *= 2) sum += __shfl_xor_sync(kWholeWarp, sum, other);
      if (row == 0) shared.max_sum[warp * S::kHeads + head] = {state.max[h][e] * arguments.scale_log2, sum};
      if (head >= arguments.group) continue;
      float* sums = shared.sums + (warp * arguments.group + head) * S::kSumStride;
#pragma unroll
      for (int d = 0; d < S::kDimTiles; ++d) {
        if constexpr (S::kBytes) {
          *reinterpret_cast<float2*>(sums + 16 * d + 2 * row) =
              make_float2(state.out[h][d][e], state.out[h][d][e + 2]);
        } else {
          sums[16 * d + row] = state.out[h][d][e];
          sums[16 * d + row + 8] = state.out[h][d][e + 2];
        }
      }
    }
  }
}

template <class S>
__device__ __forceinline__ void write_out(const Arguments& arguments, const Unit& unit, int head, int dim,
                                          float4 out, float max, float sum) {
  const int query_head = unit.head * arguments.group + head;
  const float inverse = normalizer(arguments.rows, query_head, max, sum);
  auto* target =
      static_cast<std::uint16_t*>(arguments.rows.out) +
      (static_cast<std::int64_t>(unit.row) * arguments.rows.query_heads + query_head) * S::kHeadDim + dim;
  const bool as_bf16 = arguments.rows.element == Element::bf16;
  *reinterpret_cast<uint2*>(target) = make_uint2(pack(as_bf16, out.x * inverse, out.y * inverse),
                                                 pack(as_bf16, out.z * inverse, out.w * inverse));
}

__device__ __forceinline__ void add_scaled(float4& sum, float factor, float4 term) {
  sum.x = fmaf(factor, term.x, sum.x);
  sum.y = fmaf(factor, term.y, sum.y);
  sum.z = fmaf(factor, term.z, sum.z);
  sum.w = fmaf(factor, term.w, sum.w);
}

__device__ __forceinline__ std::int64_t partial_index(const Arguments& arguments, const Unit& unit, int item,
                                                      int head) {
  return (static_cast<std::int64_t>(item) * arguments.kv.kv_heads + unit.head) * arguments.group + head;
}

// Adds up the four warps; the result is final if the row has one split.
template <class S>
__device__ __forceinline__ void add_up(const Arguments& arguments, const Shared<S>& shared,
                                       const Unit& unit) {
  constexpr int kPerHead = S::kHeadDim / 4;
  for (int e = static_cast<int>(threadIdx.x); e < arguments.group * kPerHead; e += kConsumerThreads) {
    const int head = e / kPerHead, dim = e % kPerHead * 4;
    MaxSum of_warp[kConsumers];
    float max = -INFINITY, sum = 0;
#pragma unroll
    for (int w = 0; w < kConsumers; ++w) {
      of_warp[w] = shared.max_sum[w * S::kHeads + head];
      max = fmaxf(max, of_warp[w].max);
    }
    float4 out = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int w = 0; w < kConsumers; ++w) {
      const float factor = power_of_two(of_warp[w].max - max);
      sum = fmaf(factor, of_warp[w].sum, sum);
      const float* sums = shared.sums + (w * arguments.group + head) * S::kSumStride + dim;
      add_scaled(out, factor, *reinterpret_cast<const float4*>(sums));
    }
    if (unit.splits() == 1) {
      write_out<S>(arguments, unit, head, dim, out, max, sum);
      continue;
    }
    const std::int64_t partial = partial_index(arguments, unit, unit.item, head);
    *reinterpret_cast<float4*>(arguments.workspace.out + partial * S::kHeadDim + dim) = out;
    if (dim == 0) arguments.workspace.max_sum[partial] = {max, sum};
  }
}

// Merges all splits of the unit's row. Other thread blocks wrote them: read past the first-level cache.
template <class S>
__device__ __forceinline__ void merge(const Arguments& arguments, const Unit& unit) {
  constexpr int kPerHead = S::kHeadDim / 4;
  constexpr int kAtOnce = S::kHeadTiles == 1 && S::kHeadDim <= 128 ? 18 : 8;  // what registers allow
  const int splits = unit.splits(), first_item = unit.first_item();
  const std::int64_t step = static_cast<std::int64_t>(arguments.kv.kv_heads) * arguments.group;
  for (int e = static_cast<int>(threadIdx.x); e < arguments.group * kPerHead; e += kConsumerThreads) {
    const int head = e / kPerHead, dim = e % kPerHead * 4;
    const std::int64_t first = partial_index(arguments, unit, first_item, head);
    const auto* max_sum = reinterpret_cast<const float2*>(arguments.workspace.max_sum + first);
    const float* outs = arguments.workspace.out + first * S::kHeadDim + dim;
    float max = -INFINITY, sum = 0;
    float4 out = make_float4(0, 0, 0, 0);
    for (int s = 0; s < splits; s += kAtOnce) {
      float2 of_split[kAtOnce];
      float4 term[kAtOnce];
      float now = max;
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        of_split[j] = make_float2(-INFINITY, 0);
        term[j] = make_float4(0, 0, 0, 0);
        if (s + j < splits) {
          of_split[j] = __ldcg(max_sum + (s + j) * step);
          term[j] = __ldcg(reinterpret_cast<const float4*>(outs + (s + j) * step * S::kHeadDim));
        }
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) now = fmaxf(now, of_split[j].x);
      const float shrink = power_of_two(max - now);
      sum *= shrink;
      out = make_float4(out.x * shrink, out.y * shrink, out.z * shrink, out.w * shrink);
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const float factor = power_of_two(of_split[j].x - now);
        sum = fmaf(factor, of_split[j].y, sum);
        add_scaled(out, factor, term[j]);
      }
      max = now;
    }
    write_out<S>(arguments, unit, head, dim, out, max, sum);
  }
}

template <class S>
__device__ __noinline__ void merge_apart(const Arguments& arguments, const Unit& unit) {
  merge<S>(arguments, unit);
}

template <class S>
__device__ __forceinline__ void consume(const Arguments& arguments, const Shared<S>& shared) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const std::uint32_t ring = shared_address(shared.ring + warp * S::kRingBytes);
  const std::uint32_t all_queries = shared_address(shared.queries);
  const std::uint64_t policy = leave_first();
#pragma unroll
  for (int step = 0; step < S::kStages; ++step)
    copy_tile(arguments, shared, 0, step, ring + step * 2 * S::kTileBytes, policy);
  __syncthreads();  // B(0)
  int stage = 0;
  for (int i = 0;; ++i) {
    if (i > 0) __syncthreads();  // B(i)
    if (i >= 2 && shared.unit(i - 2).completes_row) {
      if constexpr (S::kHeadTiles == 1) {
        merge<S>(arguments, shared.unit(i - 2));
      } else {
        merge_apart<S>(arguments, shared.unit(i - 2));
      }
    }
    __syncwarp();  // its loop may have parted the lanes
    if (shared.unit(max(i - 1, 0)).row < 0) return;
    const Unit& unit = shared.unit(i);
    if (unit.row < 0) continue;

    std::uint32_t queries[S::kHeadTiles][S::kHeadDim / 8];
#pragma unroll
    for (int h = 0; h < S::kHeadTiles; ++h) {
#pragma unroll
      for (int c = 0; c < S::kHeadDim / 8; c += 4) {
        const Fragment4 loaded = load_matrices(all_queries + (i & 1) * S::kQueryBytes +
                                               swizzled<S::kHeadDim / 8>(8 * h + lane % 8, c + lane / 8));
#pragma unroll
        for (int j = 0; j < 4; ++j) queries[h][c + j] = loaded.at[j];
      }
    }
    State<S> state{};
#pragma unroll
    for (int h = 0; h < S::kHeadTiles; ++h) state.max[h][0] = state.max[h][1] = -INFINITY;

    for (int step = 0; step < kSteps; ++step) {
      wait_for_copies<S::kStages - 1>();
      __syncwarp();
      const std::uint32_t slot = ring + static_cast<std::uint32_t>(stage) * 2 * S::kTileBytes;
      const int first = unit.split * kSplitTokens + (step * kConsumers + warp) * kTileTokens;
      const int first_token = unit.first_seen - first, last_token = unit.position - first;
      if (first_token < kTileTokens && last_token >= 0) {
        float scores[S::kHeadTiles][4];
        std::uint32_t weights[S::kHeadTiles][2];
        scores_of_tile<S>(scores, slot, queries);
        weigh(state, scores, first_token, last_token, arguments.scale_log2, weights);
        add_values(state, slot + S::kTileBytes, weights);
      }
      __syncwarp();  // all lanes have read the slot
      const int ahead = step + S::kStages;
      copy_tile(arguments, shared, i + ahead / kSteps, ahead % kSteps, slot, policy);
      stage = stage + 1 == S::kStages ? 0 : stage + 1;
    }
    hand_in(arguments, shared, state);
    meet_consumers();
    add_up(arguments, shared, unit);
    __syncwarp();
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads, shared_bytes<S>(S::kHeads) <= 112 * 1024 ? 2 : 1)
    decode_kernel(const __grid_constant__ Arguments arguments) {
  extern __shared__ __align__(128) std::byte memory[];
  const Shared<S> shared(memory, arguments.group);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const bool scout = warp == kConsumers;
  let_next_start();
  int total = 0;
  if (scout) {  // the step's tables are no kernel's work: no need to wait
    total = *arguments.item_count * arguments.kv.kv_heads;
    first_unit(arguments, shared, total);
    look_up(arguments, shared, 0, total);
  }
  __syncthreads();
  if (scout) {
    constexpr int kTilesAsked = kEarlyBytes / (2 * S::kTileBytes);
    ask_for_tiles(arguments, shared, 0, kTilesAsked);
    look_up(arguments, shared, 1, total);
    ask_for_tiles(arguments, shared, 1, kTilesAsked - kTiles);
  }
  wait_for_previous();
  if (warp < kConsumers) {
    consume(arguments, shared);
    return;
  }
  Queries<S> queries;
  if (!scout) {
    bring_queries(arguments, shared, 0, queries);
    put_queries(arguments, shared, 0, queries);
  }
  __syncthreads();  // B(0)
  for (int i = 0;; ++i) {
    if (i > 0) __syncthreads();  // B(i)
    if (shared.unit(max(i - 1, 0)).row < 0) return;
    if (scout) {
      look_up(arguments, shared, i + 2, total);
    } else {
      bring_queries(arguments, shared, i + 1, queries);
      if (i > 0) count_finished(arguments, shared, i - 1);
      __syncwarp();
      put_queries(arguments, shared, i + 1, queries);
    }
  }
}

struct Device {
  int multiprocessors = 0;
  int shared_per_block = 0;
};

Device this_device() {
  static const Device known = [] {
    Device device;
    int id = 0;
    if (cudaGetDevice(&id) != cudaSuccess) return device;
    cudaDeviceGetAttribute(&device.multiprocessors, cudaDevAttrMultiProcessorCount, id);
    cudaDeviceGetAttribute(&device.shared_per_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, id);
    return device;
  }();
  return known;
}

template <class S>
cudaError_t start(const Arguments& arguments, std::int32_t max_items, cudaStream_t stream) {
  const std::size_t bytes = shared_bytes<S>(arguments.group);
  // Asked once per kernel and device, for the largest group: the answer for a smaller one is no less.
  static OncePerDevice known;
  const int resident = known.get([] {
    const std::size_t most = shared_bytes<S>(S::kHeads);
    int blocks = 0;
    if (allow_shared(decode_kernel<S>, most) != cudaSuccess ||
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, decode_kernel<S>, kThreads, most) !=
            cudaSuccess) {
      return 0;
    }
    return blocks;
  });
  if (resident == 0) return cudaErrorInvalidConfiguration;
  const std::int64_t units = static_cast<std::int64_t>(max_items) * arguments.kv.kv_heads;
  const std::int64_t blocks = static_cast<std::int64_t>(this_device().multiprocessors) * resident;
  return launch(decode_kernel<S>, dim3(static_cast<unsigned>(units < blocks ? units : blocks)),
                dim3(kThreads), bytes, stream, arguments);
}

template <class S>
bool fits() {
  return shared_bytes<S>(S::kHeads) <= static_cast<std::size_t>(this_device().shared_per_block);
}

// cudaErrorNotSupported: not a shape of the fast kernel.
template <class Kv, int kDim>
cudaError_t start_for_group(const Arguments& arguments, std::int32_t max_items, cudaStream_t stream) {
  if (arguments.group <= 8) {
    using S = Shape<Kv, kDim, 1>;
    return fits<S>() ? start<S>(arguments, max_items, stream) : cudaErrorNotSupported;
  }
  if constexpr (kDim <= 128) {
    using S = Shape<Kv, kDim, 2>;
    if (arguments.group <= 16 && fits<S>()) return start<S>(arguments, max_items, stream);
  }
  return cudaErrorNotSupported;
}

template <class Kv>
cudaError_t start_for_dim(const Arguments& arguments, std::int32_t max_items, cudaStream_t stream) {
  switch (arguments.kv.head_dim) {
    case 64:
      return start_for_group<Kv, 64>(arguments, max_items, stream);
    case 96:
      return start_for_group<Kv, 96>(arguments, max_items, stream);
    case 128:
      return start_for_group<Kv, 128>(arguments, max_items, stream);
    case 256:
      return start_for_group<Kv, 256>(arguments, max_items, stream);
    default:
      return cudaErrorNotSupported;
  }
}

}  // namespace

std::size_t decode_workspace_bytes(std::int32_t max_items, std::int32_t query_heads, std::int32_t kv_heads,
                                   std::int32_t head_dim) {
  return WorkspaceLayout(max_items, query_heads, kv_heads, head_dim).bytes;
}

cudaError_t decode_attention(const DecodeAttention& attention, cudaStream_t stream) {
  if (!valid(attention.rows, attention.kv)) return cudaErrorInvalidValue;
  if (attention.max_items == 0) return cudaSuccess;
  if (attention::tensor_cores_can(attention.rows, attention.kv)) {
    const WorkspaceLayout layout(attention.max_items, attention.rows.query_heads, attention.kv.kv_heads,
                                 attention.kv.head_dim);
    auto* memory = static_cast<std::byte*>(attention.workspace);
    const Arguments arguments{
        attention.rows,
        attention.kv,
        attention.tables,
        attention.items,
        attention.item_count,
        Workspace{reinterpret_cast<std::int32_t*>(memory), reinterpret_cast<std::int32_t*>(memory + 256),
                  reinterpret_cast<MaxSum*>(memory + layout.max_sum),
                  reinterpret_cast<float*>(memory + layout.out)},
        attention.rows.query_heads / attention.kv.kv_heads,
        block_shift(attention.kv.block_size),
        attention.rows.scale * kLog2E};
    cudaError_t status = cudaErrorNotSupported;
    switch (attention.kv.element) {
      case Element::f16:
        status = start_for_dim<f16>(arguments, attention.max_items, stream);
        break;
      case Element::bf16:
        status = start_for_dim<bf16>(arguments, attention.max_items, stream);
        break;
      case Element::e4m3:
        status = start_for_dim<e4m3>(arguments, attention.max_items, stream);
        break;
      case Element::f32:
        break;
    }
    if (status != cudaErrorNotSupported) return status;
  }
  return attention::generic_decode(attention, stream);
}

}  // namespace baton::cuda
