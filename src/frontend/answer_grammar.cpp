#include "frontend/answer_grammar.hpp"

#include <utility>
#include <vector>

#include "baton/text/forced_calls.hpp"
#include "baton/text/grammar_text.hpp"

namespace baton::frontend {
namespace {

using Kind = ToolChoice::Kind;

// The arguments of a function without parameters are an empty object.
Result<std::string> arguments_of(const Json& function, GrammarText& grammar) {
  const auto parameters = function.find("parameters");
  if (parameters == function.end() || parameters->is_null()) return GrammarText::literal("{}");
  return grammar.json_schema(*parameters);
}

Result<std::string> calls_grammar(const ChatRequest& request, const AnswerRules& rules) {
  if (rules.format.calls == CallFormat::none)
    return make_error(ErrorCode::unsupported,
                      "Calls cannot be forced: how this model writes tool calls is not known "
                      "(--tool-call-parser says so where its chat template does not).",
                      "tool_choice");
  GrammarText grammar;
  std::vector<ForcedFunction> functions;
  const Json& tools = request.template_variables["tools"];
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const Json& function = tools[i]["function"];
    const auto name = function["name"].get<std::string>();
    if (request.tool_choice.kind == Kind::named && name != request.tool_choice.function) continue;
    auto arguments = arguments_of(function, grammar);
    if (!arguments) {
      Error error = std::move(arguments).error();
      const std::string field = "tools[" + std::to_string(i) + "].function.parameters";
      error.message = "Invalid '" + field + "': " + error.message;
      error.field = field;
      return error;
    }
    functions.push_back({name, *std::move(arguments)});
  }
  const bool several = request.tool_choice.kind == Kind::required && request.parallel_tool_calls;
  const std::string answer =
      forced_calls(grammar, {rules.format, rules.inside_reasoning, several}, functions);
  return grammar.text(answer);
}

Result<void> compile(Result<std::string> grammar, const std::string& field, const FrontendServices& services,
                     PreparedRequest& out) {
  if (!grammar) return std::move(grammar).error();
  if (services.grammars == nullptr)
    return make_error(ErrorCode::unsupported, "This server cannot bind answers to a format.", field);
  auto compiled = services.grammars->compile(*grammar);
  if (!compiled) {
    Error error = std::move(compiled).error();
    error.field = field;
    return error;
  }
  out.grammar = *std::move(grammar);
  out.compiled_grammar = *std::move(compiled);
  return {};
}

}  // namespace

Result<void> bind_chat(const ChatRequest& request, const FrontendServices& services, PreparedRequest& out) {
  const Kind choice = request.tool_choice.kind;
  if (choice == Kind::required || choice == Kind::named)
    return compile(calls_grammar(request, out.answer), "tool_choice", services, out);
  const OutputFormat& format = request.fields.format;
  if (format.kind == OutputFormat::Kind::any) return {};
  return compile(grammar_of(format, out.answer.format.reasoning, out.answer.inside_reasoning), format.field,
                 services, out);
}

Result<void> bind_completion(const FrontendServices& services, PreparedRequest& out) {
  const OutputFormat& format = out.fields.format;
  if (format.kind == OutputFormat::Kind::any) return {};
  return compile(grammar_of(format, ReasoningFormat::none, false), format.field, services, out);
}

}  // namespace baton::frontend
