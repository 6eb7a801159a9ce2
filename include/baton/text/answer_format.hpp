// How a model writes its reasoning and its tool calls into the text of an answer, and the parser that takes
// them apart while the text arrives.
//
// Formats have the names that vLLM gives its parsers. Pure: text in, values out.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/text/parameter_types.hpp"
#include "baton/text/tokenizer.hpp"

namespace baton {

enum class CallFormat {
  none,
  hermes,       // <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>, one after the other
  llama3_json,  // the whole answer: {"name": "f", "parameters": {...}}; ...
  mistral,      // [TOOL_CALLS][{"name": "f", "arguments": {...}}, ...] or [TOOL_CALLS]f[ARGS]{...}
  qwen3_coder,  // <tool_call>\n<function=f>\n<parameter=a>\nvalue\n</parameter>\n</function>\n</tool_call>
  pythonic,     // the whole answer: [f(a=1, b='x'), g()]
  harmony,      // <|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>
  glm45,        // <tool_call>f\n<arg_key>a</arg_key>\n<arg_value>value</arg_value>\n</tool_call>
};
enum class ReasoningFormat {
  none,
  think,    // <think>...</think> before the answer, or only its end where the prompt has opened it
  harmony,  // <|channel|>analysis<|message|>...<|end|><|start|>assistant, before other messages
};

struct AnswerFormat {
  CallFormat calls = CallFormat::none;
  ReasoningFormat reasoning = ReasoningFormat::none;
  friend bool operator==(const AnswerFormat&, const AnswerFormat&) = default;
};

std::string_view to_string(CallFormat format);
std::string_view to_string(ReasoningFormat format);
// Whether it writes values as bare text: of which type they are, the parameters' schemas tell.
bool needs_types(CallFormat format);
std::optional<CallFormat> parse_call_format(std::string_view name);
std::optional<ReasoningFormat> parse_reasoning_format(std::string_view name);

// invalid_argument where harmony's calls are alone, or beside another reasoning, or its reasoning beside
// other calls: they are one format.
Result<void> check_together(const AnswerFormat& format);

// What a model's files tell: its chat template shows how it is given earlier calls, which is how it writes
// new ones.
AnswerFormat detect_answer_format(std::string_view chat_template, const Tokenizer& tokenizer);
// Whether the answer to this prompt begins inside its reasoning.
bool opens_reasoning(ReasoningFormat format, std::string_view prompt);
// The format's markers among the tokenizer's special tokens: the parser must see them although no reader of
// the answer does.
std::vector<TokenId> special_markers(const AnswerFormat& format, const Tokenizer& tokenizer);
// The markers that end an answer in this format, also where the model's files do not list them.
std::vector<TokenId> end_markers(const AnswerFormat& format, const Tokenizer& tokenizer);

struct ReasoningText {
  std::string text;
};
struct ContentText {
  std::string text;
};
struct CallBegun {
  std::size_t call = 0;  // counts from 0
  std::string name;
};
struct CallArguments {  // a piece of them, as the model wrote it
  std::size_t call = 0;
  std::string text;
};
using AnswerEvent = std::variant<ReasoningText, ContentText, CallBegun, CallArguments>;

// One answer's text, fed in pieces, to events in the order of the text.
//
// Invariants: the events, those that follow each other and are of one kind joined, are the same however the
// text is cut. Nothing is lost but markers and the white space around them (harmony: markers, with what their
// headers say, and nothing is added but a line break between messages that come to one text): what turns out
// not to be a call is content. What is held back is bounded (a marker's beginning and white space; a call
// until its name and the beginning of its arguments are known, and at most 64 KiB of it; an argument that is
// only told whole, at most 1 MiB of it).
//
// A call has begun once its name is known and its arguments begin, an object; nothing takes it back. If its
// brackets then do not match, or nest more than 64 deep, everything up to the format's closing marker (or the
// text's end) is its arguments: the client sees what the model wrote. qwen3_coder, glm45 and pythonic are no
// JSON: their arguments are told translated, and are the beginning of a JSON object whatever comes.
class AnswerParser {
 public:
  // `types` must outlive it; null: all values of formats that need them are strings.
  explicit AnswerParser(const AnswerFormat& format, bool inside_reasoning = false,
                        const ParameterTypes* types = nullptr);
  ~AnswerParser();
  AnswerParser(AnswerParser&&) noexcept;
  AnswerParser& operator=(AnswerParser&&) noexcept;

  std::vector<AnswerEvent> push(std::string_view text);
  std::vector<AnswerEvent> finish();  // the text has ended, wherever
  // How many bytes of the text so far come up to the end of the reasoning so far, its markers included.
  std::size_t reasoning_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
