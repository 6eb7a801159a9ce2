// enum and const. What else the schema says must hold for their values as well; what cannot be checked here
// is refused.
#include <algorithm>
#include <array>
#include <string_view>

#include "text/grammar_text/schema_number.hpp"
#include "text/grammar_text/schema_writer.hpp"
#include "text/utf8.hpp"

namespace baton::text {

namespace {

std::size_t characters_in(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// Keywords for this value's types that are not looked at below.
void refuse_others(SchemaWriter& writer, const Json& schema, const SchemaPlace& place, JsonTypes types) {
  constexpr std::array kChecked = {"minLength", "maxLength",        "format",          "minimum",
                                   "maximum",   "exclusiveMinimum", "exclusiveMaximum"};
  for (const auto& [key, value] : schema.items()) {
    const SchemaKeyword* keyword = schema_keyword(key);
    if (keyword == nullptr || keyword->types == kAllTypes || (keyword->types & types) == 0) continue;
    if (std::ranges::find(kChecked, key) == kChecked.end())
      writer.errors().unsupported(path_of(place.path, key), "is not supported together with enum or const");
  }
}

bool fits(SchemaWriter& writer, const Json& schema, const SchemaPlace& place, const Json& value) {
  refuse_others(writer, schema, place, types_of(value));
  if (value.is_number()) return lies_in(decimal_of(value), number_bounds(writer, schema, place));
  if (!value.is_string()) return true;
  const std::size_t length = characters_in(value.get_ref<const std::string&>());
  return length >= writer.count(schema, place, "minLength", 0) &&
         length <= writer.count(schema, place, "maxLength", length);
}

}  // namespace

std::optional<std::string> write_constants(SchemaWriter& writer, const Json& schema, const SchemaPlace& place,
                                           JsonTypes types) {
  const auto constant = schema.find("const");
  const auto listed = schema.find("enum");
  if (listed != schema.end() && (!listed->is_array() || listed->empty())) {
    writer.errors().invalid(path_of(place.path, "enum"), "must be a list of at least one value");
    return "";
  }
  const Json values = listed != schema.end() ? *listed : Json::array({*constant});
  std::string body;
  for (const Json& value : values) {
    if (constant != schema.end() && *constant != value) continue;
    if ((types_of(value) & types) == 0 || !fits(writer, schema, place, value)) continue;
    body += (body.empty() ? "" : " | ") + json_constant(writer.out(), value);
  }
  if (body.empty())
    return writer.nothing(place, listed != schema.end() ? "enum" : "const",
                          "no value has the type and the limits");
  return writer.out().rule("constant", body);
}

}  // namespace baton::text
