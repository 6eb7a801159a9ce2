// [f(a=1, b='x'), g()] as the whole answer: a Python list of calls whose arguments are literals, perhaps
// between <|python_start|> and <|python_end|> (Llama 3.2, Llama 4, ToolACE). An answer that begins otherwise
// is content, and so is what follows the list.
//
// Invariant: what has not been told is held as it was written, so that it can become content.
#include "text/answer/call_parser.hpp"
#include "text/answer/marker_search.hpp"
#include "text/answer/python_literal.hpp"
#include "text/grammar_text/json_values.hpp"

namespace baton::text {
namespace {

constexpr std::size_t kMostHeld = 4096;  // bytes

class PythonicParser final : public CallParser {
 public:
  explicit PythonicParser(AnswerEvents& events) : events_(&events) {}

  void take(char c) override {
    if (state_ == State::text) return events_->content({&c, 1});
    held_ += c;
    if (!fits(c) || held_.size() > kMostHeld) give_up();
  }

  // A call that has begun and is cut has what is whole of it; separators are nobody's content.
  void finish() override {
    const bool cut = begun_ || (told_ && held_.find_first_not_of(" \n\r\t,") == std::string::npos) ||
                     (state_ == State::behind && breaks_off_in(kPythonEnd, held_));
    if (!cut) events_->content(held_);
    held_.clear();
  }

 private:
  enum class State {
    before,
    item,
    name,
    arguments,
    key,
    behind_key,
    value,
    behind_value,
    behind_call,
    behind,
    text
  };

  // Whether an answer of calls may go on with `c`.
  bool fits(char c) {
    switch (state_) {
      case State::before:
        return take_before();
      case State::item:
        if (is_space(c)) return true;
        if (told_ && c == ']') return next(State::behind);
        name_ = c;
        return may_begin_pythonic(c) && next(State::name);
      case State::name:
        if (c == '(') return next(State::arguments);
        name_ += c;
        return may_be_in_pythonic(c) && name_.size() <= kMostName;
      case State::arguments:
        if (is_space(c)) return true;
        if (c == ')') return end_call();
        key_ = c;
        return may_begin_pythonic(c) && next(State::key);
      case State::key:
        if (may_be_in_pythonic(c)) key_ += c;
        if (may_be_in_pythonic(c)) return key_.size() <= kMostName;
        state_ = State::behind_key;
        [[fallthrough]];
      case State::behind_key:
        return is_space(c) || (c == '=' && begin_value());
      case State::value:
        return take_value(c);
      case State::behind_value:
        if (c == ')') return end_call();
        return is_space(c) || (c == ',' && next(State::arguments));
      case State::behind_call:
        if (c == ']') return next(State::behind);
        return is_space(c) || (c == ',' && next(State::item));
      case State::behind:
        return take_behind();
      case State::text:
        break;
    }
    return false;
  }

  bool next(State state) {
    state_ = state;
    if (state == State::behind) held_.clear();
    return true;
  }

  bool take_before() {
    std::string_view rest = trimmed(held_);
    if (rest.starts_with(kPythonBegin)) rest = trimmed(rest.substr(kPythonBegin.size()));
    return kPythonBegin.starts_with(rest) || (rest == "[" && next(State::item));
  }

  bool take_behind() {
    const std::string_view rest = trimmed(held_);
    if (rest == kPythonEnd) held_.clear();
    return kPythonEnd.starts_with(rest);
  }

  bool begin_value() {
    literal_ = PythonLiteral(kMostDepth - 1);
    before_value_ = (begun_ ? ", " : "{") + json_quoted(key_) + ": ";
    return next(State::value);
  }

  bool take_value(char c) {
    std::string json;
    const PythonLiteral::Step step = literal_.take(c, json);
    if (!json.empty()) tell(std::exchange(before_value_, {}) + json);
    if (step == PythonLiteral::Step::refused) return false;
    if (literal_.whole()) state_ = State::behind_value;
    if (step != PythonLiteral::Step::again) return true;
    held_ = c;
    return fits(c);
  }

  void tell(const std::string& json) {
    if (!begun_) events_->call(name_);
    begun_ = told_ = true;
    events_->arguments(json);
    held_.clear();
  }

  bool end_call() {
    tell(begun_ ? "}" : "{}");
    begun_ = false;
    return next(State::behind_call);
  }

  // White space behind calls belongs to them.
  void give_up() {
    events_->content(told_ && !begun_ ? trimmed(held_) : held_);
    held_.clear();
    state_ = State::text;
  }

  static std::string_view trimmed(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    return text;
  }

  AnswerEvents* events_;
  State state_ = State::before;
  std::string held_;
  std::string name_;
  std::string key_;
  std::string before_value_;  // as JSON, to be told with its beginning
  PythonLiteral literal_{0};
  bool begun_ = false;  // the call that is being read
  bool told_ = false;   // a call has begun
};

}  // namespace

std::unique_ptr<CallParser> make_pythonic_parser(AnswerEvents& events) {
  return std::make_unique<PythonicParser>(events);
}

}  // namespace baton::text
