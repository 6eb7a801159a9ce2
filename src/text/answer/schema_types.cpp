#include "text/answer/schema_types.hpp"

#include <set>
#include <string>

#include "text/grammar_text/schema_refs.hpp"

namespace baton::text {
namespace {

using Values = std::vector<const Json*>;

constexpr int kMostSchemas = 256;  // looked at for one parameter: references may go in circles
constexpr std::size_t kForSchema = 64, kForMember = 8;  // spent on each

JsonTypes named(const Json& type) {
  if (!type.is_string()) return 0;
  const auto known = json_type(type.get_ref<const std::string&>());
  return known ? static_cast<JsonTypes>(*known) : JsonTypes{0};
}

class SchemaReader {
 public:
  SchemaReader(const Json& root, SchemaErrors& budget) : root_(root), budget_(budget) {}

  // None where the schema says nothing of types.
  JsonTypes types(const Json& schema) {
    if (!may_look_at(schema)) return 0;
    if (const Json* type = member(schema, "type")) return types_named(*type);
    if (const Json* values = member(schema, "enum"))
      return all_of(*values, [](const Json& value) { return types_of(value); });
    if (const Json* value = member(schema, "const")) return types_of(*value);
    JsonTypes found = 0;
    if (const Json* target = referred_to(schema)) found |= types(*target);
    for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
      if (const Json* several = member(schema, keyword))
        found |= all_of(*several, [this](const Json& one) { return types(one); });
    }
    if (found == 0 && member(schema, "properties") != nullptr)
      return static_cast<JsonTypes>(JsonType::object);
    if (found == 0 && member(schema, "items") != nullptr) return static_cast<JsonTypes>(JsonType::array);
    return found;
  }

  std::optional<Values> listed(const Json& schema) {
    if (schema == false) return Values{};
    if (!may_look_at(schema)) return std::nullopt;
    std::optional<Values> all;
    if (const Json* values = member(schema, "enum"); values != nullptr && values->is_array())
      narrow(all, elements(*values));
    if (const Json* value = member(schema, "const")) narrow(all, Values{value});
    if (const Json* target = referred_to(schema)) narrow(all, listed(*target));
    for (const char* keyword : {"anyOf", "oneOf"}) narrow(all, listed_by_any(member(schema, keyword)));
    if (const Json* several = member(schema, "allOf"); several != nullptr && several->is_array()) {
      for (const Json* one : elements(*several)) narrow(all, listed(*one));
    }
    if (const Json* type = member(schema, "type")) keep_types(all, types_named(*type));
    return budget_.any() ? std::nullopt : all;
  }

 private:
  bool may_look_at(const Json& schema) {
    if (!schema.is_object() || ++looked_at_ > kMostSchemas) return false;
    budget_.spend(kForSchema + kForMember * schema.size());
    return !budget_.any();
  }

  JsonTypes all_of(const Json& list, auto types_of_one) {
    JsonTypes all = 0;
    for (const Json* one : elements(list)) all |= types_of_one(*one);
    return all;
  }

  JsonTypes types_named(const Json& type) { return type.is_array() ? all_of(type, named) : named(type); }

  // None where it is no list.
  Values elements(const Json& list) {
    Values all;
    if (!list.is_array()) return all;
    budget_.spend(kForMember * list.size());
    if (budget_.any()) return all;
    all.reserve(list.size());
    for (const Json& one : list) all.push_back(&one);
    return all;
  }

  const Json* referred_to(const Json& schema) {
    const Json* reference = member(schema, "$ref");
    if (reference == nullptr) return nullptr;
    SchemaErrors ignored;  // but for the work
    const Json* target = find_schema(root_, *reference, {}, ignored).schema;
    budget_.spend(ignored.spent());
    return target;
  }

  std::optional<Values> listed_by_any(const Json* branches) {
    if (branches == nullptr || !branches->is_array() || branches->empty()) return std::nullopt;
    Values all;
    for (const Json* branch : elements(*branches)) {
      const auto values = listed(*branch);
      if (!values) return std::nullopt;
      budget_.spend(kForMember * values->size());
      if (budget_.any()) return std::nullopt;
      all.insert(all.end(), values->begin(), values->end());
    }
    return all;
  }

  // To those that are among `others` as well, where these are a list.
  void narrow(std::optional<Values>& all, std::optional<Values> others) {
    if (!all || !others) {
      if (others) all = std::move(others);
      return;
    }
    std::set<std::string> texts;
    for (const Json* value : *others) texts.insert(text_of(*value));
    std::erase_if(*all, [&](const Json* value) { return !texts.contains(text_of(*value)); });
  }

  std::string text_of(const Json& value) {
    if (budget_.any()) return {};
    std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    budget_.spend(text.size());
    return text;
  }

  static void keep_types(std::optional<Values>& all, JsonTypes types) {
    static const Json kNull;
    if (all) {
      std::erase_if(*all, [&](const Json* value) { return (types_of(*value) & types) == 0; });
    } else if (types == static_cast<JsonTypes>(JsonType::null)) {
      all = Values{&kNull};
    }
  }

  const Json& root_;
  SchemaErrors& budget_;
  int looked_at_ = 0;
};

}  // namespace

JsonTypes types_of_schema(const Json& schema, const Json& root, SchemaErrors& budget) {
  const JsonTypes types = SchemaReader(root, budget).types(schema);
  return types != 0 && !budget.any() ? types : static_cast<JsonTypes>(JsonType::string);
}

std::optional<Values> listed_values(const Json& schema, const Json& root, SchemaErrors& budget) {
  return SchemaReader(root, budget).listed(schema);
}

}  // namespace baton::text
