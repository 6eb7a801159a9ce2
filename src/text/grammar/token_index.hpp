// A vocabulary in the order of its tokens' bytes, so that walking all tokens through an automaton takes each
// common beginning once.
//
// Tokens without bytes and special tokens, but for a format's markers, are not in it: no text can ask for
// them. Immutable.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "baton/text/tokenizer.hpp"

namespace baton::text {

using Entry = std::uint32_t;  // a token's place in the order

class TokenIndex {
 public:
  static constexpr Entry kNone = UINT32_MAX;

  // `ends`: the end-of-sequence tokens, which are no text either.
  TokenIndex(const Tokenizer& tokenizer, std::vector<TokenId> ends, const std::vector<TokenId>& markers);

  std::size_t vocabulary() const { return entries_.size(); }
  std::size_t longest() const { return longest_; }  // bytes of a token
  const std::vector<TokenId>& ends() const { return ends_; }

  Entry size() const { return static_cast<Entry>(ids_.size()); }
  TokenId id(Entry entry) const { return ids_[entry]; }
  std::string_view bytes(Entry entry) const {
    return std::string_view(text_).substr(begins_[entry], begins_[entry + 1] - begins_[entry]);
  }
  // kNone for tokens that are not in it.
  Entry entry_of(TokenId id) const {
    const auto i = static_cast<std::size_t>(id);
    return id >= 0 && i < entries_.size() ? entries_[i] : kNone;
  }
  Entry first_with(std::size_t byte) const { return firsts_[byte]; }  // or a higher first byte; byte <= 256
  // The first entry behind `entry` that differs from it in its first `length` bytes.
  Entry skip(Entry entry, std::size_t length) const;

 private:
  std::string text_;
  std::vector<std::uint32_t> begins_;  // by entry, and the end
  std::vector<TokenId> ids_;           // by entry
  std::vector<Entry> entries_;         // by token
  std::array<Entry, 257> firsts_{};
  std::vector<TokenId> ends_;
  std::size_t longest_ = 0;
};

}  // namespace baton::text
