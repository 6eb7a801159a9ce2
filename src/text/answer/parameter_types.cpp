#include "baton/text/parameter_types.hpp"

#include "text/answer/schema_types.hpp"
#include "text/grammar_text/schema_refs.hpp"

namespace baton {
namespace {

using text::Json;
using text::JsonType;
using text::JsonTypes;

constexpr int kMostSchemas = 256;  // looked at for one parameter: references may go in circles

// Null where it is not there, also where `object` is none.
const Json* member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

JsonTypes named(const Json& type) {
  if (!type.is_string()) return 0;
  const auto known = text::json_type(type.get_ref<const std::string&>());
  return known ? static_cast<JsonTypes>(*known) : JsonTypes{0};
}

class SchemaReader {
 public:
  explicit SchemaReader(const Json& root) : root_(root) {}

  // None where the schema says nothing of types.
  JsonTypes types(const Json& schema) {
    if (!schema.is_object() || ++looked_at_ > kMostSchemas) return 0;
    if (const Json* type = member(schema, "type"))
      return type->is_array() ? all_of(*type, [](const Json& one) { return named(one); }) : named(*type);
    if (const Json* values = member(schema, "enum"))
      return all_of(*values, [](const Json& value) { return text::types_of(value); });
    if (const Json* value = member(schema, "const")) return text::types_of(*value);
    JsonTypes found = 0;
    if (const Json* reference = member(schema, "$ref")) {
      text::SchemaErrors ignored;
      const Json* target = text::find_schema(root_, *reference, {}, ignored).schema;
      if (target != nullptr) found |= types(*target);
    }
    for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
      if (const Json* several = member(schema, keyword))
        found |= all_of(*several, [this](const Json& one) { return types(one); });
    }
    if (found == 0 && member(schema, "properties") != nullptr)
      return static_cast<JsonTypes>(JsonType::object);
    if (found == 0 && member(schema, "items") != nullptr) return static_cast<JsonTypes>(JsonType::array);
    return found;
  }

 private:
  static JsonTypes all_of(const Json& list, auto types_of_one) {
    JsonTypes all = 0;
    if (!list.is_array()) return all;
    for (const Json& one : list) all |= types_of_one(one);
    return all;
  }

  const Json& root_;
  int looked_at_ = 0;
};

}  // namespace

JsonTypes text::types_of_schema(const Json& schema, const Json& root) {
  const JsonTypes types = SchemaReader(root).types(schema);
  return types != 0 ? types : static_cast<JsonTypes>(JsonType::string);
}

ParameterTypes::ParameterTypes(const Json& tools) {
  if (!tools.is_array()) return;
  for (const Json& tool : tools) {
    const Json* function = member(tool, "function");
    const Json* name = function == nullptr ? nullptr : member(*function, "name");
    const Json* schema = function == nullptr ? nullptr : member(*function, "parameters");
    const Json* properties = schema == nullptr ? nullptr : member(*schema, "properties");
    if (name == nullptr || !name->is_string() || properties == nullptr || !properties->is_object()) continue;
    Parameters& parameters = functions_[name->get<std::string>()];
    for (const auto& [key, value] : properties->items())
      parameters.emplace(key, text::types_of_schema(value, *schema));
  }
}

JsonTypes ParameterTypes::of(std::string_view function, std::string_view parameter) const {
  const auto known = functions_.find(function);
  if (known != functions_.end()) {
    const auto found = known->second.find(parameter);
    if (found != known->second.end()) return found->second;
  }
  return static_cast<JsonTypes>(JsonType::string);
}

}  // namespace baton
