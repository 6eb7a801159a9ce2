#include "baton/text/forced_calls.hpp"

#include "text/answer/call_parser.hpp"
#include "text/grammar_text/json_values.hpp"

namespace baton {
namespace {

// What stands before, between and behind calls, and around each one's arguments.
struct Form {
  std::string before, between, behind;
  std::string name, arguments, end;  // before the name; between it and the arguments; behind them
  bool quoted = true;                // the name is a JSON string
};

// Between two messages.
std::string harmony_next() { return std::string(text::kHarmonyStart) + std::string(text::kHarmonyRole); }

Form form_of(CallFormat format) {
  const std::string name = "{\"name\": ";
  const std::string arguments = ", \"arguments\": ";
  switch (format) {
    case CallFormat::hermes:
      return {.before = {},
              .between = "\n",
              .behind = {},
              .name = std::string(text::kHermesBegin) + "\n" + name,
              .arguments = arguments,
              .end = "}\n" + std::string(text::kHermesEnd)};
    case CallFormat::llama3_json:
      return {.before = {},
              .between = "; ",
              .behind = {},
              .name = name,
              .arguments = ", \"parameters\": ",
              .end = "}"};
    case CallFormat::mistral:
      return {.before = std::string(text::kMistralCalls) + "[",
              .between = ", ",
              .behind = "]",
              .name = name,
              .arguments = arguments,
              .end = "}"};
    case CallFormat::qwen3_coder:
      return {.before = {},
              .between = "\n",
              .behind = {},
              .name = std::string(text::kHermesBegin) + "\n" + std::string(text::kFunctionBegin),
              .arguments = ">\n",
              .end = std::string(text::kFunctionEnd) + "\n" + std::string(text::kHermesEnd),
              .quoted = false};
    case CallFormat::pythonic:
      return {.before = "[",
              .between = ", ",
              .behind = "]",
              .name = {},
              .arguments = "(",
              .end = ")",
              .quoted = false};
    case CallFormat::glm45:
      return {.before = {},
              .between = {},
              .behind = {},
              .name = {},
              .arguments = {},
              .end = std::string(text::kHermesEnd),
              .quoted = false};
    case CallFormat::harmony:  // its header is no plain text
      return {.before = {},
              .between = std::string(text::kHarmonyCall) + harmony_next(),
              .behind = {},
              .name = {},
              .arguments = {},
              .end = {},
              .quoted = false};
    case CallFormat::none:
      break;
  }
  return {};
}

// As part of a sequence: nothing where there is nothing to write.
std::string literal(const std::string& text) { return text.empty() ? "" : GrammarText::literal(text) + " "; }

// Nothing where the model does not reason. `inside`: the prompt has opened it.
std::string reasoning_first(GrammarText& grammar, ReasoningFormat format, bool inside) {
  if (format == ReasoningFormat::none) return {};
  const bool harmony = format == ReasoningFormat::harmony;
  const std::string begin =
      harmony ? text::harmony_header(text::kHarmonyReasoning) : std::string(text::kThinkBegin);
  const std::string thought =
      harmony ? grammar.until(text::kHarmonyEnd) + " " + GrammarText::literal(harmony_next())
              : grammar.until(text::kThinkEnd) + " [ \\r\\n\\t]{0,8}";
  if (inside) return grammar.rule("reasoning", thought) + " ";
  const std::string line = harmony ? "" : GrammarText::literal("\n") + "? ";  // GLM's begins with one
  return grammar.rule("reasoning", "(" + line + GrammarText::literal(begin) + " " + thought + ")?") + " ";
}

std::string harmony_json() {
  return "\" \"? " + GrammarText::literal(std::string(text::kHarmonyConstrain) + "json");
}

// The recipient on either side of the channel, the type in any spelling or none.
std::string harmony_call(const std::string& name) {
  const std::string channel = std::string(text::kHarmonyChannel) + std::string(text::kHarmonyCalls);
  const std::string to = " " + std::string(text::kHarmonyTo) + std::string(text::kHarmonyFunctions) + name;
  return "(" + GrammarText::literal(channel + to) + " | " + GrammarText::literal(to + channel) +
         ") (\" json\" | " + harmony_json() + ")? " + GrammarText::literal(text::kHarmonyMessage);
}

// Line breaks are between the parts of GLM 4.5's calls, not of 4.7's.
std::string glm45_call(const std::string& name) {
  const std::string line = GrammarText::literal("\n") + "?";
  return line + " " + GrammarText::literal(std::string(text::kHermesBegin) + name) + " " + line;
}

// All that stands before its arguments.
std::string call_begin(CallFormat format, const Form& form, const std::string& name) {
  if (format == CallFormat::harmony) return harmony_call(name);
  if (format == CallFormat::glm45) return glm45_call(name);
  return GrammarText::literal(form.name + name + form.arguments);
}

}  // namespace

std::string before_answer(GrammarText& grammar, ReasoningFormat format, bool inside) {
  const std::string first = reasoning_first(grammar, format, inside);
  if (format != ReasoningFormat::harmony) return first;
  const std::string channel = std::string(text::kHarmonyChannel) + std::string(text::kHarmonyAnswer);
  return first + GrammarText::literal(channel) + " (" + harmony_json() + ")? " +
         GrammarText::literal(text::kHarmonyMessage) + " ";
}

std::string forced_calls(GrammarText& grammar, const ForcedCalls& forced,
                         std::span<const ForcedFunction> functions) {
  const Form form = form_of(forced.format.calls);
  std::string one_of;
  for (const ForcedFunction& function : functions) {
    const std::string name = form.quoted ? text::json_quoted(function.name) : function.name;
    const std::string body = call_begin(forced.format.calls, form, name) + " " + function.arguments + " " +
                             GrammarText::literal(form.end);
    one_of += (one_of.empty() ? "" : " | ") + grammar.rule("call", body);
  }
  const std::string call = grammar.rule("calls", one_of);
  std::string answer = reasoning_first(grammar, forced.format.reasoning, forced.inside_reasoning);
  answer += literal(form.before) + call;
  if (forced.several) answer += " (" + literal(form.between) + call + ")*";
  if (!form.behind.empty()) answer += " " + GrammarText::literal(form.behind);
  return grammar.rule("answer", answer);
}

}  // namespace baton
