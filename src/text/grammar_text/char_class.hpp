// Sets of characters, and how a grammar writes them: as themselves, or as they stand inside a JSON string.
//
// Invariant: ranges are sorted, do not touch, and leave out the surrogates, which no UTF-8 text has.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace baton::text {

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

// The shortest spelling of one character inside a JSON string: itself, \" \\ \n or \u001F.
std::string json_spelling(char32_t character);

// An expression for one character of the set; "" where it is empty. Within a JSON string each character has
// just its shortest spelling.
std::string plain_class(const CharSet& set);
std::string json_class(const CharSet& set);

}  // namespace baton::text
