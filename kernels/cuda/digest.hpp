// XXH3-128 of many pieces of device memory: the bits of base/hash's hash_bytes without a key, which is what
// transfer/digest computes of every piece of a KV block.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace baton::cuda {

struct DigestPiece {
  const std::byte* data = nullptr;  // any alignment; multiples of 8 are read fast
  std::uint64_t bytes = 0;
};

struct DigestHash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
};

// hashes[i] = XXH3-128 of pieces[i]; both [count] in device memory.
cudaError_t digest(const DigestPiece* pieces, std::int32_t count, DigestHash* hashes, cudaStream_t stream);

// Pieces that lie one behind the other: hashes[i] is of piece_bytes from i * piece_bytes on, the last may be
// of fewer. [ceil(bytes / piece_bytes)] in device memory.
cudaError_t digest_row(DigestPiece row, std::uint64_t piece_bytes, DigestHash* hashes, cudaStream_t stream);

}  // namespace baton::cuda
