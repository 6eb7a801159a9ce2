// The keywords of JSON Schema (2020-12, and what older drafts and clients still send): which of them limit
// what a value may be, and values of which type.
//
// Everything that is not here is an annotation, as the specification has it for keywords nobody knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "text/grammar_text/json_values.hpp"

namespace baton::text {

enum class JsonType : std::uint8_t {
  null = 1,
  boolean = 2,
  integer = 4,
  number = 8,
  string = 16,
  array = 32,
  object = 64,
};

// A set of types.
using JsonTypes = std::uint8_t;
inline constexpr JsonTypes kAllTypes = 127;
constexpr JsonTypes operator|(JsonType a, JsonType b) {
  return static_cast<JsonTypes>(static_cast<JsonTypes>(a) | static_cast<JsonTypes>(b));
}
constexpr bool contains(JsonTypes types, JsonType type) {
  return (types & static_cast<JsonTypes>(type)) != 0;
}

std::optional<JsonType> json_type(std::string_view name);
// The types that a value has: an integer is a number as well.
JsonTypes types_of(const Json& value);

struct SchemaKeyword {
  std::string_view name;
  JsonTypes types;  // of the values that it limits
  bool supported;
};

// Null for an annotation.
const SchemaKeyword* schema_keyword(std::string_view name);
// Whether the schema limits anything but by the keywords named here.
bool limits_beyond(const Json& schema, std::initializer_list<std::string_view> names);
// A keyword that limits values of these types in a way that is not supported, or null.
const SchemaKeyword* unsupported_keyword(const Json& schema, JsonTypes types);

}  // namespace baton::text
