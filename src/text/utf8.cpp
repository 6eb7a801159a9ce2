#include "text/utf8.hpp"

#include <cstdint>
#include <cstring>

namespace baton::text {
namespace {

struct Sequence {
  std::size_t length = 0;  // of the well-formed sequence, or of the maximal subpart where !complete
  bool complete = false;
  bool cut = false;  // !complete only because the bytes end here
};

// Reads one multi-byte sequence at `position`. The second byte's range depends on the first (table 3-7); the
// others are 80..BF.
Sequence read_sequence(std::string_view bytes, std::size_t position) {
  const auto lead = static_cast<unsigned char>(bytes[position]);
  std::size_t need = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    need = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    need = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;  // no surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    need = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;  // nothing above U+10FFFF
  } else {
    return {1, false, false};
  }
  for (std::size_t i = 1; i < need; ++i) {
    if (position + i >= bytes.size()) return {i, false, true};
    const auto byte = static_cast<unsigned char>(bytes[position + i]);
    if (byte < low || byte > high) return {i, false, false};
    low = 0x80;
    high = 0xBF;
  }
  return {need, true, false};
}

std::size_t ascii_prefix(std::string_view bytes, std::size_t from) {
  std::size_t i = from;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, 8);
    if ((word & 0x8080808080808080ULL) != 0) break;
  }
  while (i < bytes.size() && static_cast<unsigned char>(bytes[i]) < 0x80) ++i;
  return i;
}

}  // namespace

bool is_ascii(std::string_view bytes) { return ascii_prefix(bytes, 0) == bytes.size(); }

bool is_valid_utf8(std::string_view bytes) {
  std::size_t i = 0;
  while ((i = ascii_prefix(bytes, i)) < bytes.size()) {
    const Sequence sequence = read_sequence(bytes, i);
    if (!sequence.complete) return false;
    i += sequence.length;
  }
  return true;
}

std::size_t append_valid_utf8(std::string_view bytes, std::string& out) {
  std::size_t i = 0;
  std::size_t good = 0;  // bytes[good, i) is well-formed and not yet appended
  while ((i = ascii_prefix(bytes, i)) < bytes.size()) {
    const Sequence sequence = read_sequence(bytes, i);
    if (!sequence.complete) {
      out.append(bytes.substr(good, i - good));
      if (sequence.cut) return sequence.length;
      out.append(kReplacement);
      good = i + sequence.length;
    }
    i += sequence.length;
  }
  out.append(bytes.substr(good));
  return 0;
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  if (append_valid_utf8(bytes, out) != 0) out.append(kReplacement);
  return out;
}

std::size_t incomplete_utf8_suffix(std::string_view bytes) {
  for (std::size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const std::size_t at = bytes.size() - back;
    const auto byte = static_cast<unsigned char>(bytes[at]);
    if ((byte & 0xC0) == 0x80) continue;
    if (byte < 0x80) return 0;
    const Sequence sequence = read_sequence(bytes, at);
    return sequence.cut && sequence.length == back ? back : 0;
  }
  return 0;
}

void append_utf8(char32_t c, std::string& out) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | c >> 6));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | c >> 12));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | c >> 18));
    out.push_back(static_cast<char>(0x80 | (c >> 12 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

}  // namespace baton::text
