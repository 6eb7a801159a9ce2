#include "text/oniguruma.hpp"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <initializer_list>
#include <utility>

#include "text/unicode_additions.hpp"

namespace baton::text {
namespace {

// What PCRE2's own tables may lack of a property, as members of a class. `classes` are prefixes of general
// categories.
std::string additions(std::initializer_list<std::string_view> classes) {
  std::string members;
  for (const UnicodeAddition& addition : unicode_additions()) {
    const auto fits = [&](std::string_view prefix) { return addition.category.starts_with(prefix); };
    if (std::none_of(classes.begin(), classes.end(), fits)) continue;
    char range[32];
    std::snprintf(range, sizeof range, "\\x{%X}-\\x{%X}", static_cast<unsigned>(addition.first),
                  static_cast<unsigned>(addition.last));
    members += range;
  }
  return members;
}

// Oniguruma's \w; it counts the superscripts and fractions of Latin-1.
std::string word_class() {
  return "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe" + additions({"L", "M", "Nd", "Pc"});
}

// The members of a class that has the property `name`.
std::string property_class(std::string_view name) {
  static constexpr std::pair<std::string_view, std::string_view> kLongNames[] = {
      {"Letter", "L"}, {"Mark", "M"}, {"Number", "N"}, {"Punctuation", "P"}, {"Symbol", "S"}};
  static constexpr std::string_view kBinary[] = {"Alphabetic", "White_Space", "Any",
                                                 "Emoji",      "Lowercase",   "Uppercase"};
  for (const auto& [long_name, category] : kLongNames) {
    if (name == long_name) name = category;
  }
  // PCRE2 would take a script's extensions, too, if it were not told to use the script alone.
  if (name == "Han") return "\\p{sc:Han}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}";
  const std::string known = "\\p{" + std::string(name) + "}";
  if (name.size() <= 2) return known + additions({name});
  if (std::find(std::begin(kBinary), std::end(kBinary), name) != std::end(kBinary)) return known;
  return "\\p{sc:" + std::string(name) + "}";
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else {
        plain_character(c);
      }
      if (!problem_.empty()) {
        return make_error(ErrorCode::unsupported,
                          "regular expression \"" + std::string(pattern_) + "\": " + problem_);
      }
    }
    return std::move(out_);
  }

 private:
  void escape() {
    if (at_ + 1 >= pattern_.size()) {
      problem_ = "it ends in a backslash";
      return;
    }
    const char c = pattern_[at_ + 1];
    at_ += 2;
    switch (c) {
      case 's':
        return add_class("\\p{White_Space}", false);
      case 'S':
        return add_class("\\p{White_Space}", true);
      case 'd':
        return add_class(property_class("Nd"), false);
      case 'D':
        return add_class(property_class("Nd"), true);
      case 'w':
        return add_class(word_class(), false);
      case 'W':
        return add_class(word_class(), true);
      case 'h':
        return add_class("0-9a-fA-F", false);
      case 'p':
        return property(false);
      case 'P':
        return property(true);
      case 'u':
        return unicode_escape();
      case 'b':
      case 'B':
        if (!in_class_) problem_ = "word boundaries";
        break;
      case 'H':
      case 'X':
      case 'C':
      case 'g':
      case 'K':
        problem_ = std::string("\\") + c;
        break;
      default:
        break;
    }
    out_ += '\\';
    out_ += c;
    if (c == 'x' && at_ < pattern_.size() && pattern_[at_] == '{') out_ += braces();
  }

  // A {...} that is no interval, braces included.
  std::string_view braces() {
    const std::size_t end = std::min(pattern_.find('}', at_), pattern_.size() - 1);
    const std::string_view text = pattern_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    return text;
  }

  void property(bool negated) {
    const std::string_view braced = at_ < pattern_.size() && pattern_[at_] == '{' ? braces() : "";
    if (braced.size() < 3) {
      problem_ = "a property without a name";
      return;
    }
    std::string_view name = braced.substr(1, braced.size() - 2);
    if (name.starts_with('^')) {
      name.remove_prefix(1);
      negated = !negated;
    }
    add_class(property_class(name), negated);
  }

  // Members of the class that is open, or a class of their own.
  void add_class(const std::string& members, bool negated) {
    const bool one_property = members.starts_with("\\p{") && members.find('}') == members.size() - 1;
    if (one_property) {
      out_ += (negated ? "\\P" : "\\p") + members.substr(2);
    } else if (!in_class_) {
      out_ += (negated ? "[^" : "[") + members + "]";
    } else if (!negated) {
      out_ += members;
    } else {
      problem_ = "a negated property inside a class";
    }
  }

  void unicode_escape() {
    std::string digits;
    while (digits.size() < 4 && at_ < pattern_.size() &&
           std::isxdigit(static_cast<unsigned char>(pattern_[at_]))) {
      digits += pattern_[at_++];
    }
    if (digits.size() != 4) problem_ = "\\u needs four digits";
    out_ += "\\x{" + digits + "}";
  }

  void class_character(char c) {
    if (c == '[' && pattern_.substr(at_, 2) == "[:") {
      const std::size_t end = pattern_.find(":]", at_);
      if (end == std::string_view::npos) {
        problem_ = "an open class";
        return;
      }
      out_ += pattern_.substr(at_, end + 2 - at_);
      at_ = end + 2;
      return;
    }
    if (c == '[') problem_ = "a class inside a class";
    if (pattern_.substr(at_, 2) == "&&") problem_ = "an intersection of classes";
    if (c == ']' && at_ != class_begin_) in_class_ = false;
    out_ += c;
    ++at_;
  }

  void plain_character(char c) {
    const std::string_view rest = pattern_.substr(at_);
    if (c == '[') {
      in_class_ = true;
      class_begin_ = at_ + (rest.starts_with("[^") ? 2 : 1);
      out_ += pattern_.substr(at_, class_begin_ - at_);
      at_ = class_begin_;
      return;
    }
    if (rest.starts_with("}+")) problem_ = "a repeated interval";  // possessive in PCRE2, not in Ruby
    if (rest.starts_with("(*")) problem_ = "verbs";
    if (rest.starts_with("(?")) {
      const std::size_t end = std::min(rest.find_first_not_of("imx-", 2), rest.size());
      if (rest.substr(2, end - 2).find_first_of("mx") != std::string_view::npos)
        problem_ = "the options m and x";
    }
    out_ += c;
    ++at_;
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::size_t class_begin_ = 0;  // a ']' here is a member, not the end
  std::string out_;
  std::string problem_;
};

}  // namespace

Result<std::string> oniguruma_to_pcre2(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace baton::text
