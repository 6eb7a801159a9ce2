// digest: XXH3-128 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), a warp a piece.
//
// XXH3 adds up 16 stripes of 64 bytes in eight accumulators, then scrambles these. Within the 16 the order is
// free: lane 8 g + i of a warp takes accumulator i of every fourth stripe, and the four partial sums meet
// before the scramble. Pieces of at most 240 bytes have algorithms of their own; one lane does them.
#include "kernels/cuda/digest.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/xxh3.cuh"

namespace baton::cuda {
namespace {

constexpr unsigned kWarps = 8;
constexpr unsigned kStripe = 64;
constexpr unsigned kStripesPerBlock = 16;
constexpr unsigned kBlock = kStripe * kStripesPerBlock;

__device__ __forceinline__ std::uint64_t load64(const std::uint8_t* from, bool aligned) {
  return aligned ? *reinterpret_cast<const std::uint64_t*>(from) : xxh3::read64(from);
}

// More than 240 bytes, by the whole warp; the result in every lane.
__device__ DigestHash hash_long(const std::uint8_t* data, std::uint64_t bytes) {
  const unsigned lane = threadIdx.x % 32, i = lane % 8, group = lane / 8;
  const bool aligned = reinterpret_cast<std::uintptr_t>(data) % 8 == 0;
  std::uint64_t keys[4];  // of stripes group, group + 4, ...
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) keys[k] = xxh3::secret64(8 * (group + 4 * k + i));
  const std::uint64_t scramble_key = xxh3::secret64(xxh3::kSecretBytes - kStripe + 8 * i);
  std::uint64_t accumulator = xxh3::initial_accumulator(i);

  // Adds what the lanes have summed up, the same in all four groups afterwards.
  const auto add = [&](std::uint64_t products, std::uint64_t values) {
    std::uint64_t sum = products + __shfl_xor_sync(0xffffffffU, values, 1);
    sum += __shfl_xor_sync(0xffffffffU, sum, 8);
    sum += __shfl_xor_sync(0xffffffffU, sum, 16);
    accumulator += sum;
  };

  const std::uint64_t blocks = (bytes - 1) / kBlock;
  const std::uint8_t* from = data + group * kStripe + 8 * i;
#pragma unroll 2
  for (std::uint64_t block = 0; block < blocks; ++block, from += kBlock) {
    std::uint64_t products = 0, values = 0;
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      const std::uint64_t value = load64(from + 4 * k * kStripe, aligned);
      values += value;
      products += xxh3::product_of_halves(value ^ keys[k]);
    }
    add(products, values);
    accumulator = (accumulator ^ accumulator >> 47 ^ scramble_key) * xxh3::kPrime32_1;
  }

  const auto stripes =
      static_cast<unsigned>((bytes - 1 - blocks * kBlock) / kStripe);  // whole ones, but the last
  std::uint64_t products = 0, values = 0;
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) {
    if (group + 4 * k >= stripes) continue;
    const std::uint64_t value = load64(from + 4 * k * kStripe, aligned);
    values += value;
    products += xxh3::product_of_halves(value ^ keys[k]);
  }
  if (group == 0) {  // the last 64 bytes, which may overlap the stripe before
    const std::uint8_t* last = data + bytes - kStripe + 8 * i;
    const std::uint64_t value = load64(last, aligned && bytes % 8 == 0);
    values += value;
    products += xxh3::product_of_halves(value ^ xxh3::secret64(xxh3::kSecretBytes - kStripe - 7 + 8 * i));
  }
  add(products, values);

  const auto merge = [&](unsigned offset, std::uint64_t start) {  // pairs of accumulators
    const std::uint64_t mixed = accumulator ^ xxh3::secret64(offset + 8 * i);
    const std::uint64_t other = __shfl_xor_sync(0xffffffffU, mixed, 1);
    std::uint64_t sum = xxh3::fold(mixed, other);  // the same in both lanes of a pair
    sum += __shfl_xor_sync(0xffffffffU, sum, 2);
    sum += __shfl_xor_sync(0xffffffffU, sum, 4);
    return xxh3::avalanche(start + sum);
  };
  DigestHash hash;
  hash.low = merge(11, bytes * xxh3::kPrime64_1);
  hash.high = merge(xxh3::kSecretBytes - 64 - 11, ~(bytes * xxh3::kPrime64_2));
  return hash;
}

__device__ __forceinline__ void hash_piece(const DigestPiece& piece, DigestHash* to) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(piece.data);
  const bool is_long = piece.bytes > xxh3::kMaxShort;
  DigestHash hash;
  if (is_long) hash = hash_long(data, piece.bytes);
  if (threadIdx.x % 32 != 0) return;
  if (!is_long) xxh3::hash_short(data, static_cast<std::uint32_t>(piece.bytes), hash.high, hash.low);
  *to = hash;
}

__device__ __forceinline__ std::int64_t warp_index() {
  return std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
}

__global__ void __launch_bounds__(kWarps * 32)
    digest_kernel(const DigestPiece* pieces, std::int64_t count, DigestHash* hashes) {
  let_next_start();
  wait_for_previous();
  const std::int64_t index = warp_index();
  if (index < count) hash_piece(pieces[index], hashes + index);
}

__global__ void __launch_bounds__(kWarps * 32)
    digest_row_kernel(DigestPiece row, std::uint64_t piece_bytes, std::int64_t count, DigestHash* hashes) {
  let_next_start();
  wait_for_previous();
  const std::int64_t index = warp_index();
  if (index >= count) return;
  const std::uint64_t first = static_cast<std::uint64_t>(index) * piece_bytes;
  hash_piece({row.data + first, min(piece_bytes, row.bytes - first)}, hashes + index);
}

unsigned blocks_for(std::int64_t count) { return static_cast<unsigned>((count + kWarps - 1) / kWarps); }

}  // namespace

cudaError_t digest(const DigestPiece* pieces, std::int32_t count, DigestHash* hashes, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return launch(digest_kernel, blocks_for(count), kWarps * 32, 0, stream, pieces, std::int64_t{count},
                hashes);
}

cudaError_t digest_row(DigestPiece row, std::uint64_t piece_bytes, DigestHash* hashes, cudaStream_t stream) {
  if (piece_bytes == 0) return cudaErrorInvalidValue;
  if (row.bytes == 0) return cudaSuccess;
  const auto count = static_cast<std::int64_t>((row.bytes + piece_bytes - 1) / piece_bytes);
  return launch(digest_row_kernel, blocks_for(count), kWarps * 32, 0, stream, row, piece_bytes, count,
                hashes);
}

}  // namespace baton::cuda
