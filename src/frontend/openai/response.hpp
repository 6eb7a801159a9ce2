// Response bodies and stream frames exactly as OpenAI's clients read them, plus the field "baton" that says
// how the KV cache travelled. Pure: values in, text out.
//
// Invariant: everything returned is valid JSON in valid UTF-8; a frame is "data: ...\n\n".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baton/schedule/service.hpp"

namespace baton::frontend {

struct LogprobCandidate {
  std::string token;  // readable spelling
  std::string bytes;  // raw
  float logprob = 0;
};

struct LogprobEntry {
  LogprobCandidate chosen;
  std::vector<LogprobCandidate> top;
  std::size_t text_offset = 0;  // characters before this token in the choice's text
};

struct Usage {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t cached_tokens = 0;
  std::uint64_t completion_tokens = 0;
  std::optional<std::uint64_t> reasoning_tokens{};  // of them; nothing where reasoning is not looked for
};

// What all bodies of one answer share.
struct ResponseHead {
  bool chat = true;
  std::string id;
  std::string model;
  std::int64_t created = 0;
  bool logprobs = false;       // asked for: an empty list then, not null
  bool include_usage = false;  // "usage": null in every chunk but the last
};

// A tool call, or a piece of one: id and name come with the first.
struct ToolCallPiece {
  std::size_t index = 0;
  std::string id;
  std::string name;
  std::string arguments;
};

struct ChoiceText {
  std::uint32_t index = 0;
  std::string text;
  std::vector<LogprobEntry> logprobs;
  std::string_view finish_reason;  // empty: null
  std::string reasoning{};         // chat only, as the calls
  std::vector<ToolCallPiece> calls{};
};

// Adds a later part of the same choice.
void append(ChoiceText& choice, ChoiceText part);

// A frame with the role of a chat choice.
std::string role_frame(const ResponseHead& head, std::uint32_t index);
// A frame with a piece of text, reasoning or calls, or, where finish_reason is set, the choice's last one.
std::string text_frame(const ResponseHead& head, const ChoiceText& piece,
                       const std::optional<HandoffInfo>& handoff);
std::string usage_frame(const ResponseHead& head, const Usage& usage);
std::string error_frame(const std::string& error_body);
inline constexpr std::string_view kDoneFrame = "data: [DONE]\n\n";

std::string unary_body_of(const ResponseHead& head, std::span<const ChoiceText> choices, const Usage& usage,
                          const std::optional<HandoffInfo>& handoff);

}  // namespace baton::frontend
