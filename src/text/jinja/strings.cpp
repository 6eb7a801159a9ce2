#include "text/jinja/strings.hpp"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstdio>

#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace baton::text::jinja {
namespace {

// str.isprintable for one character.
bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  constexpr std::uint32_t kHidden =
      U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK | U_GC_CN_MASK | U_GC_Z_MASK;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & kHidden) == 0;
}

void append_escape(char32_t c, std::string& out) {
  char buffer[16];
  const char* format = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
  std::snprintf(buffer, sizeof buffer, format, static_cast<unsigned>(c));
  out += buffer;
}

bool is_cased_start(std::string_view text, std::size_t at) {
  return is_letter(code_point_at(text, at).value);
}

// Upper case at the beginning of each word, lower case behind.
template <class BeginsWord>
std::string title_case(std::string_view text, BeginsWord begins_word) {
  std::string out;
  out.reserve(text.size());
  bool begin = true;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t size = code_point_at(text, i).length;
    const std::string_view character = text.substr(i, size);
    out += begin ? to_upper(character) : to_lower(character);
    begin = begins_word(text, i);
    i += size;
  }
  return out;
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

}  // namespace

std::string quoted_text(std::string_view text) {
  const bool single = text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\') {
      out += '\\';
      out += text[i];
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (is_printable(c.value)) {
      out.append(text.substr(i, c.length));
    } else {
      append_escape(c.value, out);
    }
    i += c.length;
  }
  out += quote;
  return out;
}

bool is_space(char32_t c) { return (c >= 0x1C && c <= 0x1F) || is_white_space(c); }

std::size_t length(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t size = code_point_at(text, i).length;
    out.push_back(text.substr(i, size));
    i += size;
  }
  return out;
}

std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> set) {
  const auto goes = [&](std::size_t at, std::size_t size) {
    return set ? set->find(text.substr(at, size)) != std::string_view::npos
               : is_space(code_point_at(text, at).value);
  };
  std::size_t begin = 0;
  std::size_t end = text.size();
  while ((static_cast<int>(side) & static_cast<int>(Side::left)) != 0 && begin < end) {
    const std::size_t size = code_point_at(text, begin).length;
    if (!goes(begin, size)) break;
    begin += size;
  }
  while ((static_cast<int>(side) & static_cast<int>(Side::right)) != 0 && end > begin) {
    const std::size_t previous = previous_code_point(text, end);
    if (!goes(previous, end - previous)) break;
    end = previous;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    std::int64_t limit) {
  std::vector<std::string_view> parts;
  if (separator) {
    std::size_t at = text.find(*separator);
    for (; at != std::string_view::npos && limit != 0; at = text.find(*separator), --limit) {
      parts.push_back(text.substr(0, at));
      text.remove_prefix(at + separator->size());
    }
    parts.push_back(text);
    return parts;
  }
  text = strip(text, Side::left);
  while (!text.empty()) {
    if (limit-- == 0) {
      parts.push_back(strip(text, Side::right));
      break;
    }
    std::size_t end = 0;
    while (end < text.size() && !is_space(code_point_at(text, end).value))
      end += code_point_at(text, end).length;
    parts.push_back(text.substr(0, end));
    text = strip(text.substr(end), Side::left);
  }
  return parts;
}

std::vector<std::string_view> split_right(std::string_view text, std::optional<std::string_view> separator,
                                          std::int64_t limit) {
  if (limit < 0) return split(text, separator, limit);
  std::vector<std::string_view> parts;
  if (separator) {
    for (std::size_t at = text.rfind(*separator); at != std::string_view::npos && limit != 0;
         at = text.rfind(*separator), --limit) {
      parts.push_back(text.substr(at + separator->size()));
      text = text.substr(0, at);
    }
    parts.push_back(text);
  } else {
    text = strip(text, Side::right);
    while (!text.empty()) {
      if (limit-- == 0) {
        parts.push_back(strip(text, Side::left));
        break;
      }
      std::size_t begin = text.size();
      while (begin > 0 && !is_space(code_point_at(text, previous_code_point(text, begin)).value))
        begin = previous_code_point(text, begin);
      parts.push_back(text.substr(begin));
      text = strip(text.substr(0, begin), Side::right);
    }
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const std::size_t line_end = i;
    i += c.length;
    if (!is_line_end(c.value)) continue;
    if (c.value == '\r' && i < text.size() && text[i] == '\n') ++i;
    lines.push_back(text.substr(begin, (keep_ends ? i : line_end) - begin));
    begin = i;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t limit) {
  std::string out;
  if (from.empty()) {  // between all characters
    const auto parts = characters(text);
    for (std::size_t i = 0; i <= parts.size(); ++i) {
      if (limit-- != 0) {
        out += to;
      } else {
        limit = 0;
      }
      if (i < parts.size()) out += parts[i];
    }
    return out;
  }
  std::size_t begin = 0;
  for (std::size_t at = text.find(from); at != std::string_view::npos && limit != 0;
       at = text.find(from, begin), --limit) {
    out.append(text.substr(begin, at - begin)).append(to);
    begin = at + from.size();
  }
  return out.append(text.substr(begin));
}

std::string upper(std::string_view text) { return to_upper(text); }
std::string lower(std::string_view text) { return to_lower(text); }

std::string capitalize(std::string_view text) {
  return title_case(text, [](std::string_view, std::size_t) { return false; });
}

std::string title(std::string_view text) {
  return title_case(text, [](std::string_view all, std::size_t at) { return !is_cased_start(all, at); });
}

std::string jinja_title(std::string_view text) {
  return title_case(text, [](std::string_view all, std::size_t at) {
    const char32_t c = code_point_at(all, at).value;
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c);
  });
}

std::string pad(std::string_view text, std::int64_t width, std::string_view fill, Side text_side) {
  const auto size = static_cast<std::int64_t>(length(text));
  const std::int64_t missing = std::max<std::int64_t>(0, width - size);
  std::int64_t left = 0;
  if (text_side == Side::right) left = missing;
  if (text_side == Side::both) left = missing / 2 + (missing & width & 1);  // CPython's str.center
  std::string out;
  for (std::int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (std::int64_t i = left; i < missing; ++i) out += fill;
  return out;
}

std::optional<std::vector<std::size_t>> slice_positions(std::size_t size, std::optional<std::int64_t> begin,
                                                        std::optional<std::int64_t> end,
                                                        std::optional<std::int64_t> step) {
  const std::int64_t by = step.value_or(1);
  if (by == 0) return std::nullopt;
  const auto count = static_cast<std::int64_t>(size);
  const std::int64_t low = by > 0 ? 0 : -1;
  const std::int64_t high = by > 0 ? count : count - 1;
  const auto place = [&](std::int64_t at) {
    return std::clamp(at < 0 ? std::max(at, -count - 1) + count : at, low, high);
  };
  std::int64_t at = begin ? place(*begin) : by > 0 ? low : high;
  const std::int64_t stop = end ? place(*end) : by > 0 ? high : low;
  std::vector<std::size_t> positions;
  while (by > 0 ? at < stop : at > stop) {
    positions.push_back(static_cast<std::size_t>(at));
    if (by > 0 ? by >= stop - at : by <= stop - at) break;
    at += by;
  }
  return positions;
}

}  // namespace baton::text::jinja
