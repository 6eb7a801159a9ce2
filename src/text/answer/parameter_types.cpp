#include "baton/text/parameter_types.hpp"

#include "text/answer/schema_types.hpp"

namespace baton {
namespace {

using text::Json;
using text::JsonType;
using text::JsonTypes;
using text::member;

// What a text may be read as where the schema lists its values. Null, too, where its type says so and no
// listed string looks like it: whoever writes {"type": ["string", "null"], "enum": ["a", "b"]} means that.
void read_only_listed(ParameterType& type, const std::vector<const Json*>& values,
                      text::SchemaErrors& budget) {
  Json others = Json::array();
  bool null = text::contains(type.types, JsonType::null);
  for (const Json* value : values) {
    if (value->is_string()) {
      null = null && *value != "null" && *value != "None";
    } else {
      budget.spend(value->dump().size());
      if (budget.any()) return;
      others.push_back(*value);
    }
  }
  if (null) others.push_back(nullptr);
  if (others.empty()) type.types = static_cast<JsonTypes>(JsonType::string);
  type.others = std::make_shared<const Json>(std::move(others));
}

ParameterType type_of(const Json& schema, const Json& root, text::SchemaErrors& budget) {
  ParameterType type{text::types_of_schema(schema, root, budget), nullptr};
  const auto string = static_cast<JsonTypes>(JsonType::string);
  if (type.types == string || !text::contains(type.types, JsonType::string)) return type;
  if (const auto values = text::listed_values(schema, root, budget)) read_only_listed(type, *values, budget);
  return type;
}

}  // namespace

ParameterTypes::ParameterTypes(const Json& tools) {
  if (!tools.is_array()) return;
  text::SchemaErrors budget;
  for (const Json& tool : tools) {
    const Json* function = member(tool, "function");
    const Json* name = function == nullptr ? nullptr : member(*function, "name");
    const Json* schema = function == nullptr ? nullptr : member(*function, "parameters");
    const Json* properties = schema == nullptr ? nullptr : member(*schema, "properties");
    if (name == nullptr || !name->is_string() || properties == nullptr || !properties->is_object()) continue;
    Parameters& parameters = functions_[name->get<std::string>()];
    for (const auto& [key, value] : properties->items())
      parameters.emplace(key, type_of(value, *schema, budget));
  }
}

ParameterType ParameterTypes::of(std::string_view function, std::string_view parameter) const {
  const auto known = functions_.find(function);
  if (known != functions_.end()) {
    const auto found = known->second.find(parameter);
    if (found != known->second.end()) return found->second;
  }
  return {static_cast<JsonTypes>(JsonType::string), nullptr};
}

}  // namespace baton
