// The formats of tool calls: each takes the text behind the reasoning, character by character.
#pragma once

#include <memory>

#include "text/answer/events.hpp"

namespace baton::text {

class CallParser {
 public:
  virtual ~CallParser() = default;
  virtual void take(char c) = 0;
  virtual void finish() = 0;  // the text has ended: what is held back
};

// All of it is content where the format is none. The events must outlive it.
std::unique_ptr<CallParser> make_call_parser(CallFormat format, AnswerEvents& events);

std::unique_ptr<CallParser> make_hermes_parser(AnswerEvents& events);
std::unique_ptr<CallParser> make_llama3_parser(AnswerEvents& events);
std::unique_ptr<CallParser> make_mistral_parser(AnswerEvents& events);

inline constexpr std::string_view kHermesBegin = "<tool_call>";
inline constexpr std::string_view kHermesEnd = "</tool_call>";
inline constexpr std::string_view kLlamaTag = "<|python_tag|>";
inline constexpr std::string_view kMistralCalls = "[TOOL_CALLS]";
inline constexpr std::string_view kMistralArguments = "[ARGS]";
inline constexpr std::string_view kMistralId = "[CALL_ID]";
inline constexpr std::string_view kThinkBegin = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";

}  // namespace baton::text
