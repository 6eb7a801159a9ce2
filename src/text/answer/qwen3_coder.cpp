// <tool_call>\n<function=f>\n<parameter=a>\nvalue\n</parameter>\n</function>\n</tool_call>, anywhere in the
// text, with or without the outer tag, which the model forgets (Qwen 3 Coder). Values are bare text; of which
// type they are, the function's schema tells.
//
// Invariant: before a call begins, all its text is held so that it can be given back.
#include <algorithm>

#include "text/answer/call_parser.hpp"
#include "text/answer/json_string.hpp"
#include "text/answer/marker_search.hpp"
#include "text/answer/python_literal.hpp"
#include "text/grammar_text/json_values.hpp"
#include "text/grammar_text/schema_keywords.hpp"
#include "text/grammar_text/schema_refs.hpp"

namespace baton::text {
namespace {

constexpr std::size_t kMostHeld = 4096;      // bytes before a call begins
constexpr std::size_t kMostValue = 1 << 20;  // of a value that is no string

constexpr auto kString = static_cast<JsonTypes>(JsonType::string);
constexpr auto kNull = static_cast<JsonTypes>(JsonType::null);

// `text` as JSON that has one of the types and is among `listed`, where it is: as JSON itself, or as Python,
// in which templates write earlier calls' values. `listed`: null for any value.
std::optional<std::string> typed(std::string_view text, JsonTypes types, const Json* listed) {
  if (text.find('\0') != std::string_view::npos) return std::nullopt;  // the library's end of input
  Json value = Json::parse(text, nullptr, false);
  std::string written(text);
  if (value.is_discarded()) {
    auto translated = python_literal(text, kMostDepth - 1);
    if (!translated) return std::nullopt;
    written = *std::move(translated);
    value = Json::parse(written, nullptr, false);
  }
  const bool fits =
      !value.is_discarded() && (types_of(value) & types) != 0 && !nested_deeper(value, kMostDepth - 2);
  if (!fits) return std::nullopt;
  if (listed != nullptr && std::find(listed->begin(), listed->end(), value) == listed->end())
    return std::nullopt;
  return written;
}

std::string json_of(std::string_view text, const ParameterType& type) {
  const std::size_t begin = std::min(text.find_first_not_of(" \n\r\t"), text.size());
  const std::size_t end = text.find_last_not_of(" \n\r\t") + 1;
  // What is no string may be left out, whatever the schema says: as vLLM reads it.
  const JsonTypes others =
      contains(type.types, JsonType::string) ? type.types & ~kString : type.types | kNull;
  if (begin < end) {
    if (auto json = typed(text.substr(begin, end - begin), others, type.others.get()))
      return *std::move(json);
  }
  std::string string = "\"";
  append_json(string, text);
  return string + '"';
}

class Qwen3CoderParser final : public CallParser {
 public:
  Qwen3CoderParser(AnswerEvents& events, const ParameterTypes* types) : events_(&events), types_(types) {}

  void take(char c) override {
    switch (state_) {
      case State::text:
        return take_text(c);
      case State::opened:
        return take_opened(c);
      case State::name:
        return take_name(c);
      case State::between:
        return take_between(c);
      case State::key:
        return take_key(c);
      case State::value:
        return take_value(c);
    }
  }

  // Of a call that has begun, a marker's beginning and a value that is no string are not told.
  void finish() override {
    if (state_ == State::text) {
      const std::string rest = markers_.take_held();
      if (!open_ || !breaks_off_in(kHermesEnd, rest)) events_->content(rest);
    } else if (!begun_) {
      events_->content(held_);
    } else if (state_ == State::value && is_string_) {
      std::string rest = value_end_.take_held();
      if (breaks_off_in(kParameterEnd, rest)) rest.erase(rest.find_first_not_of(" \n\r\t"));
      if (rest.ends_with('\n')) rest.pop_back();
      add_to_value(rest);
    }
  }

 private:
  enum class State { text, opened, name, between, key, value };

  void take_text(char c) {
    if (skip_space_ && is_space(c)) return;
    skip_space_ = false;
    std::string free;
    const auto found = markers_.take(c, free);
    events_->content(free);
    if (!found) return;
    held_ = markers_.take_held();
    opening_ = held_.size();
    if (*found == kBegin || *found == kFunction) {
      state_ = *found == kBegin ? State::opened : State::name;
      name_.clear();
      open_ = begun_ = false;
    } else if (open_) {
      end_text(false);
    } else {
      events_->content(held_);
    }
  }

  void take_opened(char c) {
    held_ += c;
    std::string_view rest = std::string_view(held_).substr(opening_);
    while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
    if (rest == kFunctionBegin) {
      state_ = State::name;
    } else if (!kFunctionBegin.starts_with(rest) || held_.size() > kMostHeld) {
      break_off();
    }
  }

  void take_name(char c) {
    held_ += c;
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
    if (!begun_) held_ += c;
    if (mark_.empty() && is_space(c) && held_.size() <= kMostHeld) return;
    mark_ += c;
    if (mark_ == kParameterBegin) {
      key_.clear();
      state_ = State::key;
    } else if (mark_ == kFunctionEnd || (begun_ && mark_ == kHermesEnd)) {
      const bool open = mark_ == kFunctionEnd;
      tell(begun_ ? "}" : "{}");
      end_text(open);
    } else if (!kParameterBegin.starts_with(mark_) && !kFunctionEnd.starts_with(mark_) &&
               !(begun_ && kHermesEnd.starts_with(mark_))) {
      break_off();
    }
  }

  void take_key(char c) {
    if (!begun_) held_ += c;
    mark_ += c;
    if (c == '>' && !key_.empty()) {
      begin_value();
    } else if (may_be_in_tag(c) && key_.size() < kMostName) {
      key_ += c;
    } else {
      break_off();
    }
  }

  void begin_value() {
    value_type_ = types_ == nullptr ? ParameterType{kString, nullptr} : types_->of(name_, key_);
    is_string_ = value_type_.types == kString;
    tell((begun_ ? ", " : "{") + json_quoted(key_) + (is_string_ ? ": \"" : ": "));
    value_.clear();
    at_start_ = true;
    state_ = State::value;
  }

  // The line breaks next to the markers are theirs.
  void take_value(char c) {
    if (std::exchange(at_start_, false) && c == '\n') return;
    std::string free;
    const auto found = value_end_.take(c, free);
    add_to_value(free);
    if (!found) return;
    std::string last = value_end_.take_held();
    last.erase(last.size() - kParameterEnd.size());
    if (last.ends_with('\n')) last.pop_back();
    add_to_value(last);
    tell(is_string_ ? "\"" : json_of(value_, value_type_));
    state_ = State::between;
  }

  void add_to_value(std::string_view text) {
    value_ += text;
    if (!is_string_ && value_.size() <= kMostValue) return;
    std::string json = is_string_ ? "" : "\"";  // too long to wait for its end
    is_string_ = true;
    append_json(json, value_);
    events_->arguments(json);
    value_.clear();
  }

  void tell(const std::string& json) {
    if (!begun_) events_->call(name_);
    begun_ = true;
    events_->arguments(json);
    held_.clear();
    mark_.clear();
  }

  // `open`: the outer tag's end has yet to come.
  void end_text(bool open) {
    state_ = State::text;
    open_ = open;
    skip_space_ = true;
  }

  // What fits no call is read again as text: all of a call that has not begun but its first marker, or what
  // stands where a parameter should.
  void break_off() {
    std::string rest = std::exchange(mark_, {});
    if (begun_) {
      end_text(true);
    } else {
      events_->content(std::string_view(held_).substr(0, opening_));
      rest = held_.substr(opening_);
      held_.clear();
      state_ = State::text;
      skip_space_ = false;
    }
    for (const char c : rest) take(c);
  }

  static constexpr std::size_t kBegin = 0, kFunction = 2;

  AnswerEvents* events_;
  const ParameterTypes* types_;
  State state_ = State::text;
  MarkerSearch markers_{{kHermesBegin, kHermesEnd, kFunctionBegin}};
  MarkerSearch value_end_{{kParameterEnd}};
  std::string held_;         // of a call that has not begun
  std::size_t opening_ = 0;  // bytes of it that are its first marker
  std::string name_;
  std::string mark_;  // the tag between parameters that is being read
  std::string key_;
  std::string value_;  // what has not been told of it
  ParameterType value_type_{kString, nullptr};
  bool is_string_ = true;
  bool at_start_ = false;
  bool begun_ = false;       // the call that is being read
  bool open_ = false;        // a function is over, the outer tag's end has yet to come
  bool skip_space_ = false;  // directly behind a marker or a call
};

}  // namespace

std::unique_ptr<CallParser> make_qwen3_coder_parser(AnswerEvents& events, const ParameterTypes* types) {
  return std::make_unique<Qwen3CoderParser>(events, types);
}

}  // namespace baton::text
