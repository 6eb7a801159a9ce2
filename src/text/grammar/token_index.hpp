// A vocabulary in bands of tokens of about one length, each in the order of its tokens' bytes, so that
// walking a band through an automaton takes each common beginning once.
//
// Bands are there for texts that may only be so long: near such a bound a mask changes with each character,
// but only for tokens that reach the bound. Tokens without bytes and special tokens, but for a format's
// markers, are in no band: no text can ask for them. Immutable.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "baton/text/tokenizer.hpp"

namespace baton::text {

using Entry = std::uint32_t;  // a token's place in its band's order

class TokenBand {
 public:
  // Not empty, ascending.
  explicit TokenBand(const std::vector<std::pair<std::string, TokenId>>& tokens);

  std::size_t longest() const { return longest_; }  // bytes of a token
  Entry size() const { return static_cast<Entry>(ids_.size()); }
  TokenId id(Entry entry) const { return ids_[entry]; }
  std::string_view bytes(Entry entry) const {
    return std::string_view(text_).substr(begins_[entry], begins_[entry + 1] - begins_[entry]);
  }
  Entry first_with(std::size_t byte) const { return firsts_[byte]; }  // or a higher first byte; byte <= 256
  // The first entry behind `entry` that differs from it in its first `length` bytes.
  Entry skip(Entry entry, std::size_t length) const;

 private:
  std::string text_;
  std::vector<std::uint32_t> begins_;  // by entry, and the end
  std::vector<TokenId> ids_;           // by entry
  std::array<Entry, 257> firsts_{};
  std::size_t longest_ = 0;
};

class TokenIndex {
 public:
  // `ends`: the end-of-sequence tokens, which are no text either.
  TokenIndex(const Tokenizer& tokenizer, std::vector<TokenId> ends, const std::vector<TokenId>& markers);

  std::size_t vocabulary() const { return places_.size(); }
  std::size_t total_bytes() const { return total_bytes_; }        // of all tokens
  const std::vector<TokenBand>& bands() const { return bands_; }  // shorter ones first
  const std::vector<TokenId>& ends() const { return ends_; }
  // Empty for tokens that are in no band.
  std::string_view bytes(TokenId id) const;

 private:
  struct Place {
    std::uint32_t band = 0;  // counts from 1
    Entry entry = 0;
  };

  std::vector<TokenBand> bands_;
  std::vector<Place> places_;  // by token
  std::vector<TokenId> ends_;
  std::size_t total_bytes_ = 0;
};

}  // namespace baton::text
