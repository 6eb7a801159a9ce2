// A Python literal that comes character by character, told as JSON: strings in either quotes, or three of
// them, with their escapes; numbers; True, False, None and JSON's names for them; lists, tuples (arrays) and
// dicts, whose keys become strings.
//
// Invariant: what is told is the beginning of a JSON value, and once it is whole() all of one. Strings are
// told as they come, numbers and names once they are whole. Does not recurse.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace baton::text {

class PythonLiteral {
 public:
  enum class Step {
    more,   // taken
    ended,  // taken, and the value is whole
    again,  // what came before `c` is told, which was not taken: unless that was all, it is to be taken again
    refused,  // this is no literal, or nested too deep
  };

  explicit PythonLiteral(std::size_t most_depth) : most_depth_(most_depth) {}

  // Appends what `c` tells to `json`.
  Step take(char c, std::string& json);
  bool whole() const { return state_ == State::behind && closers_.empty(); }

 private:
  enum class State { value, key, colon, behind, token, quote, two_quotes, string, escape };

  Step take_value(char c, std::string& json);
  Step take_token(char c, std::string& json);
  Step take_two_quotes(char c, std::string& json);
  Step take_string(char c, std::string& json);
  Step take_escape(char c, std::string& json);
  Step take_behind(char c, std::string& json);
  Step open(char c, std::string& json);
  Step close(std::string& json);
  Step end_value();
  Step end_string(std::string& json);
  bool begin_escape(char c, std::string& json);
  void code_point(char32_t value, std::string& json);
  void end_surrogate(std::string& json);
  void separate(std::string& json);
  bool inside_dict() const { return !closers_.empty() && closers_.back() == '}'; }

  std::size_t most_depth_;
  State state_ = State::value;
  std::string closers_;  // of the open brackets
  bool is_key_ = false;  // the string or token that is being read
  bool empty_ = false;   // nothing has come behind the bracket that opened last
  bool comma_ = false;   // one has come, what it separates has not
  std::string token_;    // a number or a name
  char quote_ = 0;
  bool triple_ = false;
  std::size_t quotes_ = 0;  // of three that may end the string
  std::string escape_;      // as it is written
  std::size_t digits_ = 0;  // most that may follow in it
  char32_t base_ = 0;       // of them
  char32_t code_ = 0;
  char32_t surrogate_ = 0;  // the first of a pair
};

// A text that is one literal and white space, as JSON.
std::optional<std::string> python_literal(std::string_view text, std::size_t most_depth);

}  // namespace baton::text
