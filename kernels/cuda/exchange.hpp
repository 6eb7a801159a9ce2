// What the GPUs of a group do together (tensor parallelism): sums over all of them, and columns gathered on
// one. Each GPU has a mailbox that the others write into (peer access); nobody reads another's memory.
//
// Every call is one kernel on each GPU, in the same order and with the same shapes everywhere. A sum is made
// in order of rank, in f32, and rounded once: the same bits on every GPU, whatever the number of rows.
// Waiting ends with `control->abort`, which the host may set, or after `patience`. A GPU that gave up has
// `control->failed` set and says nothing more to the others, in this call and in all that follow, so that
// none of them takes what it has for a sum; what its results hold means nothing. So it stays until all
// kernels have ended and the host has zeroed the boxes' first kExchangeFlagBytes and the controls.
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
  // For kernels on the box's own GPU: how many calls there have been, blocks of this one that are through,
  // and whether one gave up.
  std::uint32_t* state = nullptr;    // [4]
  std::uint32_t* arrived = nullptr;  // [2 areas][kMaxExchangeRanks senders][kExchangeBlocks]: the last call
                                     // that a block of that rank has filled its part of the area for
  std::byte* areas = nullptr;        // [2 slots][2 areas][area_bytes]
};
inline constexpr std::size_t kExchangeFlagBytes =
    (4 + 2 * static_cast<std::size_t>(kMaxExchangeRanks) * kExchangeBlocks) * sizeof(std::uint32_t);
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
  std::uint64_t patience = 0;            // nanoseconds that a kernel waits for the others
};

// x = the sum over the ranks' x. Rows may lie apart. As many rows as fit an area go in one kernel; one row
// must. Whether rows are multiples of 16 bytes at such addresses changes no bit, but must be alike
// everywhere.
cudaError_t exchange_sum(const Exchange& exchange, const Rows& x, cudaStream_t stream);

// Of f32 rows: rank 0's `whole` [rows, cols] gets rank r's x in the columns from firsts[r] on. Elsewhere
// `whole` needs only its number of rows and columns.
struct ExchangeColumns {
  std::int32_t firsts[kMaxExchangeRanks + 1] = {};  // [width + 1]: the last is cols
};
cudaError_t exchange_gather(const Exchange& exchange, const ConstRows& x, const ExchangeColumns& columns,
                            const Rows& whole, cudaStream_t stream);

}  // namespace baton::cuda
