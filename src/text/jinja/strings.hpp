// Python's str, on UTF-8: what the filters, methods and operators share. Positions are code points where a
// name says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace baton::text::jinja {

std::string quoted_text(std::string_view text);  // repr

bool is_space(char32_t c);                  // str.isspace
std::size_t length(std::string_view text);  // in code points
std::vector<std::string_view> characters(std::string_view text);

enum class Side : std::uint8_t { left = 1, right = 2, both = 3 };
// Without `set`, white space goes.
std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> set = std::nullopt);

// str.split; without a separator, at runs of white space. `limit` < 0 is none.
std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    std::int64_t limit);
std::vector<std::string_view> split_right(std::string_view text, std::optional<std::string_view> separator,
                                          std::int64_t limit);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t limit);
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);        // str.title: after every character that is no letter
std::string jinja_title(std::string_view text);  // the filter: after space, hyphen and brackets
std::string pad(std::string_view text, std::int64_t width, std::string_view fill, Side text_side);

// Python's slice over `size` items: the chosen positions, in order. Step 0 gives nothing.
std::optional<std::vector<std::size_t>> slice_positions(std::size_t size, std::optional<std::int64_t> begin,
                                                        std::optional<std::int64_t> end,
                                                        std::optional<std::int64_t> step);

}  // namespace baton::text::jinja
