// <tool_call>f\n<arg_key>a</arg_key>\n<arg_value>value</arg_value>\n</tool_call>, anywhere in the text
// (GLM 4.5 to 4.7), with or without the line breaks. Values are bare text; of which type they are, the
// function's schema tells.
#include "text/answer/bare_value.hpp"
#include "text/answer/call_parser.hpp"
#include "text/answer/tagged_calls.hpp"
#include "text/grammar_text/json_values.hpp"

namespace baton::text {
namespace {

class Glm45Parser final : public CallParser {
 public:
  Glm45Parser(AnswerEvents& events, const ParameterTypes* types)
      : types_(types),
        calls_(events, {kHermesBegin, kHermesEnd}),
        value_(events, kArgValueEnd, BareValue::LineBreaks::of_text) {}

  void take(char c) override {
    if (state_ != State::text && state_ != State::value) calls_.hold(c);
    switch (state_) {
      case State::text:
        return take_text(c);
      case State::name:
        return take_name(c);
      case State::between:
        return take_between(c);
      case State::key:
        return take_key(c);
      case State::behind_key:
        return take_behind_key(c);
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
  enum class State { text, name, between, key, behind_key, value };

  void take_text(char c) {
    if (!calls_.take_text(c)) return;
    name_.clear();
    state_ = State::name;
  }

  void take_name(char c) {
    if (!name_.empty() && (is_space(c) || c == '<')) {
      state_ = State::between;
      take_between(c);
    } else if (may_be_in_name(c) && name_.size() < kMostName) {
      name_ += c;
    } else if (!is_space(c) || calls_.holds_too_much()) {
      break_off();
    }
  }

  // What may stand before a parameter or behind the last one.
  void take_between(char c) {
    if (skips(c)) return;
    mark_ += c;
    if (mark_ == kArgKeyBegin) {
      mark_.clear();
      key_.clear();
      state_ = State::key;
    } else if (mark_ == kHermesEnd) {
      mark_.clear();
      calls_.tell(name_, calls_.begun() ? "}" : "{}");
      calls_.end(false);
      state_ = State::text;
    } else if (!kArgKeyBegin.starts_with(mark_) && !kHermesEnd.starts_with(mark_)) {
      break_off();
    }
  }

  void take_key(char c) {
    if (mark_.empty() && may_be_in_tag(c) && key_.size() < kMostName) {
      key_ += c;
      return;
    }
    mark_ += c;
    if (mark_ == kArgKeyEnd && !key_.empty()) {
      mark_.clear();
      state_ = State::behind_key;
    } else if (mark_ == kArgKeyEnd || !kArgKeyEnd.starts_with(mark_)) {
      break_off();
    }
  }

  void take_behind_key(char c) {
    if (skips(c)) return;
    mark_ += c;
    if (mark_ == kArgValueBegin) {
      mark_.clear();
      calls_.tell(name_, (calls_.begun() ? ", " : "{") + json_quoted(key_) + ": ");
      value_.begin(types_, name_, key_);
      state_ = State::value;
    } else if (!kArgValueBegin.starts_with(mark_)) {
      break_off();
    }
  }

  bool skips(char c) const { return mark_.empty() && is_space(c) && !calls_.holds_too_much(); }

  void break_off() {
    mark_.clear();
    state_ = State::text;
    for (const char c : calls_.break_off()) take(c);
  }

  const ParameterTypes* types_;
  TaggedCalls calls_;
  BareValue value_;
  State state_ = State::text;
  std::string name_;
  std::string mark_;  // the tag that is being read
  std::string key_;
};

}  // namespace

std::unique_ptr<CallParser> make_glm45_parser(AnswerEvents& events, const ParameterTypes* types) {
  return std::make_unique<Glm45Parser>(events, types);
}

}  // namespace baton::text
