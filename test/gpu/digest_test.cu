// Digests on the device against base/hash: the same bits for every length and alignment.
#include <random>

#include "baton/base/hash.hpp"
#include "device_array.hpp"
#include "kernels/cuda/digest.hpp"

namespace baton::gpu {

bool digest_tests() {
  Expectations expectations("digest");
  std::mt19937_64 engine(3);
  std::vector<std::byte> bytes(1 << 20);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(engine());
  const DeviceArray<std::byte> data(bytes);

  struct Span {
    std::size_t first, count;
  };
  std::vector<Span> spans;
  for (std::size_t count = 0; count <= 1300; ++count) spans.push_back({engine() % 100, count});
  for (std::size_t count = 200; count <= 4200; count += 8) spans.push_back({8 * (engine() % 100), count});
  for (const std::size_t count : {4096, 4095, 4097, 65536, 99999, 1 << 20}) spans.push_back({0, count});

  std::vector<cuda::DigestPiece> pieces;
  for (const Span& span : spans) pieces.push_back({data.data() + span.first, span.count});
  const DeviceArray<cuda::DigestPiece> device_pieces(pieces);
  const DeviceArray<cuda::DigestHash> hashes(pieces.size());
  require_done(
      cuda::digest(device_pieces.data(), static_cast<std::int32_t>(pieces.size()), hashes.data(), nullptr),
      "digest");
  const std::vector<cuda::DigestHash> got = hashes.values();
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Hash128 want = hash_bytes(std::span(bytes).subspan(spans[i].first, spans[i].count));
    expectations.expect(got[i].high == want.high && got[i].low == want.low, "%zu bytes at %zu",
                        spans[i].count, spans[i].first);
  }

  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{240}, std::size_t{1000}, std::size_t{4096}, bytes.size()}) {
    const std::size_t first = 8 * (engine() % 100),
                      count = std::min<std::size_t>(70'001, bytes.size() - first);
    const DeviceArray<cuda::DigestHash> row((count + piece - 1) / piece);
    require_done(cuda::digest_row({data.data() + first, count}, piece, row.data(), nullptr), "digest_row");
    const std::vector<cuda::DigestHash> in_row = row.values();
    for (std::size_t i = 0; i < in_row.size(); ++i) {
      const Hash128 want =
          hash_bytes(std::span(bytes).subspan(first + i * piece, std::min(piece, count - i * piece)));
      expectations.expect(in_row[i].high == want.high && in_row[i].low == want.low, "piece %zu of %zu bytes",
                          i, piece);
    }
  }
  return expectations.report();
}

}  // namespace baton::gpu
