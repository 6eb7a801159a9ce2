// How the skinny product reads its operands: which part of the weight is a warp's, the ring through which it
// streams, and the mma's operands made of the weight's pieces and of the tokens.
#pragma once

#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/matmul_mma.cuh"

namespace baton::cuda::skinny {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kChunk = 64;                 // K
constexpr int kBlockK = kWarps * kChunk;   // from one chunk of a warp to its next
constexpr int kRingBytes = 11 * 1024;      // of a warp
constexpr int kSmallRingBytes = 6 * 1024;  // where a block cannot have as much
constexpr int kPieceBytes = 1024;          // of the weight: one unit's chunk
constexpr int kSlots = kRingBytes / kPieceBytes;
constexpr int kSmallSlots = kSmallRingBytes / kPieceBytes;
template <class W>
constexpr int kUnit = kPieceBytes / kChunk / static_cast<int>(sizeof(W));  // weight rows

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
  int tiles;
  int lead;  // pieces that warp 0 has still to ask for when the next kernel may start
  int sum_bytes;
  bool small_ring;
  Gate gate;
  bool result_f32;

  __device__ __forceinline__ bool has_gate() const { return gate != Gate::none; }
  __device__ __forceinline__ int columns() const { return has_gate() ? out / 2 : out; }
};

template <class W>
__host__ __device__ __forceinline__ int unit_columns(bool has_gate) {
  return has_gate ? kUnit<W> / 2 : kUnit<W>;
}

struct Range {
  int first, last;
  __device__ __forceinline__ int size() const { return last - first; }
  __device__ __forceinline__ Range part(int index, int count) const {
    if (count == 1) return *this;
    return {first + size() * index / count, first + size() * (index + 1) / count};
  }
};

// What a warp does.
struct Share {
  int rank;     // in the cluster
  Range units;  // of the tile
  Range k;      // in steps of kBlockK
  int per_pass;

  __device__ __forceinline__ Share(const Parameters& p, int columns, int units_at_once) {
    rank = static_cast<int>(blockIdx.x) % p.splits;
    const int tile = static_cast<int>(blockIdx.x) / p.splits;
    units = Range{0, (p.columns() + columns - 1) / columns}.part(tile, p.tiles);
    const Range chunks = Range{0, (p.in + kChunk - 1) / kChunk}.part(rank, p.splits);
    k = {(chunks.first + static_cast<int>(threadIdx.x) / 32) * kChunk, chunks.last * kChunk};
    const int passes = max(1, (units.size() + units_at_once - 1) / units_at_once);
    per_pass = (units.size() + passes - 1) / passes;
  }
  __device__ __forceinline__ Range pass(int first) const {
    return {first, min(first + per_pass, units.last)};
  }
  __device__ __forceinline__ int chunks() const {
    return k.first < k.last ? (k.size() + kBlockK - 1) / kBlockK : 0;
  }
};

// The weight's pieces in the order in which a warp multiplies them: passes, chunks, units.
//
// In the ring a piece's rows lie one after the other, their sixteen-byte parts in an order such that lanes
// that read together read from different banks.
template <class W>
class WeightStream {
 public:
  static constexpr int kRowBytes = kChunk * static_cast<int>(sizeof(W));
  static constexpr int kParts = kRowBytes / 16;  // of a row

  __device__ __forceinline__ WeightStream(const Parameters& p, const Share& share, std::uint32_t ring)
      : p_(p), share_(share), ring_(ring), fill_(ring), read_(ring) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int part = lane % kParts;
    row_ = lane / kParts;
    k_in_chunk_ = part * kPerLoad<W>;
    to_ = row_ * kRowBytes + place(part, row_) * 16;
    base_ = static_cast<const W*>(p.weight) + static_cast<std::int64_t>(row_) * p.in + k_in_chunk_;
    second_half_ = static_cast<std::int64_t>(p.has_gate() ? p.columns() : kUnit<W> / 2) * p.in;
    unit_stride_ = unit_columns<W>(p.has_gate()) * p.in;
    slots_end_ = ring + (p.small_ring ? kSmallSlots : kSlots) * kPieceBytes;
    left_ = share.units.size() * share.chunks();
    lead_ = threadIdx.x < 32 ? min(p.lead, left_ - 1) : -1;
    units_ = share.pass(share.units.first);
    unit_ = units_.first;
    k_ = share.k.first;
    const int ahead = (p.small_ring ? kSmallSlots : kSlots) - 1;
#pragma unroll 1
    for (int i = 0; i < ahead; ++i) ask();
  }

  // Of a part in its row. The same for a row and its counterpart in the unit's other half.
  static __device__ __forceinline__ int place(int part, int row) {
    return sizeof(W) == 2 ? part ^ ((row & 1) << 2) : part ^ (row & 2);
  }

  // Whether all pieces are asked for.
  __device__ __forceinline__ bool asked() const { return left_ <= 0; }

  // The next piece, once it is here.
  __device__ __forceinline__ std::uint32_t piece() const {
    if (p_.small_ring) {
      wait_copies<kSmallSlots - 2>();
    } else {
      wait_copies<kSlots - 2>();
    }
    __syncwarp();
    return read_;
  }
  // Leaves it, and asks for one more in the place of the piece before it, which all lanes have left.
  __device__ __forceinline__ void advance() {
    ask();
    read_ = read_ + kPieceBytes == slots_end_ ? ring_ : read_ + kPieceBytes;
  }

 private:
  // A lane copies from row row_ of each half of the unit: with a gate: it and its up.
  __device__ __forceinline__ void ask() {
    if (left_ > 0) {
      const bool in_row = k_ + k_in_chunk_ < p_.in;
      const int column = unit_ * unit_columns<W>(p_.has_gate()) + row_;
      const W* const from = base_ + (static_cast<std::int64_t>(unit_) * unit_stride_ + k_);
      copy16(fill_ + to_, from, in_row && column < p_.columns());
      copy16(fill_ + to_ + kPieceBytes / 2, from + second_half_,
             in_row && column + (p_.has_gate() ? 0 : kUnit<W> / 2) < p_.columns());
      fill_ = fill_ + kPieceBytes == slots_end_ ? ring_ : fill_ + kPieceBytes;
      if (--left_ == lead_) let_next_start();
      if (++unit_ >= units_.last) {
        unit_ = units_.first;
        k_ += kBlockK;
        if (k_ >= share_.k.last) {
          units_ = share_.pass(units_.last);
          unit_ = units_.first;
          k_ = share_.k.first;
        }
      }
    }
    close_copies();
  }

  const Parameters& p_;
  const Share& share_;
  const W* base_;
  std::int64_t second_half_;
  int unit_stride_;
  std::uint32_t ring_, fill_, read_, slots_end_, to_;
  Range units_;
  int row_, k_in_chunk_;
  int unit_, k_;
  int left_;  // pieces to ask for
  int lead_;
};

// The lane's sixteen K of a chunk, of the tokens lane / 4, lane / 4 + 8, ... Past L1, which may hold what an
// earlier kernel read there while this one was waiting.
template <int kSixteens>
struct Tokens {
  uint4 at[2 * kSixteens][2];

  template <class T>
  __device__ __forceinline__ void load(const Parameters& p, int k) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int first = k + 8 * (lane % 4);
#pragma unroll
    for (int i = 0; i < 2 * kSixteens; ++i) {
      const int token = lane / 4 + 8 * i;
      const T* const from = static_cast<const T*>(p.x) + token * p.x_stride + first;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const bool inside = token < p.rows && first + 32 * j < p.in;
        at[i][j] = inside ? load_past_l1(from + 32 * j) : uint4{};
      }
    }
  }

  // Four K of the lane's sixteen, for the tokens of one sixteen.
  __device__ __forceinline__ void operand(std::uint32_t (&a)[4], int sixteen, int step) const {
    const uint4& low = at[2 * sixteen][step / 2];
    const uint4& high = at[2 * sixteen + 1][step / 2];
    a[0] = step % 2 == 0 ? low.x : low.z;
    a[1] = step % 2 == 0 ? high.x : high.z;
    a[2] = step % 2 == 0 ? low.y : low.w;
    a[3] = step % 2 == 0 ? high.y : high.w;
  }
};

// The lane's sixteen K of row lane / 4 of each of a piece's eights of rows: four steps of the mma.
template <class W>
using Operands = std::uint32_t[kUnit<W> / 8][4][2];

template <class T>
__device__ __forceinline__ void load_piece(std::uint32_t (&b)[1][4][2], std::uint32_t piece, T /*weight*/) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = lane / 4;
  const std::uint32_t at =
      piece + row * WeightStream<T>::kRowBytes + WeightStream<T>::place(lane % 4, row) * 16;
  const uint4 first = load_shared16(at);
  const uint4 second = load_shared16(at ^ 64);
  b[0][0][0] = first.x, b[0][0][1] = first.y, b[0][1][0] = first.z, b[0][1][1] = first.w;
  b[0][2][0] = second.x, b[0][2][1] = second.y, b[0][3][0] = second.z, b[0][3][1] = second.w;
}
template <class T>
__device__ __forceinline__ void load_piece(std::uint32_t (&b)[2][4][2], std::uint32_t piece,
                                           e4m3 /*weight*/) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = lane / 4;
  const std::uint32_t at = piece + row * WeightStream<e4m3>::kRowBytes +
                           WeightStream<e4m3>::place(lane % 4 / 2, row) * 16 + lane % 2 * 8;
#pragma unroll
  for (int eight = 0; eight < 2; ++eight) {
    const uint2 first = load_shared8(at + eight * (kPieceBytes / 2));
    const uint2 second = load_shared8((at ^ 32) + eight * (kPieceBytes / 2));
    const std::uint32_t words[4] = {first.x, first.y, second.x, second.y};
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      b[eight][step][0] = widen_low<T>(words[step]);
      b[eight][step][1] = widen_high<T>(words[step]);
    }
  }
}

}  // namespace baton::cuda::skinny
