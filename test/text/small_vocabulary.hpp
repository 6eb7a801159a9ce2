// A tokenizer that is a list of tokens, for what needs a vocabulary and nothing else.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "baton/text/tokenizer.hpp"

namespace baton::test {

class SmallVocabulary final : public Tokenizer {
 public:
  // Empty tokens are special ones.
  explicit SmallVocabulary(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}

  std::vector<TokenId> encode(std::string_view text, EncodeOptions) const override {
    std::vector<TokenId> out;  // the longest token that fits, one after the other
    while (!text.empty()) {
      std::optional<TokenId> best;
      for (TokenId id = 0; std::cmp_less(id, tokens_.size()); ++id) {
        const std::string& token = tokens_[static_cast<std::size_t>(id)];
        if (!token.empty() && text.starts_with(token) && (!best || token.size() > token_bytes(*best).size()))
          best = id;
      }
      if (!best) return out;
      out.push_back(*best);
      text.remove_prefix(token_bytes(*best).size());
    }
    return out;
  }
  std::string decode(std::span<const TokenId> ids, bool) const override {
    std::string out;
    for (const TokenId id : ids) out += token_bytes(id);
    return out;
  }
  std::size_t vocab_size() const override { return tokens_.size(); }
  std::optional<TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string_view id_to_token(TokenId id) const override { return tokens_[static_cast<std::size_t>(id)]; }
  bool is_special(TokenId id) const override { return id_to_token(id).empty(); }
  std::string token_bytes(TokenId id) const override { return tokens_[static_cast<std::size_t>(id)]; }

 private:
  std::vector<std::string> tokens_;
};

// Every byte, then some tokens of several, among them ends of texts with what follows; the last is special.
inline std::vector<std::string> json_tokens() {
  std::vector<std::string> out;
  for (int byte = 0; byte < 256; ++byte) out.emplace_back(1, static_cast<char>(byte));
  for (const char* token :
       {"{\"",   "\":",  "\": ",     "\",",      "\", \"",   "\"}",       "\"]",      "\"}}",   "\"},{\"",
        "ab",    "abc",  "name",     "\"name",   "\"name\"", "\"name\":", "true",     "false",  "tr",
        "null",  "12",   "123",      "3.",       ".5",       "e1",        "  ",       "   ",    "\n  ",
        "[[",    "]]",   "],",       "],[",      "}}",       "}]",        ", ",       ",\"",    "\\\"",
        "\\u00", "\\\\", "\xC3\xA9", "\xE4\xBD", "\xA0",     "aaaa",      "aaaaaaaa", "a\"",    "aa\"}",
        "\"\"",  "[]",   "{}",       "{}}",      "<",        "</",        "</t",      "think>", "</think>\n"})
    out.emplace_back(token);
  out.emplace_back();
  return out;
}

}  // namespace baton::test
