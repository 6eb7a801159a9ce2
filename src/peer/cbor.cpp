#include "peer/cbor.hpp"

#include <bit>
#include <limits>

namespace baton::peer {
namespace {

enum Major : std::uint8_t { kUnsigned = 0, kNegative = 1, kBytes = 2, kText = 3, kArray = 4, kSimple = 7 };
enum Simple : std::uint8_t { kFalse = 20, kTrue = 21, kNull = 22, kSingle = 26, kDouble = 27 };

std::byte initial(std::uint8_t major, std::uint8_t info) {
  return static_cast<std::byte>(static_cast<std::uint8_t>(major << 5) | info);
}

}  // namespace

void CborWriter::big_endian(std::uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out_.push_back(static_cast<std::byte>(static_cast<std::uint8_t>(value >> shift)));
  }
}

void CborWriter::head(std::uint8_t major, std::uint64_t value) {
  if (value < 24) {
    out_.push_back(initial(major, static_cast<std::uint8_t>(value)));
    return;
  }
  const int width = value <= 0xff ? 0 : value <= 0xffff ? 1 : value <= 0xffffffff ? 2 : 3;
  out_.push_back(initial(major, static_cast<std::uint8_t>(24 + width)));
  big_endian(value, 1 << width);
}

void CborWriter::write_signed(std::int64_t value) {
  if (value >= 0) {
    head(kUnsigned, static_cast<std::uint64_t>(value));
  } else {
    head(kNegative, ~static_cast<std::uint64_t>(value));  // -1 - value
  }
}

void CborWriter::write_bytes(std::span<const std::byte> bytes) {
  head(kBytes, bytes.size());
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

void CborWriter::write_text(std::string_view text) {
  head(kText, text.size());
  const auto bytes = std::as_bytes(std::span(text));
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

void CborWriter::write_bool(bool value) { out_.push_back(initial(kSimple, value ? kTrue : kFalse)); }
void CborWriter::write_null() { out_.push_back(initial(kSimple, kNull)); }

void CborWriter::write_float(float value) {
  out_.push_back(initial(kSimple, kSingle));
  big_endian(std::bit_cast<std::uint32_t>(value), 4);
}

void CborWriter::write_double(double value) {
  out_.push_back(initial(kSimple, kDouble));
  big_endian(std::bit_cast<std::uint64_t>(value), 8);
}

bool CborReader::head(Head& head) {
  if (rest_.empty()) return false;
  const auto first = static_cast<std::uint8_t>(rest_[0]);
  head.major = first >> 5;
  head.info = first & 0x1f;
  rest_ = rest_.subspan(1);
  if (head.info < 24) {
    head.value = head.info;
    return true;
  }
  if (head.info > 27) return false;  // reserved, or an indefinite length
  const std::size_t width = std::size_t{1} << (head.info - 24);
  if (rest_.size() < width) return false;
  head.value = 0;
  for (std::size_t i = 0; i < width; ++i) head.value = head.value << 8 | static_cast<std::uint8_t>(rest_[i]);
  rest_ = rest_.subspan(width);
  return true;
}

bool CborReader::read_unsigned(std::uint64_t& value) {
  Head h;
  if (!head(h) || h.major != kUnsigned) return false;
  value = h.value;
  return true;
}

bool CborReader::read_signed(std::int64_t& value) {
  Head h;
  if (!head(h) || h.major > kNegative) return false;
  if (h.value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return false;
  value = static_cast<std::int64_t>(h.major == kUnsigned ? h.value : ~h.value);
  return true;
}

bool CborReader::counted(std::uint8_t major, std::span<const std::byte>& bytes) {
  Head h;
  if (!head(h) || h.major != major || h.value > rest_.size()) return false;
  bytes = rest_.first(static_cast<std::size_t>(h.value));
  rest_ = rest_.subspan(bytes.size());
  return true;
}

bool CborReader::read_bytes(std::span<const std::byte>& bytes) { return counted(kBytes, bytes); }

bool CborReader::read_text(std::string_view& text) {
  std::span<const std::byte> bytes;
  if (!counted(kText, bytes)) return false;
  text = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  return true;
}

bool CborReader::read_array(std::size_t& items) {
  Head h;
  if (!head(h) || h.major != kArray || h.value > rest_.size()) return false;  // an item takes at least a byte
  items = static_cast<std::size_t>(h.value);
  return true;
}

bool CborReader::read_bool(bool& value) {
  Head h;
  if (!head(h) || h.major != kSimple || (h.info != kTrue && h.info != kFalse)) return false;
  value = h.info == kTrue;
  return true;
}

bool CborReader::read_null() {
  if (rest_.empty() || rest_[0] != initial(kSimple, kNull)) return false;
  rest_ = rest_.subspan(1);
  return true;
}

bool CborReader::read_float(float& value) {
  Head h;
  if (!head(h) || h.major != kSimple || h.info != kSingle) return false;
  value = std::bit_cast<float>(static_cast<std::uint32_t>(h.value));
  return true;
}

bool CborReader::read_double(double& value) {
  Head h;
  if (!head(h) || h.major != kSimple) return false;
  if (h.info == kSingle) {
    value = static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(h.value)));
    return true;
  }
  if (h.info != kDouble) return false;
  value = std::bit_cast<double>(h.value);
  return true;
}

}  // namespace baton::peer
