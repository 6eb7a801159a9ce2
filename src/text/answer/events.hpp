// The events of an answer while they are gathered: what belongs together is joined.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "baton/text/answer_format.hpp"

namespace baton::text {

// Of markers: what may stand around them.
inline bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

class AnswerEvents {
 public:
  void reasoning(std::string_view text) { add<ReasoningText>(text); }
  void content(std::string_view text) { add<ContentText>(text); }
  void call(std::string name) { list_.emplace_back(CallBegun{calls_++, std::move(name)}); }
  // Of the call that began last.
  void arguments(std::string_view text) {
    if (text.empty()) return;
    auto* last = list_.empty() ? nullptr : std::get_if<CallArguments>(&list_.back());
    if (last == nullptr) last = &std::get<CallArguments>(list_.emplace_back(CallArguments{calls_ - 1, {}}));
    last->text += text;
  }

  std::vector<AnswerEvent> take() { return std::exchange(list_, {}); }

 private:
  template <class Event>
  void add(std::string_view text) {
    if (text.empty()) return;
    auto* last = list_.empty() ? nullptr : std::get_if<Event>(&list_.back());
    if (last == nullptr) last = &std::get<Event>(list_.emplace_back(Event{}));
    last->text += text;
  }

  std::vector<AnswerEvent> list_;
  std::size_t calls_ = 0;
};

}  // namespace baton::text
