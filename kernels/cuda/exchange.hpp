// What the GPUs of a group do together (tensor parallelism): sums over all of them, and columns gathered on
// one. Each GPU has a mailbox that the others write into (peer access); nobody reads another's memory.
//
// Every call is one kernel on each GPU, in the same order and with the same shapes everywhere. A sum is made
// in order of rank, in f32, and rounded once: the same bits on every GPU, whatever the number of rows.
// Waiting ends with `control->abort`, which the host may set, or after `patience` looks; then the kernel sets
// `control->failed`, says nothing more to the others, and what it leaves in its result means nothing.
//
// cudaErrorInvalidValue: elements or sizes that an operation does not take.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/rows.hpp"

namespace baton::cuda {

inline constexpr std::int32_t kMaxExchangeRanks = 8;
inline constexpr std::int32_t kExchangeBlocks = 64;

// Of one GPU, in pinned host memory that kernels reach.
struct ExchangeControl {
  std::uint32_t abort = 0;   // the host's
  std::uint32_t failed = 0;  // the kernels'
};

// A GPU's mailbox: flags and counters, then two slots (of even and of odd calls) of two areas of
// `area_bytes`.
struct ExchangeBox {
  // Of the calls so far, on their own GPU: how many, and blocks of this one that are through.
  std::uint32_t* count = nullptr;    // [2]
  std::uint32_t* arrived = nullptr;  // [2 areas][kMaxExchangeRanks senders][kExchangeBlocks]: the last call
                                     // that a block of that rank has filled its part of the area for
  std::byte* areas = nullptr;        // [2 slots][2 areas][area_bytes]
};
inline constexpr std::size_t kExchangeFlagBytes =
    (2 + 2 * static_cast<std::size_t>(kMaxExchangeRanks) * kExchangeBlocks) * sizeof(std::uint32_t);
constexpr std::size_t exchange_box_bytes(std::size_t area_bytes) {
  return (kExchangeFlagBytes + 255) / 256 * 256 + 4 * area_bytes;
}
ExchangeBox exchange_box(std::byte* memory);

struct Exchange {
  std::int32_t rank = 0;
  std::int32_t width = 1;                // 2 to kMaxExchangeRanks
  std::size_t area_bytes = 0;            // a multiple of 256 * kMaxExchangeRanks
  ExchangeBox boxes[kMaxExchangeRanks];  // of all ranks
  ExchangeControl* control = nullptr;    // this rank's
  std::uint32_t patience = 0;            // looks at a flag, half a microsecond apart or more
};

// x = the sum over the ranks' x. Rows may lie apart. The elements of as many rows as fit go in one kernel.
cudaError_t exchange_sum(const Exchange& exchange, const Rows& x, cudaStream_t stream);

// Of f32 rows: rank 0's `whole` [rows, cols] gets rank r's x in the columns from firsts[r] on. Elsewhere
// `whole` needs only its number of rows and columns.
struct ExchangeColumns {
  std::int32_t firsts[kMaxExchangeRanks + 1] = {};  // [width + 1]: the last is cols
};
cudaError_t exchange_gather(const Exchange& exchange, const ConstRows& x, const ExchangeColumns& columns,
                            const Rows& whole, cudaStream_t stream);

}  // namespace baton::cuda
