#include "text/grammar_text/schema_merge.hpp"

#include <algorithm>

#include "text/grammar_text/schema_keywords.hpp"
#include "text/grammar_text/schema_refs.hpp"

namespace baton::text {

namespace {

constexpr int kMostReferences = 64;  // one behind the other

Json together(const Json& a, const Json& b) {
  if (a == b || b == true) return a;
  if (a == true) return b;
  if (a == false || b == false) return false;
  return {{"allOf", Json::array({a, b})}};
}

Json field(const Json& schema, const std::string& key, const Json& otherwise) {
  const auto found = schema.find(key);
  return found == schema.end() ? otherwise : *found;
}

bool has_properties(const Json& schema) {
  return schema.contains("properties") || schema.contains("additionalProperties");
}
bool has_items(const Json& schema) { return schema.contains("items") || schema.contains("prefixItems"); }

// What it costs to copy or compare a value.
std::size_t weight(const Json& value) {
  if (value.is_string()) return 32 + value.get_ref<const std::string&>().size();
  std::size_t sum = 32;
  if (!value.is_structured()) return sum;
  for (const Json& inside : value) sum += weight(inside);
  return sum;
}

Json common_types(const Json& a, const Json& b) {
  const Json left = a.is_array() ? a : Json::array({a});
  const Json right = b.is_array() ? b : Json::array({b});
  Json common = Json::array();
  const auto has = [](const Json& list, const char* type) {
    return std::ranges::find(list, Json(type)) != list.end();
  };
  for (const Json& type : left) {
    const bool narrower = type == "integer" && has(right, "number");
    if (narrower || std::ranges::find(right, type) != right.end()) common.push_back(type);
  }
  if (has(left, "number") && !has(left, "integer") && has(right, "integer") && !has(right, "number"))
    common.push_back("integer");
  return common;
}

Json common_values(const Json& a, const Json& b) {
  Json common = Json::array();
  for (const Json& value : a) {
    if (std::ranges::find(b, value) != b.end()) common.push_back(value);
  }
  return common;
}

// What limits values: not the definitions that stand beside it.
Json limits_of(const Json& schema) {
  Json limits = Json::object();
  for (const auto& [key, value] : schema.items()) {
    if (schema_keyword(key) != nullptr) limits[key] = value;
  }
  return limits;
}

// {"enum": [...]} for {"const": ...}, so that both can be compared.
Json with_enum(Json schema) {
  const auto found = schema.find("const");
  if (found == schema.end()) return schema;
  const Json value = *found;
  schema.erase("const");
  const auto listed = schema.find("enum");
  schema["enum"] = listed != schema.end() && listed->is_array() ? common_values(Json::array({value}), *listed)
                                                                : Json::array({value});
  return schema;
}

}  // namespace

Json SchemaMerger::flat(const Json& schema, const std::string& path, int depth) {
  if (errors_.any() || !schema.is_object()) return schema;
  if (depth > kMostReferences) {
    errors_.invalid(path, "references that lead in a circle, or too many of them");
    return schema;
  }
  Json own = limits_of(schema);  // without those keywords that are resolved here
  errors_.spend(weight(own));
  for (const char* keyword : {"$ref", "allOf", "oneOf"}) own.erase(keyword);
  if (schema.contains("$ref")) {
    const SchemaTarget target = find_schema(root_, schema["$ref"], path_of(path, "$ref"), errors_);
    if (target.schema == nullptr) return schema;
    own = both(flat(*target.schema, target.path, depth + 1), own, path);
  }
  if (schema.contains("allOf")) {
    const Json& parts = schema["allOf"];
    if (!parts.is_array() || parts.empty())
      errors_.invalid(path_of(path, "allOf"), "must be a list of schemas");
    if (errors_.any()) return schema;
    for (const Json& part : parts) own = both(own, flat(part, path_of(path, "allOf"), depth + 1), path);
  }
  if (schema.contains("oneOf")) own = both(own, Json{{"anyOf", schema["oneOf"]}}, path);
  return own;
}

Json SchemaMerger::both(const Json& first, const Json& second, const std::string& path) {
  if (errors_.any() || first == true) return second;
  if (second == true) return first;
  if (first == false || second == false) return false;
  if (!first.is_object() || !second.is_object()) {
    errors_.invalid(path, "must be an object or a boolean");
    return false;
  }
  const Json a = with_enum(first);
  const Json b = with_enum(second);
  errors_.spend(weight(a) + weight(b));
  Json whole = a;
  for (const auto& [key, value] : b.items()) {
    const auto own = a.find(key);
    if (own == a.end()) {
      whole[key] = value;
    } else if (*own != value && schema_keyword(key) != nullptr) {
      combine(whole, key, *own, value, path);
    }
  }
  if (has_properties(a) && has_properties(b)) combine_properties(whole, a, b);
  if (has_items(a) && has_items(b)) combine_items(whole, a, b, path);
  for (const char* list : {"type", "enum"}) {
    if (whole.contains(list) && whole[list].is_array() && whole[list].empty()) return false;
  }
  return whole;
}

void SchemaMerger::combine(Json& into, const std::string& key, const Json& a, const Json& b,
                           const std::string& path) {
  const bool numbers = a.is_number() && b.is_number();
  const bool lists = a.is_array() && b.is_array();
  if (lists) errors_.spend(b.size() * weight(a) + a.size() * weight(b));  // each is compared with each
  if (errors_.any()) return;
  if (key == "type") {
    into[key] = common_types(a, b);
  } else if (key == "enum" && lists) {
    into[key] = common_values(a, b);
  } else if (key == "required" && lists) {
    for (const Json& name : b) {
      if (std::ranges::find(a, name) == a.end()) into[key].push_back(name);
    }
  } else if (key == "anyOf" && lists) {
    Json pairs = Json::array();
    for (const Json& left : a) {
      for (const Json& right : b) {
        if (!errors_.any()) pairs.push_back(together(left, right));
      }
    }
    into[key] = std::move(pairs);
  } else if (numbers && (key.starts_with("min") || key == "exclusiveMinimum")) {
    into[key] = std::max(a, b);
  } else if (numbers && (key.starts_with("max") || key == "exclusiveMaximum")) {
    into[key] = std::min(a, b);
  } else if (key == "propertyNames") {
    into[key] = together(a, b);
  } else if (key != "properties" && key != "additionalProperties" && key != "items" && key != "prefixItems") {
    errors_.unsupported(path_of(path, key), "cannot be combined with another " + key + " for the same value");
  }
}

// What additionalProperties says of one schema's own names, it says of the other's that it does not know.
void SchemaMerger::combine_properties(Json& into, const Json& a, const Json& b) {
  const Json left = field(a, "properties", Json::object());
  const Json right = field(b, "properties", Json::object());
  const Json left_rest = field(a, "additionalProperties", true);
  const Json right_rest = field(b, "additionalProperties", true);
  if (!left.is_object() || !right.is_object()) return;  // which is an error where it is read
  errors_.spend(left.size() * right.size());
  if (errors_.any()) return;
  Json properties = Json::object();
  for (const auto& [name, schema] : left.items())
    properties[name] = together(schema, field(right, name, right_rest));
  for (const auto& [name, schema] : right.items()) {
    if (!left.contains(name)) properties[name] = together(left_rest, schema);
  }
  into["properties"] = std::move(properties);
  into["additionalProperties"] = together(left_rest, right_rest);
}

void SchemaMerger::combine_items(Json& into, const Json& a, const Json& b, const std::string& path) {
  const Json left = field(a, "prefixItems", Json::array());
  const Json right = field(b, "prefixItems", Json::array());
  const Json left_rest = field(a, "items", true);
  const Json right_rest = field(b, "items", true);
  if (!left.is_array() || !right.is_array() || left_rest.is_array() || right_rest.is_array()) {
    errors_.unsupported(path_of(path, "items"), "cannot be combined with another items for the same value");
    return;
  }
  Json prefix = Json::array();
  for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    prefix.push_back(
        together(i < left.size() ? left[i] : left_rest, i < right.size() ? right[i] : right_rest));
  }
  if (!prefix.empty()) into["prefixItems"] = std::move(prefix);
  into["items"] = together(left_rest, right_rest);
}

}  // namespace baton::text
