// The arguments of a forced call. A format that writes them as a JSON object has the whole of the schema. The
// others write one parameter after the other, each by its own schema: in the order of `properties`, those
// that are not required or not.
#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "baton/text/forced_calls.hpp"
#include "text/answer/call_parser.hpp"
#include "text/answer/schema_types.hpp"
#include "text/grammar_text/schema_errors.hpp"

namespace baton {
namespace {

using text::Json;
using text::JsonType;

struct Parameter {
  std::string name;
  Json schema;  // with the definitions that it may refer to
  bool required = false;
};

// What a schema may say of the object besides its properties; where it is said, one parameter after the other
// is not enough.
constexpr std::array kOfTheObject = {"$ref",
                                     "allOf",
                                     "anyOf",
                                     "oneOf",
                                     "not",
                                     "if",
                                     "enum",
                                     "const",
                                     "minProperties",
                                     "maxProperties",
                                     "patternProperties",
                                     "propertyNames",
                                     "dependentRequired",
                                     "dependentSchemas",
                                     "dependencies",
                                     "unevaluatedProperties"};

constexpr std::size_t kForParameter = 64;  // spent on each

class ParameterReader {
 public:
  ParameterReader(const Json& schema, bool (*may_be_name)(std::string_view))
      : schema_(schema), may_be_name_(may_be_name) {}

  Result<std::vector<Parameter>> read() {
    for (const char* keyword : kOfTheObject) {
      if (schema_.contains(keyword))
        errors_.unsupported(keyword, "is not supported for calls that are not written as JSON");
    }
    const Json required = list("required", Json::array());
    const Json properties = list("properties", Json::object());
    std::set<std::string_view> wanted, known;
    for (const Json& name : required) {
      if (name.is_string())
        wanted.insert(name.get_ref<const std::string&>());
      else
        errors_.invalid("required", "must be a list of names");
    }
    for (const auto& [name, schema] : properties.items()) {
      known.insert(name);
      add(name, schema, wanted.contains(name));
    }
    for (const Json& name : required) {
      if (name.is_string() && known.insert(name.get_ref<const std::string&>()).second) add(name, true, true);
    }
    if (errors_.any()) return errors_.first();
    return std::move(parameters_);
  }

 private:
  void add(const std::string& name, const Json& schema, bool required) {
    if (errors_.spend(kForParameter + name.size()); errors_.any()) return;
    if (!may_be_name_(name))
      errors_.unsupported("properties", text::json_quoted(name) + " cannot be written as a parameter's name");
    if (schema != false)
      parameters_.push_back({name, complete(schema), required});
    else if (required)
      errors_.invalid("required", "wants " + text::json_quoted(name) + ", which nothing can follow");
  }

  Json list(const char* keyword, const Json& otherwise) {
    const auto found = schema_.find(keyword);
    if (found == schema_.end()) return otherwise;
    if (found->type() == otherwise.type()) return *found;
    errors_.invalid(keyword, otherwise.is_array() ? "must be a list of names" : "must be an object");
    return otherwise;
  }

  // References lead into the schema that they stand in.
  Json complete(const Json& schema) {
    Json out = schema;
    for (const char* keyword : {"$defs", "definitions"}) {
      const auto found = schema_.find(keyword);
      if (found == schema_.end() || !out.is_object() || out.contains(keyword)) continue;
      if (errors_.spend(found->dump().size()); errors_.any()) break;
      out[keyword] = *found;
    }
    return out;
  }

  const Json& schema_;
  bool (*may_be_name_)(std::string_view);
  text::SchemaErrors errors_;
  std::vector<Parameter> parameters_;
};

// ---- qwen3_coder, glm45

bool is_tag_name(std::string_view name) {
  return !name.empty() && name.size() <= text::kMostName && std::ranges::all_of(name, text::may_be_in_tag);
}

// What stands around a parameter's value, in the grammar's notation, and the marker that ends it.
struct Tags {
  std::string before, behind;
  std::string end;
  std::string space;  // before the end, where the value does not go up to it by itself
};

// GLM 4.5 writes line breaks between its tags, 4.7 does not.
Tags tags_of(CallFormat format, const std::string& name) {
  const std::string line = GrammarText::literal("\n");
  if (format == CallFormat::qwen3_coder)
    return {.before = GrammarText::literal(std::string(text::kParameterBegin) + name + ">\n"),
            .behind = line,
            .end = std::string(text::kParameterEnd),
            .space = "\n"};
  const std::string key = std::string(text::kArgKeyBegin) + name + std::string(text::kArgKeyEnd);
  return {
      .before = GrammarText::literal(key) + " " + line + "? " + GrammarText::literal(text::kArgValueBegin),
      .behind = line + "?",
      .end = std::string(text::kArgValueEnd),
      .space = {}};
}

// One of the listed values as bare text; empty where the schema lists none.
Result<std::string> listed_text(const Json& schema, const std::string& end, text::SchemaErrors& budget) {
  const auto values = text::listed_values(schema, schema, budget);
  if (!values) return std::string();
  if (values->empty())
    return make_error(ErrorCode::invalid_argument, "enum: no value has the type and the limits");
  std::string out;
  std::set<std::string> known;
  for (const Json* value : *values) {
    const std::string text = value->is_string() ? value->get<std::string>() : value->dump();
    if (text.find(end) != std::string::npos)
      return make_error(ErrorCode::unsupported, "enum: a value has " + end + " in it");
    if (known.insert(text).second) out += (out.empty() ? "" : " | ") + GrammarText::literal(text);
  }
  return "(" + out + ")";
}

// A value and the marker that ends it.
Result<std::string> tagged_value(GrammarText& grammar, const Parameter& parameter, const Tags& tags,
                                 text::SchemaErrors& budget) {
  const auto types = text::types_of_schema(parameter.schema, parameter.schema, budget);
  auto value = contains(types, JsonType::string) ? listed_text(parameter.schema, tags.end, budget)
                                                 : grammar.json_schema(parameter.schema);
  if (budget.any()) return budget.first();
  if (!value) return value;
  if (value->empty()) return grammar.until(tags.end);
  return *value + " " + GrammarText::literal(tags.space + tags.end);
}

Result<std::string> tagged_parameters(GrammarText& grammar, CallFormat format, const Json& schema) {
  const auto parameters = ParameterReader(schema, is_tag_name).read();
  if (!parameters) return parameters.error();
  text::SchemaErrors budget;
  std::string out;
  for (const Parameter& parameter : *parameters) {
    const Tags tags = tags_of(format, parameter.name);
    auto value = tagged_value(grammar, parameter, tags, budget);
    if (!value) return value;
    const std::string rule = grammar.rule("parameter", tags.before + " " + *value + " " + tags.behind);
    out += (out.empty() ? "" : " ") + rule + (parameter.required ? "" : "?");
  }
  return out;
}

// ---- pythonic

bool is_pythonic_name(std::string_view name) {
  return !name.empty() && name.size() <= text::kMostName && text::may_begin_pythonic(name.front()) &&
         std::ranges::all_of(name, text::may_be_in_pythonic);
}

// Values are written as JSON, which this format's parser reads as it reads Python. Written from the end: a
// parameter and what may come behind it, which any that may come first can begin.
Result<std::string> keyword_arguments(GrammarText& grammar, const Json& schema) {
  const auto parameters = ParameterReader(schema, is_pythonic_name).read();
  if (!parameters) return parameters.error();
  std::vector<std::string> from(parameters->size());
  std::string behind;
  for (std::size_t i = from.size(); i-- > 0;) {
    const Parameter& parameter = (*parameters)[i];
    auto value = grammar.json_schema(parameter.schema);
    if (!value) return value;
    const std::string argument =
        grammar.rule("argument", GrammarText::literal(parameter.name + "=") + " " + *value);
    from[i] = argument + behind;
    std::string body = "(\", \" ";
    body += argument;
    body += parameter.required ? ")" : ")?";
    body += behind;
    behind = " " + grammar.rule("arguments", body);
  }
  std::string all;
  bool required = false;
  for (std::size_t i = 0; i < from.size() && !required; ++i) {
    all += (i == 0 ? "(" : " | ") + from[i];
    required = (*parameters)[i].required;
  }
  if (all.empty()) return all;
  return all + (required ? ")" : ")?");
}

}  // namespace

Result<ForcedFunction> forced_function(GrammarText& grammar, CallFormat format, std::string name,
                                       const nlohmann::ordered_json* parameters) {
  const bool tagged = needs_types(format), pythonic = format == CallFormat::pythonic;
  const bool bare = tagged || format == CallFormat::harmony;  // the name stands without quotes
  const bool fits =
      bare ? std::ranges::all_of(name, text::may_be_in_name) : !pythonic || is_pythonic_name(name);
  if (!fits || name.empty())
    return make_error(ErrorCode::unsupported, "Calls of " + text::json_quoted(name) +
                                                  " cannot be forced: the model cannot write its name.");
  const Json none = Json::object();
  const Json& schema = parameters == nullptr ? none : *parameters;
  auto arguments = tagged                  ? tagged_parameters(grammar, format, schema)
                   : pythonic              ? keyword_arguments(grammar, schema)
                   : parameters == nullptr ? Result<std::string>(GrammarText::literal("{}"))
                                           : grammar.json_schema(schema);
  if (!arguments) return std::move(arguments).error();
  return ForcedFunction{std::move(name), *std::move(arguments)};
}

}  // namespace baton
