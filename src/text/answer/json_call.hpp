// One tool call as a JSON object that comes character by character: {"name": "f", "arguments": {...}}, the
// keys in any order; or, where the name came before it, the arguments' object alone.
//
// Invariant: before the call begins nothing is told and all its text is held, so that it can still be given
// back; from then on the arguments' text is told as it comes.
#pragma once

#include <string>
#include <string_view>

#include "text/answer/events.hpp"

namespace baton::text {

class JsonCall {
 public:
  enum class Step {
    more,     // taken
    refused,  // this is no call: `c` was not taken, take_held() is what was
    ended,    // taken, and the object is whole
    overrun,  // the call has begun but its object breaks off: `c` was not taken
    garbled,  // taken: the arguments' brackets do not match, or nest too deep
  };
  struct Rules {
    bool known_keys_only = false;   // any other key: no call
    bool arguments_needed = false;  // otherwise a call without them has none: {}
  };

  // `before`: text that stood before the object and is content if this is no call.
  JsonCall(AnswerEvents& events, Rules rules, std::string before)
      : events_(&events), rules_(rules), held_(std::move(before)) {}
  // The arguments of a call whose name is known.
  JsonCall(AnswerEvents& events, std::string name, std::string before)
      : events_(&events), held_(std::move(before)), name_(std::move(name)), named_(true), bare_(true) {
    field_ = Field::arguments;
    state_ = State::value;
  }

  Step take(char c);
  std::string take_held() { return std::exchange(held_, {}); }
  bool begun() const { return begun_; }
  bool in_string() const { return in_string_; }  // inside a nested value

 private:
  enum class State { open, before_key, key, colon, value, string, nested, scalar, comma };
  enum class Field { name, arguments, other };

  Step step(char c);
  Step no() const { return begun_ ? Step::overrun : Step::refused; }
  Step take_key(char c);
  Step take_name(char c);
  Step begin_value(char c);
  Step take_nested(char c);
  Step take_scalar(char c);
  Step take_comma(char c);
  Step close();
  bool string_ends(char c);
  void argument(char c);
  void begin();

  AnswerEvents* events_;
  Rules rules_;
  std::string held_;  // all text so far, until the call begins
  std::string name_;
  std::string arguments_;  // until the call begins
  std::string text_;       // the key or name that is being read, as it is written
  std::string closers_;    // of the open brackets of a nested value
  State state_ = State::open;
  Field field_ = Field::other;
  bool named_ = false;
  bool has_arguments_ = false;
  bool begun_ = false;
  bool bare_ = false;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace baton::text
