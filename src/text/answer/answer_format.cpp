// The formats' names, and how a model's files tell which it has.
#include "baton/text/answer_format.hpp"

#include <array>

#include "text/answer/call_parser.hpp"
#include "text/answer/events.hpp"

namespace baton {
namespace {

template <class Format>
struct Named {
  Format format;
  std::string_view name;
};

// Where vLLM has two names for what is one format here, the first is ours.
constexpr std::array<Named<CallFormat>, 12> kCallFormats{{{CallFormat::none, "none"},
                                                          {CallFormat::hermes, "hermes"},
                                                          {CallFormat::llama3_json, "llama3_json"},
                                                          {CallFormat::mistral, "mistral"},
                                                          {CallFormat::qwen3_coder, "qwen3_coder"},
                                                          {CallFormat::qwen3_coder, "qwen3_xml"},
                                                          {CallFormat::pythonic, "pythonic"},
                                                          {CallFormat::pythonic, "llama4_pythonic"},
                                                          {CallFormat::harmony, "harmony"},
                                                          {CallFormat::harmony, "openai"},
                                                          {CallFormat::glm45, "glm45"},
                                                          {CallFormat::glm45, "glm47"}}};
constexpr std::array<Named<ReasoningFormat>, 4> kReasoningFormats{
    {{ReasoningFormat::none, "none"},
     {ReasoningFormat::think, "think"},
     {ReasoningFormat::harmony, "harmony"},
     {ReasoningFormat::harmony, "openai_gptoss"}}};

template <class Table>
std::string_view name_of(const Table& table, auto format) {
  for (const auto& row : table) {
    if (row.format == format) return row.name;
  }
  return {};
}

template <class Format, class Table>
std::optional<Format> format_of(const Table& table, std::string_view name) {
  for (const auto& row : table) {
    if (row.name == name) return row.format;
  }
  return std::nullopt;
}

CallFormat detect_calls(std::string_view source) {
  const auto has = [&](std::string_view text) { return source.find(text) != std::string_view::npos; };
  // Templates that ask for calls in Python all have this sentence's example.
  const bool pythonic = has("[func_name1(");
  if (has(text::kHermesBegin)) {
    if (has(text::kFunctionBegin) && has(text::kParameterBegin)) return CallFormat::qwen3_coder;
    if (has(text::kArgKeyBegin)) return CallFormat::glm45;
    // The same tag around Python is another format.
    const bool other = has(text::kFunctionBegin) || pythonic;
    return other ? CallFormat::none : CallFormat::hermes;
  }
  if (has(text::kMistralCalls)) return CallFormat::mistral;
  if (pythonic) return CallFormat::pythonic;
  // Llama 3.2's template shows calls as 3.1's does, but has no tag.
  if (has(text::kLlamaTag) || (has("<|start_header_id|>") && has("\"parameters\"")))
    return CallFormat::llama3_json;
  return CallFormat::none;
}

}  // namespace

std::string_view to_string(CallFormat format) { return name_of(kCallFormats, format); }
std::string_view to_string(ReasoningFormat format) { return name_of(kReasoningFormats, format); }
bool needs_types(CallFormat format) {
  return format == CallFormat::qwen3_coder || format == CallFormat::glm45;
}
std::optional<CallFormat> parse_call_format(std::string_view name) {
  return format_of<CallFormat>(kCallFormats, name);
}
std::optional<ReasoningFormat> parse_reasoning_format(std::string_view name) {
  return format_of<ReasoningFormat>(kReasoningFormats, name);
}

Result<void> check_together(const AnswerFormat& format) {
  const bool calls = format.calls == CallFormat::harmony,
             reasoning = format.reasoning == ReasoningFormat::harmony;
  if (format.calls == CallFormat::none || calls == reasoning) return {};
  return make_error(ErrorCode::invalid_argument,
                    "harmony is a format of calls and reasoning together: tool calls as " +
                        std::string(to_string(format.calls)) + " do not go with reasoning as " +
                        std::string(to_string(format.reasoning)));
}

AnswerFormat detect_answer_format(std::string_view chat_template, const Tokenizer& tokenizer) {
  const auto has = [&](std::string_view text) { return chat_template.find(text) != std::string_view::npos; };
  if (has(text::kHarmonyChannel) && has(std::string(text::kHarmonyStart) + std::string(text::kHarmonyRole)))
    return {CallFormat::harmony, ReasoningFormat::harmony};
  AnswerFormat format;
  format.calls = detect_calls(chat_template);
  // A model that reasons has tokens for it, or a template that takes the reasoning out of earlier turns.
  const bool tokens = tokenizer.token_to_id(text::kThinkBegin) && tokenizer.token_to_id(text::kThinkEnd);
  if (tokens || has(text::kThinkEnd)) format.reasoning = ReasoningFormat::think;
  return format;
}

bool opens_reasoning(ReasoningFormat format, std::string_view prompt) {
  while (!prompt.empty() && text::is_space(prompt.back())) prompt.remove_suffix(1);
  if (format == ReasoningFormat::harmony)
    return prompt.ends_with(text::harmony_header(text::kHarmonyReasoning));
  return format == ReasoningFormat::think && prompt.ends_with(text::kThinkBegin);
}

namespace {

// Of those that are special tokens of the tokenizer.
std::vector<TokenId> special_ids(const std::vector<std::string_view>& markers, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (const std::string_view marker : markers) {
    const auto id = tokenizer.token_to_id(marker);
    if (id && tokenizer.is_special(*id)) ids.push_back(*id);
  }
  return ids;
}

}  // namespace

std::vector<TokenId> special_markers(const AnswerFormat& format, const Tokenizer& tokenizer) {
  std::vector<std::string_view> markers;
  if (format.reasoning == ReasoningFormat::think) markers = {text::kThinkBegin, text::kThinkEnd};
  if (format.calls == CallFormat::hermes || format.calls == CallFormat::qwen3_coder)
    markers.insert(markers.end(), {text::kHermesBegin, text::kHermesEnd});
  if (format.calls == CallFormat::glm45)
    markers.insert(markers.end(), {text::kHermesBegin, text::kHermesEnd, text::kArgKeyBegin, text::kArgKeyEnd,
                                   text::kArgValueBegin, text::kArgValueEnd});
  if (format.calls == CallFormat::llama3_json) markers.push_back(text::kLlamaTag);
  if (format.calls == CallFormat::mistral)
    markers.insert(markers.end(), {text::kMistralCalls, text::kMistralArguments, text::kMistralId});
  if (format.calls == CallFormat::pythonic)
    markers.insert(markers.end(), {text::kPythonBegin, text::kPythonEnd});
  if (format.calls == CallFormat::harmony || format.reasoning == ReasoningFormat::harmony)
    markers.insert(markers.end(), text::kHarmonyMarkers.begin(), text::kHarmonyMarkers.end());
  return special_ids(markers, tokenizer);
}

std::vector<TokenId> end_markers(const AnswerFormat& format, const Tokenizer& tokenizer) {
  if (format.calls != CallFormat::harmony && format.reasoning != ReasoningFormat::harmony) return {};
  return special_ids({text::kHarmonyCall, text::kHarmonyReturn}, tokenizer);
}

}  // namespace baton
