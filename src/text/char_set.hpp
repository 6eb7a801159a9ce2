// Sets of characters of Unicode.
//
// Invariant: ranges are sorted, do not touch, and leave out the surrogates, which no UTF-8 text has.
#pragma once

#include <optional>
#include <vector>

namespace baton::text {

inline constexpr char32_t kLastCharacter = 0x10FFFF;

class CharSet {
 public:
  struct Range {
    char32_t low = 0;
    char32_t high = 0;  // inclusive
    bool operator==(const Range&) const = default;
  };

  CharSet() = default;
  explicit CharSet(const std::vector<Range>& ranges);  // in any order
  static CharSet one(char32_t character) { return CharSet({{character, character}}); }

  CharSet complement() const;
  const std::vector<Range>& ranges() const { return ranges_; }
  bool contains(char32_t character) const;
  std::optional<char32_t> single() const;  // its character where it has just one
  bool operator==(const CharSet&) const = default;

 private:
  std::vector<Range> ranges_;
};

}  // namespace baton::text
