#include "text/grammar_text/schema_keywords.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace baton::text {

namespace {

constexpr JsonTypes kNumbers = JsonType::integer | JsonType::number;
constexpr JsonTypes kString = static_cast<JsonTypes>(JsonType::string);
constexpr JsonTypes kArray = static_cast<JsonTypes>(JsonType::array);
constexpr JsonTypes kObject = static_cast<JsonTypes>(JsonType::object);

constexpr std::array kKeywords = {
    SchemaKeyword{"$ref", kAllTypes, true},
    SchemaKeyword{"allOf", kAllTypes, true},
    SchemaKeyword{"anyOf", kAllTypes, true},
    SchemaKeyword{"oneOf", kAllTypes, true},
    SchemaKeyword{"type", kAllTypes, true},
    SchemaKeyword{"enum", kAllTypes, true},
    SchemaKeyword{"const", kAllTypes, true},
    SchemaKeyword{"not", kAllTypes, false},
    SchemaKeyword{"if", kAllTypes, false},
    SchemaKeyword{"$dynamicRef", kAllTypes, false},
    SchemaKeyword{"$recursiveRef", kAllTypes, false},
    SchemaKeyword{"minimum", kNumbers, true},
    SchemaKeyword{"maximum", kNumbers, true},
    SchemaKeyword{"exclusiveMinimum", kNumbers, true},
    SchemaKeyword{"exclusiveMaximum", kNumbers, true},
    SchemaKeyword{"multipleOf", kNumbers, false},
    SchemaKeyword{"minLength", kString, true},
    SchemaKeyword{"maxLength", kString, true},
    SchemaKeyword{"pattern", kString, true},
    SchemaKeyword{"format", kString, true},
    SchemaKeyword{"items", kArray, true},
    SchemaKeyword{"prefixItems", kArray, true},
    SchemaKeyword{"additionalItems", kArray, true},
    SchemaKeyword{"minItems", kArray, true},
    SchemaKeyword{"maxItems", kArray, true},
    SchemaKeyword{"uniqueItems", kArray, false},
    SchemaKeyword{"contains", kArray, false},
    SchemaKeyword{"unevaluatedItems", kArray, false},
    SchemaKeyword{"properties", kObject, true},
    SchemaKeyword{"required", kObject, true},
    SchemaKeyword{"additionalProperties", kObject, true},
    SchemaKeyword{"propertyNames", kObject, true},
    SchemaKeyword{"minProperties", kObject, true},
    SchemaKeyword{"maxProperties", kObject, true},
    SchemaKeyword{"patternProperties", kObject, false},
    SchemaKeyword{"dependentRequired", kObject, false},
    SchemaKeyword{"dependentSchemas", kObject, false},
    SchemaKeyword{"dependencies", kObject, false},
    SchemaKeyword{"unevaluatedProperties", kObject, false},
};

// Some say nothing with what they are given: {"uniqueItems": false}.
bool says_nothing(std::string_view name, const Json& value) {
  if (name == "uniqueItems") return value == false;
  if (name == "unevaluatedItems" || name == "unevaluatedProperties")
    return value == true || value == Json::object();
  if (name == "patternProperties" || name.starts_with("depend")) return value == Json::object();
  return false;
}

}  // namespace

std::optional<JsonType> json_type(std::string_view name) {
  if (name == "null") return JsonType::null;
  if (name == "boolean") return JsonType::boolean;
  if (name == "integer") return JsonType::integer;
  if (name == "number") return JsonType::number;
  if (name == "string") return JsonType::string;
  if (name == "array") return JsonType::array;
  if (name == "object") return JsonType::object;
  return std::nullopt;
}

JsonTypes types_of(const Json& value) {
  if (value.is_null()) return static_cast<JsonTypes>(JsonType::null);
  if (value.is_boolean()) return static_cast<JsonTypes>(JsonType::boolean);
  if (value.is_string()) return kString;
  if (value.is_array()) return kArray;
  if (value.is_object()) return kObject;
  const bool whole = value.is_number_integer() || std::trunc(value.get<double>()) == value.get<double>();
  return whole ? kNumbers : static_cast<JsonTypes>(JsonType::number);
}

const SchemaKeyword* schema_keyword(std::string_view name) {
  const auto* found = std::ranges::find(kKeywords, name, &SchemaKeyword::name);
  return found == kKeywords.end() ? nullptr : found;
}

bool limits_beyond(const Json& schema, std::initializer_list<std::string_view> names) {
  for (const auto& [key, value] : schema.items()) {
    if (std::ranges::find(names, key) == names.end() && schema_keyword(key) != nullptr &&
        !says_nothing(key, value))
      return true;
  }
  return false;
}

const SchemaKeyword* unsupported_keyword(const Json& schema, JsonTypes types) {
  for (const auto& [key, value] : schema.items()) {
    const SchemaKeyword* keyword = schema_keyword(key);
    if (keyword != nullptr && !keyword->supported && (keyword->types & types) != 0 &&
        !says_nothing(key, value))
      return keyword;
  }
  return nullptr;
}

}  // namespace baton::text
