// The rules of a grammar, and the forms that need no more than that.
#include "baton/text/grammar_text.hpp"

#include <algorithm>
#include <cctype>

#include "text/utf8.hpp"

namespace baton {

namespace {

constexpr std::string_view kDefines = " ::= ";
constexpr std::string_view kRoot = "root";

bool is_name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
}

std::string name_of(std::string_view wanted) {
  constexpr std::size_t kLongest = 64;
  std::string name(wanted.substr(0, kLongest));
  std::ranges::replace_if(
      name, [](char c) { return !is_name_character(c); }, '-');
  return name.empty() ? "rule" : name;
}

}  // namespace

std::string GrammarText::literal(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  const bool valid = text::is_valid_utf8(text);
  std::string written = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      written += {'\\', c};
    } else if (c == '\n') {
      written += "\\n";
    } else if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !valid)) {
      written += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      written += c;
    }
  }
  return written + '"';
}

std::string GrammarText::choice(std::span<const std::string> texts) {
  std::string body;
  for (const std::string& one : texts) body += (body.empty() ? "" : " | ") + literal(one);
  return rule("choice", body);
}

std::string GrammarText::reserve(std::string_view name) {
  const std::string wanted = name_of(name);
  std::string free = wanted;
  std::size_t& number = numbers_[wanted];
  while (free == kRoot || rules_.contains(free)) free = wanted + "-" + std::to_string(++number + 1);
  rules_.emplace(free, std::string());
  size_ += free.size() + kDefines.size() + 1;
  return free;
}

void GrammarText::define(const std::string& reserved, std::string_view body) {
  rules_[reserved] = body;
  keep(body, reserved);
  size_ += body.size();
}

std::string GrammarText::rule(std::string_view name, std::string_view body) {
  if (const std::string* same = known(body); same != nullptr) return *same;
  std::string reserved = reserve(name);
  define(reserved, body);
  return reserved;
}

const std::string* GrammarText::known(std::string_view form) const {
  const auto found = written_.find(form);
  return found == written_.end() ? nullptr : &found->second;
}

void GrammarText::keep(std::string_view form, const std::string& expression) {
  written_.emplace(form, expression);
}

std::string GrammarText::text(std::string_view root) const {
  std::string whole(kRoot);
  whole.append(kDefines).append(root).append("\n");
  for (const auto& [name, body] : rules_) whole.append(name).append(kDefines).append(body).append("\n");
  return whole;
}

}  // namespace baton
