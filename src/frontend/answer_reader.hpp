// One chat choice's text to the parts of its message: content, reasoning, tool calls with their ids.
//
// Invariant: each part is of one kind and not empty; a call's id and name come in its first part. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "baton/text/answer_format.hpp"
#include "frontend/openai/response.hpp"

namespace baton::frontend {

struct AnswerRules {
  AnswerFormat format;            // what may be in this answer
  ParameterTypes types;           // where that format needs them
  bool inside_reasoning = false;  // the prompt has opened it
  bool show_reasoning = true;
  bool several_calls = true;  // otherwise only the first is told
};

class AnswerReader {
 public:
  // The rules must outlive it.
  AnswerReader(const AnswerRules& rules, std::function<std::uint64_t()> random);

  // `tokens`: how many the answer has so far, with that whose text this is.
  std::vector<ChoiceText> push(std::string_view text, std::uint64_t tokens);
  std::vector<ChoiceText> finish();
  // How many tokens had text that belongs to the reasoning or its markers, those before it included.
  std::uint64_t reasoning_tokens() const { return reasoning_tokens_; }
  bool called() const { return called_; }  // a call has been told

 private:
  std::vector<ChoiceText> parts(std::vector<AnswerEvent> events);
  std::string new_id() const;

  const AnswerRules& rules_;
  std::function<std::uint64_t()> random_;
  AnswerParser parser_;
  std::size_t bytes_ = 0;
  std::uint64_t reasoning_tokens_ = 0, other_tokens_ = 0;  // those held back are neither yet
  bool called_ = false;
};

}  // namespace baton::frontend
