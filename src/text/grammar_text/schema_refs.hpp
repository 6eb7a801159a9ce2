// Local references of a schema: "#", "#/$defs/node", "#/properties/a/items/0".
#pragma once

#include <string>
#include <string_view>

#include "text/grammar_text/json_values.hpp"
#include "text/grammar_text/schema_errors.hpp"

namespace baton::text {

struct SchemaTarget {
  const Json* schema = nullptr;  // null after an error
  std::string path;              // "$defs.node"
};

// `path` is where the reference stands, for the error.
SchemaTarget find_schema(const Json& root, const Json& reference, const std::string& path,
                         SchemaErrors& errors);

// Whether anything in `value` is nested deeper than `most`. Does not recurse.
bool nested_deeper(const Json& value, std::size_t most);

}  // namespace baton::text
