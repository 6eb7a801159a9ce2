// Finds markers in a text that comes character by character.
//
// Invariant: what may be the beginning of a marker is held back, and with it the white space before it; all
// else leaves at once and in order.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace baton::text {

class MarkerSearch {
 public:
  // None empty, none with white space in it, none the beginning of another.
  explicit MarkerSearch(std::vector<std::string_view> markers) : markers_(std::move(markers)) {}

  // Which marker `c` has completed. What can belong to none is appended to `free`.
  std::optional<std::size_t> take(char c, std::string& free);
  // What is held back, white space first; after a match, the marker and the white space before it.
  std::string take_held();

 private:
  std::vector<std::string_view> markers_;
  std::string space_;
  std::string partial_;
};

// Whether what was held back when the text ended is the beginning of `marker`, behind white space or not.
bool breaks_off_in(std::string_view marker, std::string_view held);

}  // namespace baton::text
