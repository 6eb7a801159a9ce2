#include "part_header.hpp"

namespace baton::transfer {
namespace {

constexpr std::uint32_t kMagic = 0x564b5442;  // "BTKV"
constexpr std::uint16_t kVersion = 1;
constexpr std::uint16_t kHasDigest = 1;
constexpr std::uint64_t kMaxBlockBytes = std::uint64_t{1} << 40;

class Writer {
 public:
  explicit Writer(std::span<std::byte, kPartHeaderBytes> out) : out_(out) {}
  template <class T>
  void put(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
      out_[at_++] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
  }
  void put(Hash128 hash) {
    put(hash.high);
    put(hash.low);
  }

 private:
  std::span<std::byte, kPartHeaderBytes> out_;
  std::size_t at_ = 0;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte, kPartHeaderBytes> in) : in_(in) {}
  template <class T>
  T get() {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
      value |= std::to_integer<std::uint64_t>(in_[at_++]) << (8 * i);
    return static_cast<T>(value);
  }
  Hash128 get_hash() {
    const auto high = get<std::uint64_t>();
    return {high, get<std::uint64_t>()};
  }

 private:
  std::span<const std::byte, kPartHeaderBytes> in_;
  std::size_t at_ = 0;
};

}  // namespace

std::array<std::byte, kPartHeaderBytes> encode_part_header(const PartHeader& header) {
  std::array<std::byte, kPartHeaderBytes> bytes{};
  Writer out(bytes);
  out.put(kMagic);
  out.put(kVersion);
  out.put(static_cast<std::uint16_t>(header.has_digest ? kHasDigest : 0));
  out.put(header.transfer);
  out.put(header.hash);
  out.put(header.digest);
  out.put(header.sender);
  out.put(header.attempt);
  out.put(header.total_bytes);
  out.put(header.part_bytes);
  out.put(header.index);
  out.put(header.part);
  return bytes;
}

std::optional<PartHeader> parse_part_header(std::span<const std::byte> bytes) {
  if (bytes.size() != kPartHeaderBytes) return std::nullopt;
  Reader in(bytes.first<kPartHeaderBytes>());
  if (in.get<std::uint32_t>() != kMagic || in.get<std::uint16_t>() != kVersion) return std::nullopt;
  const auto flags = in.get<std::uint16_t>();
  if ((flags & ~kHasDigest) != 0) return std::nullopt;
  PartHeader header;
  header.has_digest = (flags & kHasDigest) != 0;
  header.transfer = in.get_hash();
  header.hash = in.get_hash();
  header.digest = in.get_hash();
  header.sender = in.get_hash();
  header.attempt = in.get<std::uint64_t>();
  header.total_bytes = in.get<std::uint64_t>();
  header.part_bytes = in.get<std::uint64_t>();
  header.index = in.get<std::uint32_t>();
  header.part = in.get<std::uint32_t>();
  const bool plausible = header.total_bytes > 0 && header.total_bytes <= kMaxBlockBytes &&
                         header.part_bytes > 0 && header.part_bytes <= kMaxBlockBytes;
  if (!plausible || header.parts() > kMaxParts || header.part >= header.parts()) return std::nullopt;
  return header;
}

}  // namespace baton::transfer
