// The "pattern" objects of tokenizer.json: {"String": literal} or {"Regex": expression}.
#pragma once

#include <optional>

#include "text/json_fields.hpp"
#include "text/regex.hpp"

namespace baton::text {

// The pattern under `name`; nothing after an error.
std::optional<Regex> read_pattern(const Fields& fields, std::string_view name);
// Every match of `pattern` in `text` replaced.
std::string replace_all(std::string_view text, const Regex& pattern, std::string_view content);

}  // namespace baton::text
