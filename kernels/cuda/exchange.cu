// exchange: sums over the GPUs of a group, and columns gathered on one.
//
// A call has a number, which `state` of the rank's own box holds: recorded and replayed kernels know theirs,
// too. Its parity chooses the slot. Two slots are enough: a rank writes call n + 2 into a slot only when
// every other rank's flag of call n + 1 is here, which that one raises in its own kernel n + 1, after its
// kernel n has read the slot and ended. Flags are for a block each, since blocks of one number on all ranks
// have the same elements: no barrier over the grid is needed, only that each block runs some time.
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/exchange.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"

namespace baton::cuda {
namespace {

constexpr int kThreads = 512;
// The word for abort lies in the host's memory, a microsecond or two away.
constexpr std::uint32_t kLooksBetweenAborts = 64;
enum State { kCalls, kThrough, kFailed };

__device__ __forceinline__ std::uint32_t look(const std::uint32_t* flag) {
  std::uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
  return value;
}
__device__ __forceinline__ void raise_flag(std::uint32_t* flag, std::uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
}

__device__ __forceinline__ std::uint64_t nanoseconds() {
  std::uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

// What the threads of a block agree on.
struct Call {
  std::uint32_t number;
  bool failed;
};

__device__ __forceinline__ std::byte* area(const Exchange& exchange, std::int32_t rank, const Call& call,
                                           int which) {
  return exchange.boxes[rank].areas + (2 * (call.number % 2) + which) * exchange.area_bytes;
}
__device__ __forceinline__ std::uint32_t* flag_of(const Exchange& exchange, std::int32_t at,
                                                  std::int32_t sender, int which) {
  return exchange.boxes[at].arrived + (which * kMaxExchangeRanks + sender) * kExchangeBlocks + blockIdx.x;
}

__device__ Call begin_call(const Exchange& exchange) {
  __shared__ Call shared;
  if (threadIdx.x == 0) {
    const volatile std::uint32_t* const state = exchange.boxes[exchange.rank].state;
    shared.number = state[kCalls] + 1;
    shared.failed = state[kFailed] != 0;
  }
  __syncthreads();
  return shared;
}

__device__ __forceinline__ void give_up(const Exchange& exchange) {
  static_cast<volatile std::uint32_t*>(exchange.boxes[exchange.rank].state)[kFailed] = 1;
  static_cast<volatile ExchangeControl*>(exchange.control)->failed = 1;
}

// Whether the flag came; what was written before it was raised is here then.
__device__ __forceinline__ bool wait_for(const Exchange& exchange, const std::uint32_t* flag,
                                         std::uint32_t number) {
  std::uint64_t began = 0;
  for (std::uint32_t looks = 1; static_cast<std::int32_t>(look(flag) - number) < 0; ++looks) {
    if (looks % kLooksBetweenAborts == 0) {
      const std::uint64_t now = nanoseconds();
      if (began == 0) began = now;
      if (static_cast<const volatile ExchangeControl*>(exchange.control)->abort != 0 ||
          now - began >= exchange.patience)
        return false;
    }
    if (looks >= kLooksBetweenAborts) __nanosleep(looks < 1024 ? 32 : 500);
  }
  return true;
}

// All of this block's writes to the others have been made: tells them, and waits until theirs are here.
__device__ void meet(const Exchange& exchange, Call& call, int which) {
  __syncthreads();
  bool failed = call.failed;
  const auto other = static_cast<std::int32_t>(threadIdx.x);
  if (!failed && other < exchange.width && other != exchange.rank) {
    __threadfence_system();
    raise_flag(flag_of(exchange, other, exchange.rank, which), call.number);
    failed = !wait_for(exchange, flag_of(exchange, exchange.rank, other, which), call.number);
    if (failed) give_up(exchange);
  }
  call.failed = __syncthreads_or(failed ? 1 : 0) != 0;
}

// The last block to come here ends the call: all have read its number by then. Whatever else they do is done
// when the kernel has ended, which the next one waits for.
__device__ __forceinline__ void end_call(const Exchange& exchange, const Call& call) {
  if (threadIdx.x != 0) return;
  std::uint32_t* const state = exchange.boxes[exchange.rank].state;
  if (atomicAdd(state + kThrough, 1) + 1 != gridDim.x) return;
  state[kThrough] = 0;
  state[kCalls] = call.number;
}

// `packs` of elements that are moved as one, evenly over the blocks.
struct Part {
  std::int64_t first, last;
};
__device__ __forceinline__ Part part_of(std::int64_t packs, std::int64_t index, std::int64_t parts) {
  return {packs * index / parts, packs * (index + 1) / parts};
}

// Where the packs of a chunk of rows lie.
template <class T, int N>
struct Source {
  T* data;
  std::int64_t stride;
  std::int32_t packs_per_row;
  __device__ Pack<T, N>* at(std::int64_t pack) const {
    return reinterpret_cast<Pack<T, N>*>(data + pack / packs_per_row * stride + pack % packs_per_row * N);
  }
};

// In order of rank; `own` is this rank's.
template <class T, int N>
__device__ __forceinline__ Pack<T, N> sum_of(const Exchange& exchange, const Pack<T, N>& own,
                                             const Pack<T, N>* theirs, std::int64_t sender_stride) {
  float sum[N] = {};
  for (std::int32_t rank = 0; rank < exchange.width; ++rank) {
    const Pack<T, N> term = rank == exchange.rank ? own : theirs[rank * sender_stride];
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] = rank == 0 ? to_float(term.at[i]) : sum[i] + to_float(term.at[i]);
  }
  Pack<T, N> rounded;
#pragma unroll
  for (int i = 0; i < N; ++i) rounded.at[i] = from_float<T>(sum[i]);
  return rounded;
}

// Every rank sends all of its x to all others, and adds up all.
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    sum_at_once_kernel(Exchange exchange, Source<T, N> x, std::int64_t packs) {
  let_next_start();
  wait_for_previous();
  Call call = begin_call(exchange);
  const Part mine = part_of(packs, blockIdx.x, gridDim.x);
  if (!call.failed) {
    for (std::int64_t pack = mine.first + threadIdx.x; pack < mine.last; pack += kThreads) {
      const Pack<T, N> value = *x.at(pack);
      for (std::int32_t other = 0; other < exchange.width; ++other)
        if (other != exchange.rank)
          reinterpret_cast<Pack<T, N>*>(area(exchange, other, call, 0))[exchange.rank * packs + pack] = value;
    }
  }
  meet(exchange, call, 0);
  if (!call.failed) {
    const auto* const theirs = reinterpret_cast<const Pack<T, N>*>(area(exchange, exchange.rank, call, 0));
    for (std::int64_t pack = mine.first + threadIdx.x; pack < mine.last; pack += kThreads)
      *x.at(pack) = sum_of<T, N>(exchange, *x.at(pack), theirs + pack, packs);
  }
  end_call(exchange, call);
}

// Every rank gets its part of all x, adds that up, and sends the sums to all: less to send where there are
// more than two. A block's packs are cut into a part for each rank.
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    sum_by_parts_kernel(Exchange exchange, Source<T, N> x, std::int64_t packs) {
  let_next_start();
  wait_for_previous();
  Call call = begin_call(exchange);
  // Whole groups of a pack for each rank: then a block's parts are equal, but for the last block's.
  Part block = part_of((packs + exchange.width - 1) / exchange.width, blockIdx.x, gridDim.x);
  block = {block.first * exchange.width, min(block.last * exchange.width, packs)};
  const auto of_rank = [&](std::int32_t rank) {
    const Part part = part_of(block.last - block.first, rank, exchange.width);
    return Part{block.first + part.first, block.first + part.last};
  };
  // Where a sender's packs of a rank's part begin, one sender behind the other: together as many as the block
  // has, or, where its parts are not equal, less than `width` more; there is nobody behind the last block.
  const auto inbox = [&](std::int32_t at, std::int32_t sender) {
    const Part part = of_rank(at);
    return reinterpret_cast<Pack<T, N>*>(area(exchange, at, call, 0)) + block.first +
           sender * (part.last - part.first);
  };
  if (!call.failed) {
    for (std::int32_t other = 0; other < exchange.width; ++other) {
      if (other == exchange.rank) continue;
      const Part part = of_rank(other);
      Pack<T, N>* const to = inbox(other, exchange.rank);
      for (std::int64_t pack = part.first + threadIdx.x; pack < part.last; pack += kThreads)
        to[pack - part.first] = *x.at(pack);
    }
  }
  meet(exchange, call, 0);
  const Part mine = of_rank(exchange.rank);
  if (!call.failed) {
    const Pack<T, N>* const theirs = inbox(exchange.rank, 0);
    for (std::int64_t pack = mine.first + threadIdx.x; pack < mine.last; pack += kThreads) {
      const Pack<T, N> sum =
          sum_of<T, N>(exchange, *x.at(pack), theirs + (pack - mine.first), mine.last - mine.first);
      *x.at(pack) = sum;
      for (std::int32_t other = 0; other < exchange.width; ++other)
        if (other != exchange.rank) reinterpret_cast<Pack<T, N>*>(area(exchange, other, call, 1))[pack] = sum;
    }
  }
  meet(exchange, call, 1);
  if (!call.failed) {
    const auto* const sums = reinterpret_cast<const Pack<T, N>*>(area(exchange, exchange.rank, call, 1));
    for (std::int64_t pack = block.first + threadIdx.x; pack < block.last; pack += kThreads)
      if (pack < mine.first || pack >= mine.last) *x.at(pack) = sums[pack];
  }
  end_call(exchange, call);
}

// Element by element: a vocabulary's shares start anywhere. Rank 0 sends nothing but its flag, so that nobody
// gets ahead of it.
__global__ void __launch_bounds__(kThreads)
    gather_kernel(Exchange exchange, const float* x, std::int64_t x_stride, ExchangeColumns columns,
                  float* whole, std::int64_t whole_stride, std::int32_t rows) {
  let_next_start();
  wait_for_previous();
  Call call = begin_call(exchange);
  const std::int32_t cols = columns.firsts[exchange.width];
  const std::int32_t first = columns.firsts[exchange.rank];
  const std::int32_t own = columns.firsts[exchange.rank + 1] - first;
  if (!call.failed) {
    float* const to = exchange.rank == 0 ? whole : reinterpret_cast<float*>(area(exchange, 0, call, 0));
    const std::int64_t to_stride = exchange.rank == 0 ? whole_stride : cols;
    const Part mine = part_of(static_cast<std::int64_t>(rows) * own, blockIdx.x, gridDim.x);
    for (std::int64_t i = mine.first + threadIdx.x; i < mine.last; i += kThreads)
      to[i / own * to_stride + first + i % own] = x[i / own * x_stride + i % own];
  }
  meet(exchange, call, 0);
  if (!call.failed && exchange.rank == 0) {
    const auto* const theirs = reinterpret_cast<const float*>(area(exchange, 0, call, 0));
    for (std::int32_t sender = 1; sender < exchange.width; ++sender) {
      const std::int32_t from = columns.firsts[sender], count = columns.firsts[sender + 1] - from;
      const Part part = part_of(static_cast<std::int64_t>(rows) * count, blockIdx.x, gridDim.x);
      for (std::int64_t i = part.first + threadIdx.x; i < part.last; i += kThreads)
        whole[i / count * whole_stride + from + i % count] = theirs[i / count * cols + from + i % count];
    }
  }
  end_call(exchange, call);
}

bool is_group(const Exchange& exchange) {
  return exchange.width >= 2 && exchange.width <= kMaxExchangeRanks && exchange.rank >= 0 &&
         exchange.rank < exchange.width && exchange.area_bytes % (256 * kMaxExchangeRanks) == 0 &&
         exchange.area_bytes > 0;
}

unsigned blocks_for(std::int64_t work) {
  return static_cast<unsigned>(
      std::clamp<std::int64_t>((work + kThreads - 1) / kThreads, 1, kExchangeBlocks));
}

// Up to here sending all to all is one way instead of two.
constexpr std::int64_t kAtOnceBytes = 256 << 10;

template <class T, int N>
cudaError_t sum_rows(const Exchange& exchange, const Rows& x, cudaStream_t stream) {
  constexpr std::int64_t kBytes = sizeof(Pack<T, N>);
  const std::int32_t packs_per_row = x.cols / N;
  const std::int64_t area_packs = static_cast<std::int64_t>(exchange.area_bytes) / kBytes;
  const std::int64_t most_rows = (area_packs - exchange.width) / packs_per_row;
  if (most_rows <= 0) return cudaErrorInvalidValue;
  for (std::int64_t row = 0; row < x.rows; row += most_rows) {
    const std::int64_t rows = std::min<std::int64_t>(most_rows, x.rows - row);
    const std::int64_t packs = rows * packs_per_row;
    const Source<T, N> source{row_data<T>(x) + row * x.stride, x.stride, packs_per_row};
    const bool at_once =
        (exchange.width == 2 || packs * kBytes <= kAtOnceBytes) && packs * exchange.width <= area_packs;
    const cudaError_t error =
        launch(at_once ? sum_at_once_kernel<T, N> : sum_by_parts_kernel<T, N>, dim3(blocks_for(packs)),
               dim3(kThreads), 0, stream, exchange, source, packs);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

ExchangeBox exchange_box(std::byte* memory) {
  ExchangeBox box;
  box.state = reinterpret_cast<std::uint32_t*>(memory);
  box.arrived = box.state + 4;
  box.areas = memory + exchange_box_bytes(0);
  return box;
}

cudaError_t exchange_sum(const Exchange& exchange, const Rows& x, cudaStream_t stream) {
  if (!is_group(exchange)) return cudaErrorInvalidValue;
  if (x.rows == 0 || x.cols == 0) return cudaSuccess;
  return with_activation(x.element, [&](auto element) {
    using T = typename decltype(element)::type;
    return is_wide(x, kPerLoad<T>) ? sum_rows<T, kPerLoad<T>>(exchange, x, stream)
                                   : sum_rows<T, 1>(exchange, x, stream);
  });
}

cudaError_t exchange_gather(const Exchange& exchange, const ConstRows& x, const ExchangeColumns& columns,
                            const Rows& whole, cudaStream_t stream) {
  const std::int32_t cols = columns.firsts[exchange.width];
  const std::int32_t own = columns.firsts[exchange.rank + 1] - columns.firsts[exchange.rank];
  if (!is_group(exchange) || x.element != Element::f32 || x.cols != own || own <= 0)
    return cudaErrorInvalidValue;
  if (exchange.rank == 0 && (whole.element != Element::f32 || whole.rows != x.rows || whole.cols != cols))
    return cudaErrorInvalidValue;
  const auto most_rows = static_cast<std::int32_t>(
      std::min<std::size_t>(exchange.area_bytes / (static_cast<std::size_t>(cols) * sizeof(float)), 1 << 20));
  if (most_rows == 0) return cudaErrorInvalidValue;
  for (std::int32_t row = 0; row < x.rows; row += most_rows) {
    const std::int32_t rows = std::min(most_rows, x.rows - row);
    const unsigned blocks = blocks_for(static_cast<std::int64_t>(rows) * cols / exchange.width);
    const cudaError_t error = launch(
        gather_kernel, dim3(blocks), dim3(kThreads), 0, stream, exchange, row_data<float>(x) + row * x.stride,
        x.stride, columns, exchange.rank == 0 ? row_data<float>(whole) + row * whole.stride : nullptr,
        whole.stride, rows);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace baton::cuda
