// The formats of tool calls: each takes the text behind the reasoning, character by character; harmony's
// takes all of it, its messages being reasoning, content or calls.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "baton/text/parameter_types.hpp"
#include "text/answer/events.hpp"

namespace baton::text {

class CallParser {
 public:
  virtual ~CallParser() = default;
  virtual void take(char c) = 0;
  virtual void finish() = 0;  // the text has ended: what is held back
  virtual bool in_reasoning() const { return false; }
};

struct HarmonyRules {
  bool calls = true;      // otherwise what goes to a function is text of its channel
  bool reasoning = true;  // otherwise it is content
  bool inside = false;    // the prompt has opened the reasoning
};

// All of it is content where the format is none. The events must outlive it.
// `types`: null where nothing is known of them, otherwise it must outlive the parser as well.
std::unique_ptr<CallParser> make_call_parser(CallFormat format, AnswerEvents& events,
                                             const ParameterTypes* types);
std::unique_ptr<CallParser> make_harmony_parser(AnswerEvents& events, HarmonyRules rules);

std::unique_ptr<CallParser> make_hermes_parser(AnswerEvents& events);
std::unique_ptr<CallParser> make_llama3_parser(AnswerEvents& events);
std::unique_ptr<CallParser> make_mistral_parser(AnswerEvents& events);
std::unique_ptr<CallParser> make_qwen3_coder_parser(AnswerEvents& events, const ParameterTypes* types);
std::unique_ptr<CallParser> make_glm45_parser(AnswerEvents& events, const ParameterTypes* types);
std::unique_ptr<CallParser> make_pythonic_parser(AnswerEvents& events);

// How deep arguments nest, their own object included: as deep as requests may, in which calls come back.
inline constexpr std::size_t kMostDepth = 64;
inline constexpr std::size_t kMostName = 1024;  // bytes of a function's or a parameter's

// What no function's name has, so that prose behind a marker is not taken for one.
inline bool may_be_in_name(char c) {
  return static_cast<unsigned char>(c) > ' ' &&
         std::string_view("[]{}\"\\,;<>()").find(c) == std::string_view::npos;
}
// What a parameter's name has where it stands in or between tags.
inline bool may_be_in_tag(char c) { return static_cast<unsigned char>(c) >= ' ' && c != '<' && c != '>'; }
// What is read as a name in the pythonic format: Python's, and what else functions' names have.
inline bool may_begin_pythonic(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
inline bool may_be_in_pythonic(char c) {
  return may_begin_pythonic(c) || (c >= '0' && c <= '9') || c == '.' || c == '-';
}

inline constexpr std::string_view kHermesBegin = "<tool_call>";
inline constexpr std::string_view kHermesEnd = "</tool_call>";
inline constexpr std::string_view kFunctionBegin = "<function=";
inline constexpr std::string_view kFunctionEnd = "</function>";
inline constexpr std::string_view kParameterBegin = "<parameter=";
inline constexpr std::string_view kParameterEnd = "</parameter>";
inline constexpr std::string_view kArgKeyBegin = "<arg_key>";
inline constexpr std::string_view kArgKeyEnd = "</arg_key>";
inline constexpr std::string_view kArgValueBegin = "<arg_value>";
inline constexpr std::string_view kArgValueEnd = "</arg_value>";
inline constexpr std::string_view kPythonBegin = "<|python_start|>";
inline constexpr std::string_view kPythonEnd = "<|python_end|>";
inline constexpr std::string_view kLlamaTag = "<|python_tag|>";
inline constexpr std::string_view kMistralCalls = "[TOOL_CALLS]";
inline constexpr std::string_view kMistralArguments = "[ARGS]";
inline constexpr std::string_view kMistralId = "[CALL_ID]";
inline constexpr std::string_view kHarmonyStart = "<|start|>";
inline constexpr std::string_view kHarmonyChannel = "<|channel|>";
inline constexpr std::string_view kHarmonyConstrain = "<|constrain|>";
inline constexpr std::string_view kHarmonyMessage = "<|message|>";
inline constexpr std::string_view kHarmonyEnd = "<|end|>";
inline constexpr std::string_view kHarmonyCall = "<|call|>";
inline constexpr std::string_view kHarmonyReturn = "<|return|>";
inline constexpr std::array kHarmonyMarkers = {kHarmonyStart,   kHarmonyChannel, kHarmonyConstrain,
                                               kHarmonyMessage, kHarmonyEnd,     kHarmonyCall,
                                               kHarmonyReturn};
inline constexpr std::string_view kHarmonyRole = "assistant";
inline constexpr std::string_view kHarmonyReasoning = "analysis";
inline constexpr std::string_view kHarmonyCalls = "commentary";
inline constexpr std::string_view kHarmonyAnswer = "final";
inline constexpr std::string_view kHarmonyTo = "to=";
inline constexpr std::string_view kHarmonyFunctions = "functions.";
// Of a message in this channel.
inline std::string harmony_header(std::string_view channel) {
  return std::string(kHarmonyChannel) + std::string(channel) + std::string(kHarmonyMessage);
}
inline constexpr std::string_view kThinkBegin = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";

}  // namespace baton::text
