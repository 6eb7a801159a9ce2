#include "frontend/answer_grammar.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "baton/text/forced_calls.hpp"
#include "baton/text/grammar_text.hpp"

namespace baton::frontend {
namespace {

// Limits of grammars are the client's to keep, but too_large would be told as the context's length.
Error about(const std::string& field, Error error) {
  error.field = field;
  if (error.code == ErrorCode::too_large) error.code = ErrorCode::invalid_argument;
  return error;
}

// Null where it is not there, also where `object` is none.
const Json* member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// The same schema for objects only: whatever else it lets through is no call's arguments.
Result<Json> object_schema(const Json& parameters) {
  const Json* type = member(parameters, "type");
  const bool fits = type == nullptr || *type == "object" ||
                    (type->is_array() && std::find(type->begin(), type->end(), "object") != type->end());
  if (!parameters.is_object() || !fits)
    return make_error(ErrorCode::invalid_argument,
                      "a call's arguments are an object, which its type excludes.");
  Json schema = parameters;
  schema["type"] = "object";
  return schema;
}

// The arguments of a function without parameters are empty.
Result<ForcedFunction> function_of(const Json& function, std::string name, CallFormat format,
                                   GrammarText& grammar) {
  const Json* parameters = member(function, "parameters");
  if (parameters == nullptr) return forced_function(grammar, format, std::move(name), nullptr);
  const auto schema = object_schema(*parameters);
  if (!schema) return schema.error();
  return forced_function(grammar, format, std::move(name), &*schema);
}

// What is meant by the client's field from here on: where it means one function, that function's parameters.
Result<std::string> calls_grammar(const ForcedAnswer& forced, const AnswerRules& rules, std::string& field) {
  if (rules.format.calls == CallFormat::none)
    return make_error(ErrorCode::unsupported,
                      "Calls cannot be forced: how this model writes tool calls is not known "
                      "(--tool-call-parser says so where its chat template does not).");
  GrammarText grammar;
  std::vector<ForcedFunction> functions;
  std::string parameters;
  for (std::size_t i = 0; i < forced.tools.size(); ++i) {
    const Json* function = member(forced.tools[i], "function");
    const Json* name = function == nullptr ? nullptr : member(*function, "name");
    if (name == nullptr || !name->is_string()) continue;
    if (!forced.function.empty() && *name != forced.function) continue;
    parameters = "tools[" + std::to_string(i) + "].function.parameters";
    auto written = function_of(*function, name->get<std::string>(), rules.format.calls, grammar);
    if (!written) {
      Error error = std::move(written).error();
      error.message = "Invalid '" + parameters + "': " + error.message;
      field = parameters;
      return error;
    }
    functions.push_back(*std::move(written));
  }
  if (functions.empty())
    return make_error(ErrorCode::invalid_argument, "This 'tool_choice' needs 'tools' to choose from.");
  if (functions.size() == 1) field = parameters;
  return grammar.text(
      forced_calls(grammar, {rules.format, rules.inside_reasoning, forced.several}, functions));
}

}  // namespace

Result<void> bind_answer(const FrontendServices& services, PreparedRequest& request) {
  const AnswerRules& rules = request.answer;
  auto grammar = request.forced
                     ? calls_grammar(*request.forced, rules, request.bound_by)
                     : grammar_of(request.fields.format, rules.format.reasoning, rules.inside_reasoning);
  if (!grammar) return about(request.bound_by, std::move(grammar).error());
  if (services.grammars == nullptr)
    return make_error(ErrorCode::unsupported, "This server cannot bind answers to a format.",
                      request.bound_by);
  auto compiled = services.grammars->compile(*grammar);
  if (!compiled) return about(request.bound_by, std::move(compiled).error());
  request.grammar = *std::move(grammar);
  request.compiled_grammar = *std::move(compiled);
  return {};
}

Error in_clients_words(Error error, const PreparedRequest& request) {
  if (error.field != "grammar" || request.bound_by.empty()) return error;
  return about(request.bound_by, std::move(error));
}

}  // namespace baton::frontend
