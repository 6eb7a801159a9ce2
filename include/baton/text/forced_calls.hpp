// The grammar of an answer that must be tool calls, written as the model itself writes them, so that the
// AnswerParser reads them back.
#pragma once

#include <span>
#include <string>

#include "baton/text/answer_format.hpp"
#include "baton/text/grammar_text.hpp"

namespace baton {

// What stands for what comes before an answer that is no call, to be put before what stands for that: the
// reasoning where the model reasons, and a header where the format has one. `inside`: the prompt has opened
// the reasoning.
std::string before_answer(GrammarText& grammar, ReasoningFormat format, bool inside);

struct ForcedFunction {
  std::string name;
  std::string arguments;  // what stands for them in the grammar
};

// A function as calls of this format name it, with arguments that follow `parameters`, the schema of an
// object; null: it has none. Errors are those of GrammarText::json_schema, and unsupported what the format
// cannot write or the schema says in more than properties and required where the format has no object.
Result<ForcedFunction> forced_function(GrammarText& grammar, CallFormat format, std::string name,
                                       const nlohmann::ordered_json* parameters);

struct ForcedCalls {
  AnswerFormat format;            // calls: not none
  bool inside_reasoning = false;  // the prompt has opened it
  bool several = false;           // or exactly one call
};

// Adds the rules to `grammar`; returns what stands for the whole answer: calls of these functions (at least
// one), behind the reasoning where the model reasons.
std::string forced_calls(GrammarText& grammar, const ForcedCalls& forced,
                         std::span<const ForcedFunction> functions);

}  // namespace baton
