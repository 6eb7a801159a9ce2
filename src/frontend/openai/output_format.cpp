#include "frontend/openai/output_format.hpp"

#include <utility>

#include "baton/text/forced_calls.hpp"
#include "baton/text/grammar_text.hpp"

namespace baton::frontend {
namespace {

constexpr std::size_t kMostChoices = 4096;
constexpr std::size_t kMostChoiceBytes = 128 << 10;  // of all together

using Kind = OutputFormat::Kind;

class FormatParser {
 public:
  explicit FormatParser(JsonFields& fields) : fields_(fields) {}

  OutputFormat parse() {
    response_format();
    structured_outputs();
    for (const auto& [name, kind] :
         {std::pair{"guided_json", Kind::json_schema}, std::pair{"guided_regex", Kind::regex},
          std::pair{"guided_choice", Kind::choice}, std::pair{"guided_grammar", Kind::grammar}}) {
      if (const Json* value = fields_.find(name)) set(kind, name, *value);
    }
    refuse(fields_, {"guided_whitespace_pattern"});
    return std::move(out_);
  }

 private:
  void response_format() {
    const Json* format = fields_.find("response_format");
    if (format == nullptr) return;
    if (!format->is_object() || !format->contains("type") || !(*format)["type"].is_string())
      return fields_.fail_type("response_format", "an object with a 'type'", *format);
    const std::string type = (*format)["type"].get<std::string>();
    if (type == "text") return;
    JsonFields inner(*format, "response_format.");
    if (type == "json_object") {  // with a schema: llama.cpp's way, and Together's
      const Json* schema = inner.find("schema");
      if (schema == nullptr || *schema == Json::object()) return claim(Kind::json_object, "response_format");
      return set(Kind::json_schema, "response_format.schema", *schema);
    }
    if (type != "json_schema")
      return fields_.fail("response_format",
                          "'response_format' of type '" + type.substr(0, 100) +
                              "' is not supported: 'text', 'json_object' and 'json_schema' are.",
                          ErrorCode::unsupported);
    const Json* named = inner.find("json_schema");
    if (named == nullptr || !named->is_object())
      return fields_.fail("response_format.json_schema",
                          "Missing or invalid 'response_format.json_schema': expected an object.");
    const auto schema = named->find("schema");
    if (schema == named->end() || schema->is_null())
      return fields_.fail("response_format.json_schema.schema",
                          "Missing required parameter: 'response_format.json_schema.schema'.");
    set(Kind::json_schema, "response_format.json_schema.schema", *schema);
  }

  void structured_outputs() {
    const Json* outputs = fields_.find("structured_outputs");
    if (outputs == nullptr) return;
    if (!outputs->is_object()) return fields_.fail_type("structured_outputs", "an object", *outputs);
    JsonFields inner(*outputs, "structured_outputs.");
    for (const auto& [name, kind] :
         {std::pair{"json", Kind::json_schema}, std::pair{"regex", Kind::regex},
          std::pair{"choice", Kind::choice}, std::pair{"grammar", Kind::grammar}}) {
      if (const Json* value = inner.find(name)) set(kind, inner.path(name), *value);
    }
    bool object = false;
    if (inner.boolean("json_object", object) && object)
      claim(Kind::json_object, "structured_outputs.json_object");
    refuse(inner, {"structural_tag", "whitespace_pattern", "disable_any_whitespace",
                   "disable_additional_properties"});
    if (inner.error()) fields_.fail(inner.error()->field, inner.error()->message, inner.error()->code);
    if (!out_.field.starts_with("structured_outputs."))
      fields_.fail(
          "structured_outputs",
          "Invalid 'structured_outputs': expected one of json, regex, choice, grammar, json_object.");
  }

  // Of what would change the language: ignoring it would give another one than was asked for.
  static void refuse(JsonFields& fields, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      const Json* value = fields.find(name);
      if (value == nullptr || *value == false) continue;
      fields.fail(name, "'" + fields.path(name) + "' is not supported.", ErrorCode::unsupported);
    }
  }

  void claim(Kind kind, const std::string& field) {
    if (out_.kind != Kind::any)
      return fields_.fail(field, "An answer has one format: '" + out_.field + "' and '" + field +
                                     "' cannot be used together.");
    out_.kind = kind;
    out_.field = field;
  }

  void set(Kind kind, const std::string& field, const Json& value) {
    claim(kind, field);
    if (fields_.error()) return;
    if (kind == Kind::json_schema) return schema(field, value);
    if (kind == Kind::choice) return choices(field, value);
    if (!value.is_string()) return fields_.fail_type(field, "a string", value);
    out_.text = value.get<std::string>();
  }

  void schema(const std::string& field, const Json& value) {
    out_.schema = value;
    if (value.is_string()) {  // vLLM takes the schema's text, too
      auto parsed = parse_json_object(value.get_ref<const std::string&>());
      if (!parsed) return fields_.fail(field, "Invalid value for '" + field + "': it is no JSON object.");
      out_.schema = *std::move(parsed);
    }
    if (!out_.schema.is_object()) fields_.fail_type(field, "a JSON schema, an object", value);
  }

  void choices(const std::string& field, const Json& value) {
    if (!value.is_array()) return fields_.fail_type(field, "an array of strings", value);
    if (value.empty() || value.size() > kMostChoices)
      return fields_.fail(field, "Invalid '" + field + "': expected 1 to " + std::to_string(kMostChoices) +
                                     " strings, got " + std::to_string(value.size()) + ".");
    std::size_t bytes = 0;
    for (const Json& choice : value) {
      if (!choice.is_string()) return fields_.fail_type(field, "an array of strings", choice);
      out_.choices.push_back(choice.get<std::string>());
      bytes += out_.choices.back().size();
    }
    if (bytes > kMostChoiceBytes)
      fields_.fail(field, "Invalid '" + field + "': expected at most " + std::to_string(kMostChoiceBytes) +
                              " bytes in all, got " + std::to_string(bytes) + ".");
  }

  JsonFields& fields_;
  OutputFormat out_;
};

Result<std::string> answer_of(const OutputFormat& format, GrammarText& grammar) {
  switch (format.kind) {
    case Kind::json_schema:
      return grammar.json_schema(format.schema);
    case Kind::regex:
      return grammar.regex(format.text);
    case Kind::choice:
      return grammar.choice(format.choices);
    default:
      return grammar.json_object();
  }
}

}  // namespace

OutputFormat parse_output_format(JsonFields& fields) { return FormatParser(fields).parse(); }

Result<std::string> grammar_of(const OutputFormat& format, ReasoningFormat reasoning, bool inside_reasoning) {
  // A client's own grammar has its own root, and says for itself what may come first.
  if (format.kind == Kind::grammar) return format.text;
  GrammarText grammar;
  auto answer = answer_of(format, grammar);
  if (answer) {
    const std::string first = before_answer(grammar, reasoning, inside_reasoning);
    return grammar.text(first + *answer);
  }
  Error error = std::move(answer).error();
  error.message = "Invalid '" + format.field + "': " + error.message;
  error.field = format.field;
  return error;
}

}  // namespace baton::frontend
