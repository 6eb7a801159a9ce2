#include "text/answer/json_call.hpp"

#include <nlohmann/json.hpp>

#include "text/answer/call_parser.hpp"

namespace baton::text {
namespace {

constexpr std::size_t kMostText = kMostName;  // bytes of a key or a name
constexpr std::size_t kMostHeld = 1 << 16;    // bytes before a call has begun

// The string that stands between quotes; empty where it is none.
std::string unquoted(const std::string& text) {
  const auto parsed = nlohmann::json::parse('"' + text + '"', nullptr, false);
  return parsed.is_string() ? parsed.get<std::string>() : std::string();
}

}  // namespace

JsonCall::Step JsonCall::take(char c) {
  const Step step = this->step(c);
  const bool taken = step != Step::refused && step != Step::overrun;
  if (!taken || begun_) return step;
  if (held_.size() >= kMostHeld) return Step::refused;
  held_ += c;
  return step;
}

JsonCall::Step JsonCall::step(char c) {
  const bool between =
      state_ != State::key && state_ != State::string && state_ != State::nested && state_ != State::scalar;
  if (between && is_space(c)) return Step::more;
  switch (state_) {
    case State::open:
      if (c != '{') return no();
      state_ = State::before_key;
      return Step::more;
    case State::before_key:
      if (c != '"') return no();
      text_.clear();
      state_ = State::key;
      return Step::more;
    case State::key:
      return take_key(c);
    case State::colon:
      if (c != ':') return no();
      state_ = State::value;
      return Step::more;
    case State::value:
      return begin_value(c);
    case State::string:
      return take_name(c);
    case State::nested:
      return take_nested(c);
    case State::scalar:
      return take_scalar(c);
    case State::comma:
      return take_comma(c);
  }
  return no();
}

bool JsonCall::string_ends(char c) {
  if (escaped_) {
    escaped_ = false;
    return false;
  }
  escaped_ = c == '\\';
  return c == '"';
}

JsonCall::Step JsonCall::take_key(char c) {
  if (!string_ends(c)) {
    if (text_.size() >= kMostText) return no();
    text_ += c;
    return Step::more;
  }
  const bool arguments = text_ == "arguments" || text_ == "parameters";
  const bool known = arguments || text_ == "name" || text_ == "type" || text_ == "id";
  if (rules_.known_keys_only && !known) return no();
  field_ = text_ == "name" && !named_     ? Field::name
           : arguments && !has_arguments_ ? Field::arguments
                                          : Field::other;
  state_ = State::colon;
  return Step::more;
}

JsonCall::Step JsonCall::begin_value(char c) {
  if (field_ == Field::name) {
    if (c != '"') return no();
    text_.clear();
    state_ = State::string;
    return Step::more;
  }
  if (field_ == Field::arguments) {
    if (c != '{') return no();
    has_arguments_ = true;
    state_ = State::nested;
    if (named_) begin();
    return take_nested(c);
  }
  if (c == '{' || c == '[' || c == '"') {
    state_ = State::nested;
    return take_nested(c);
  }
  if (c == ',' || c == '}' || c == ']' || c == ':') return no();
  state_ = State::scalar;
  return Step::more;
}

JsonCall::Step JsonCall::take_name(char c) {
  if (!string_ends(c)) {
    if (text_.size() >= kMostText) return no();
    text_ += c;
    return Step::more;
  }
  name_ = unquoted(text_);
  if (name_.empty()) return no();
  named_ = true;
  state_ = State::comma;
  if (has_arguments_) begin();
  return Step::more;
}

void JsonCall::begin() {
  begun_ = true;
  held_.clear();
  events_->call(name_);
  events_->arguments(std::exchange(arguments_, {}));
}

void JsonCall::argument(char c) {
  if (begun_) {
    events_->arguments({&c, 1});
  } else {
    arguments_ += c;
  }
}

// A value with brackets, or a string: only these decide where it ends. What else is in it, is the model's.
JsonCall::Step JsonCall::take_nested(char c) {
  bool bad = false;
  if (in_string_) {
    in_string_ = !string_ends(c);
  } else if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    bad = closers_.size() >= kMostDepth;
    closers_ += c == '{' ? '}' : ']';
  } else if (c == '}' || c == ']') {
    bad = closers_.empty() || closers_.back() != c;
    if (!bad) closers_.pop_back();
  }
  if (bad && (field_ != Field::arguments || !begun_)) return no();
  if (field_ == Field::arguments) argument(c);
  if (bad) return Step::garbled;
  if (in_string_ || !closers_.empty()) return Step::more;
  if (bare_) return Step::ended;
  state_ = State::comma;
  return Step::more;
}

JsonCall::Step JsonCall::take_scalar(char c) {
  if (c != ',' && c != '}' && !is_space(c)) return Step::more;
  state_ = State::comma;
  return is_space(c) ? Step::more : take_comma(c);
}

JsonCall::Step JsonCall::take_comma(char c) {
  if (c == '}') return close();
  if (c != ',') return no();
  state_ = State::before_key;
  return Step::more;
}

JsonCall::Step JsonCall::close() {
  if (begun_) return Step::ended;
  if (!named_ || rules_.arguments_needed) return no();
  arguments_ = "{}";
  begin();
  return Step::ended;
}

}  // namespace baton::text
