// enum and const. What else the schema says must hold for their values as well; what cannot be checked here
// is refused.
#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "text/grammar_text/regex_tree.hpp"
#include "text/grammar_text/schema_number.hpp"
#include "text/grammar_text/schema_writer.hpp"

namespace baton::text {

namespace {

std::size_t characters_in(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// What else the schema says, read once for all values.
class Limits {
 public:
  Limits(SchemaWriter& writer, const Json& schema, const SchemaPlace& place)
      : numbers_(number_bounds(writer, schema, place)),
        least_(writer.count(schema, place, "minLength", 0)),
        most_(writer.count(schema, place, "maxLength", kNoLimit)) {
    constexpr std::array kChecked = {"minLength", "maxLength",        "format",          "minimum",
                                     "maximum",   "exclusiveMinimum", "exclusiveMaximum"};
    for (const auto& [key, value] : schema.items()) {
      const SchemaKeyword* keyword = schema_keyword(key);
      if (keyword != nullptr && keyword->types != kAllTypes &&
          std::ranges::find(kChecked, key) == kChecked.end())
        others_.push_back(keyword);
    }
  }

  // A keyword for this value that is not looked at here, or null.
  const SchemaKeyword* unchecked(const Json& value) const {
    const JsonTypes types = types_of(value);
    const auto found =
        std::ranges::find_if(others_, [&](const auto* other) { return (other->types & types) != 0; });
    return found == others_.end() ? nullptr : *found;
  }

  bool allow(const Json& value) const {
    if (value.is_number()) return lies_in(decimal_of(value), numbers_);
    if (!value.is_string()) return true;
    const std::size_t length = characters_in(value.get_ref<const std::string&>());
    return length >= least_ && length <= most_;
  }

 private:
  NumberRange numbers_;
  std::size_t least_;
  std::size_t most_;
  std::vector<const SchemaKeyword*> others_;
};

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
  const Limits limits(writer, schema, place);
  std::string body;
  for (const Json& value : values) {
    if (constant != schema.end() && *constant != value) continue;
    if ((types_of(value) & types) == 0) continue;
    if (const SchemaKeyword* keyword = limits.unchecked(value); keyword != nullptr) {
      writer.errors().unsupported(path_of(place.path, keyword->name),
                                  "is not supported together with enum or const");
      return "";
    }
    if (limits.allow(value)) body += (body.empty() ? "" : " | ") + json_constant(writer.out(), value);
  }
  if (body.empty())
    return writer.nothing(place, listed != schema.end() ? "enum" : "const",
                          "no value has the type and the limits");
  return writer.out().rule("constant", body);
}

}  // namespace baton::text
