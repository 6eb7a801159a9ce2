// <tool_call>\n<function=f>\n<parameter=a>\nvalue\n</parameter>\n</function>\n</tool_call>, anywhere in the
// text, with or without the outer tag, which the model forgets (Qwen 3 Coder). Values are bare text; of which
// type they are, the function's schema tells.
#include "text/answer/bare_value.hpp"
#include "text/answer/call_parser.hpp"
#include "text/answer/tagged_calls.hpp"
#include "text/grammar_text/json_values.hpp"

namespace baton::text {
namespace {

class Qwen3CoderParser final : public CallParser {
 public:
  Qwen3CoderParser(AnswerEvents& events, const ParameterTypes* types)
      : types_(types),
        calls_(events, {kHermesBegin, kFunctionBegin, kHermesEnd}),
        value_(events, kParameterEnd, BareValue::LineBreaks::of_markers) {}

  void take(char c) override {
    if (state_ != State::text && state_ != State::value) calls_.hold(c);
    switch (state_) {
      case State::text:
        return take_text(c);
      case State::opened:
        return take_opened();
      case State::name:
        return take_name(c);
      case State::between:
        return take_between(c);
      case State::key:
        return take_key(c);
      case State::value:
        if (value_.take(c)) state_ = State::between;
    }
  }

  void finish() override {
    if (state_ == State::value)
      value_.finish();
    else
      calls_.finish();
  }

 private:
  enum class State { text, opened, name, between, key, value };

  void take_text(char c) {
    const auto found = calls_.take_text(c);
    if (!found) return;
    state_ = *found == kBegin ? State::opened : State::name;
    name_.clear();
  }

  void take_opened() {
    std::string_view rest = calls_.behind_marker();
    while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
    if (rest == kFunctionBegin) {
      state_ = State::name;
    } else if (!kFunctionBegin.starts_with(rest) || calls_.holds_too_much()) {
      break_off();
    }
  }

  void take_name(char c) {
    if (c == '>' && !name_.empty()) {
      state_ = State::between;
    } else if (may_be_in_name(c) && name_.size() < kMostName) {
      name_ += c;
    } else {
      break_off();
    }
  }

  // What may stand before a parameter or behind the last one.
  void take_between(char c) {
    if (mark_.empty() && is_space(c) && !calls_.holds_too_much()) return;
    mark_ += c;
    if (mark_ == kParameterBegin) {
      mark_.clear();
      key_.clear();
      state_ = State::key;
    } else if (mark_ == kFunctionEnd || (calls_.begun() && mark_ == kHermesEnd)) {
      calls_.tell(name_, calls_.begun() ? "}" : "{}");
      calls_.end(mark_ == kFunctionEnd);
      mark_.clear();
      state_ = State::text;
    } else if (!kParameterBegin.starts_with(mark_) && !kFunctionEnd.starts_with(mark_) &&
               !(calls_.begun() && kHermesEnd.starts_with(mark_))) {
      break_off();
    }
  }

  void take_key(char c) {
    if (c == '>' && !key_.empty()) {
      calls_.tell(name_, (calls_.begun() ? ", " : "{") + json_quoted(key_) + ": ");
      value_.begin(types_, name_, key_);
      state_ = State::value;
    } else if (may_be_in_tag(c) && key_.size() < kMostName) {
      key_ += c;
    } else {
      break_off();
    }
  }

  void break_off() {
    mark_.clear();
    state_ = State::text;
    for (const char c : calls_.break_off()) take(c);
  }

  static constexpr std::size_t kBegin = 0;

  const ParameterTypes* types_;
  TaggedCalls calls_;
  BareValue value_;
  State state_ = State::text;
  std::string name_;
  std::string mark_;  // the tag between parameters that is being read
  std::string key_;
};

}  // namespace

std::unique_ptr<CallParser> make_qwen3_coder_parser(AnswerEvents& events, const ParameterTypes* types) {
  return std::make_unique<Qwen3CoderParser>(events, types);
}

}  // namespace baton::text
