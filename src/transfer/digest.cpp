#include "digest.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "xxh3_wide.hpp"

namespace baton::transfer {
namespace {

Hash128 hash_piece(std::span<const std::byte> piece) {
#if BATON_XXH3_WIDE
  static const bool wide = __builtin_cpu_supports("avx2");
  if (wide) {
    Hash128 hash;
    baton_xxh3_128_avx2(piece.data(), piece.size(), &hash.high, &hash.low);
    return hash;
  }
#endif
  return hash_bytes(piece);
}

}  // namespace

Hash128 content_digest(std::span<const std::byte> bytes, std::size_t piece_bytes) {
  if (piece_bytes == 0) piece_bytes = std::max<std::size_t>(bytes.size(), 1);
  std::vector<Hash128> pieces;
  pieces.reserve(bytes.size() / piece_bytes + 1);
  for (std::size_t at = 0; at < bytes.size(); at += piece_bytes)
    pieces.push_back(hash_piece(bytes.subspan(at, std::min(piece_bytes, bytes.size() - at))));
  return content_digest(bytes.size(), pieces);
}

Hash128 content_digest(std::size_t bytes, std::span<const Hash128> pieces) {
  std::vector<std::uint64_t> words{bytes};
  words.reserve(1 + 2 * pieces.size());
  for (const Hash128& piece : pieces) {
    words.push_back(piece.high);
    words.push_back(piece.low);
  }
  return hash_bytes(std::as_bytes(std::span(words)));
}

Result<Hash128> content_digest_in(BlockMemory& memory, std::span<const std::byte> block,
                                  std::size_t piece_bytes) {
  const auto pieces = memory.hash_pieces(block, piece_bytes == 0 ? block.size() : piece_bytes);
  if (!pieces) return pieces.error();
  return content_digest(block.size(), *pieces);
}

Hash128 block_digest(const BlockIdentity& identity, Hash128 content) {
  const std::array<std::uint64_t, 7> words{
      identity.transfer.high, identity.transfer.low, identity.index, identity.hash.high,
      identity.hash.low,      content.high,          content.low};
  return hash_bytes(std::as_bytes(std::span(words)));
}

}  // namespace baton::transfer
