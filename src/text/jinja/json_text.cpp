// json.dumps, byte for byte.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja/value.hpp"
#include "text/utf8.hpp"

namespace baton::text::jinja {
namespace {

class Writer {
 public:
  explicit Writer(const JsonStyle& style) : style_(style) {}

  std::string out;
  std::string problem;

  void write(const Value& value, std::size_t level) {
    if (value.is_none()) {
      out += "null";
    } else if (const bool* flag = value.as_boolean()) {
      out += *flag ? "true" : "false";
    } else if (const auto number = value.as_integer()) {
      out += std::to_string(*number);
    } else if (const double* number_float = value.as_float()) {
      out += number_text(*number_float);
    } else if (const auto* text = value.as_string()) {
      string(*text);
    } else if (const auto* list = value.as_list()) {
      array(*list, level);
    } else if (const auto* dict = value.as_dict()) {
      object(*dict, level);
    } else {
      problem = std::string("Object of type ") + value.type_name() + " is not JSON serializable";
    }
  }

 private:
  static std::string number_text(double number) {
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return float_text(number);
  }

  void string(std::string_view text) {
    out += '"';
    for (std::size_t i = 0; i < text.size();) {
      const CodePoint c = code_point_at(text, i);
      character(c.value, text.substr(i, c.length));
      i += c.length;
    }
    out += '"';
  }

  void character(char32_t c, std::string_view bytes) {
    static constexpr std::string_view kNamed = "\"\\\n\r\t\b\f";
    static constexpr std::string_view kLetters = "\"\\nrtbf";
    const std::size_t named = c < 0x80 ? kNamed.find(static_cast<char>(c)) : std::string_view::npos;
    if (named != std::string_view::npos) {
      out += '\\';
      out += kLetters[named];
    } else if (c < 0x20 || (style_.ensure_ascii && c >= 0x7F)) {
      if (c >= 0x10000) {
        unit(static_cast<unsigned>(0xD800 + ((c - 0x10000) >> 10)));
        c = 0xDC00 + ((c - 0x10000) & 0x3FF);
      }
      unit(static_cast<unsigned>(c));
    } else {
      out += bytes;
    }
  }
  void unit(unsigned code) {
    char buffer[8];
    std::snprintf(buffer, sizeof buffer, "\\u%04x", code);
    out += buffer;
  }

  void line(std::size_t level) {
    if (!style_.indent) return;
    out += '\n';
    for (std::size_t i = 0; i < level; ++i) out += *style_.indent;
  }

  void array(const List& list, std::size_t level) {
    if (list.items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line(level + 1);
      write(list.items[i], level + 1);
    }
    line(level);
    out += ']';
  }

  void object(const Dict& dict, std::size_t level) {
    std::vector<std::pair<std::string, const Value*>> entries;
    for (const auto& [key, value] : dict.entries()) entries.emplace_back(key_text(key), &value);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    if (entries.empty()) {
      out += "{}";
      return;
    }
    out += '{';
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line(level + 1);
      string(entries[i].first);
      out += style_.key_separator;
      write(*entries[i].second, level + 1);
    }
    line(level);
    out += '}';
  }

  std::string key_text(const Value& key) {
    if (const auto* text = key.as_string()) return *text;
    if (key.is_none()) return "null";
    if (const bool* flag = key.as_boolean()) return *flag ? "true" : "false";
    if (const auto number = key.as_integer()) return std::to_string(*number);
    if (const double* number = key.as_float()) return number_text(*number);
    problem = std::string("keys must be str, int, float, bool or None, not ") + key.type_name();
    return {};
  }

  const JsonStyle& style_;
};

}  // namespace

std::optional<std::string> to_json(const Value& value, const JsonStyle& style, std::string& problem) {
  Writer writer(style);
  writer.write(value, 0);
  problem = std::move(writer.problem);
  return problem.empty() ? std::optional(std::move(writer.out)) : std::nullopt;
}

}  // namespace baton::text::jinja
