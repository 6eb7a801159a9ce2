#include "frontend/answer_reader.hpp"

#include <utility>

namespace baton::frontend {

AnswerReader::AnswerReader(const AnswerRules& rules, std::function<std::uint64_t()> random)
    : rules_(rules),
      random_(std::move(random)),
      parser_(rules.format, rules.inside_reasoning, &rules.types) {}

std::vector<ChoiceText> AnswerReader::push(std::string_view text, std::uint64_t tokens) {
  std::vector<AnswerEvent> events = parser_.push(text);
  if (bytes_ < parser_.reasoning_bytes())
    reasoning_tokens_ = tokens - other_tokens_;
  else if (!events.empty())
    other_tokens_ = tokens - reasoning_tokens_;
  bytes_ += text.size();
  return parts(std::move(events));
}

std::vector<ChoiceText> AnswerReader::finish() { return parts(parser_.finish()); }

std::vector<ChoiceText> AnswerReader::parts(std::vector<AnswerEvent> events) {
  std::vector<ChoiceText> out;
  const auto wanted = [&](std::size_t call) { return call == 0 || rules_.several_calls; };
  for (AnswerEvent& event : events) {
    ChoiceText part;
    if (auto* reasoning = std::get_if<ReasoningText>(&event)) {
      if (!rules_.show_reasoning) continue;
      part.reasoning = std::move(reasoning->text);
    } else if (auto* content = std::get_if<ContentText>(&event)) {
      part.text = std::move(content->text);
    } else if (auto* call = std::get_if<CallBegun>(&event)) {
      if (!wanted(call->call)) continue;
      called_ = true;
      part.calls.push_back({call->call, new_id(), std::move(call->name), {}});
    } else if (auto* arguments = std::get_if<CallArguments>(&event)) {
      if (!wanted(arguments->call)) continue;
      part.calls.push_back({arguments->call, {}, {}, std::move(arguments->text)});
    }
    out.push_back(std::move(part));
  }
  return out;
}

// Mistral's templates want ids of nine letters and digits, and refuse a conversation with others.
std::string AnswerReader::new_id() const {
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const bool mistral = rules_.format.calls == CallFormat::mistral;
  const std::size_t digits = mistral ? 9 : 24;
  std::string id = mistral ? "" : "call_";
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    if (i % 8 == 0) bits = random_();
    id += kDigits[bits % kDigits.size()];
    bits /= kDigits.size();
  }
  return id;
}

}  // namespace baton::frontend
