// [TOOL_CALLS][{"name": "f", "arguments": {...}}, ...], or a marker for each call: [TOOL_CALLS]f[ARGS]{...},
// [TOOL_CALLS]f[CALL_ID]x[ARGS]{...}, [TOOL_CALLS]f{...} (Mistral's models, from tokenizer v3 to v13).
#include <optional>

#include "text/answer/call_parser.hpp"
#include "text/answer/json_call.hpp"
#include "text/answer/marker_search.hpp"

namespace baton::text {
namespace {

constexpr std::size_t kMostHeld = 1024;  // bytes before a call's object

class MistralParser final : public CallParser {
 public:
  explicit MistralParser(AnswerEvents& events) : events_(&events) {}

  void take(char c) override {
    switch (state_) {
      case State::text:
        return take_text(c);
      case State::call:
        return take_call(c);
      case State::garbled:
        return take_garbled(c);
      case State::behind_item:
        return take_behind_item(c);
      default:
        return take_before(c);
    }
  }

  void finish() override {
    if (call_) events_->content(call_->take_held());
    events_->arguments(garbled_markers_.take_held());
    const bool separator = state_ == State::item && held_.starts_with(',');
    if (!separator) events_->content(held_);
    held_.clear();
    events_->content(markers_.take_held());
  }

 private:
  enum class State { text, opened, name, behind_name, tag, id, item, behind_item, call, garbled };

  void take_text(char c) {
    if (skip_space_ && is_space(c)) return;
    skip_space_ = false;
    std::string free;
    const auto found = markers_.take(c, free);
    events_->content(free);
    if (found) open(markers_.take_held());
  }

  void open(std::string marker) {
    held_ = std::move(marker);
    name_.clear();
    state_ = State::opened;
  }

  // Between the marker and an object. What fits no form is content, the marker included.
  void take_before(char c) {
    if (held_.size() >= kMostHeld || !fits(c)) return give_up(c);
    if (call_) return take_call(c);
    held_ += c;
  }

  bool fits(char c) {
    switch (state_) {
      case State::opened:
        if (is_space(c)) return true;
        in_array_ = c == '[';
        if (c == '{') return begin_object();
        state_ = in_array_ ? State::item : State::name;
        return in_array_ || add_to_name(c);
      case State::name:
        if (is_space(c)) {
          state_ = State::behind_name;
          return true;
        }
        if (may_be_in_name(c)) return add_to_name(c);
        return behind_name(c);
      case State::behind_name:
        return is_space(c) || behind_name(c);
      case State::tag:
        tag_ += c;
        if (tag_ == kMistralArguments) state_ = State::behind_name;
        if (tag_ == kMistralId) state_ = State::id;
        return kMistralArguments.starts_with(tag_) || kMistralId.starts_with(tag_);
      case State::id:
        return c != '[' || behind_name(c);
      case State::item:
        return is_space(c) || (c == '{' && begin_object());
      default:
        return false;
    }
  }

  bool add_to_name(char c) {
    name_ += c;
    return may_be_in_name(c);
  }

  bool behind_name(char c) {
    if (c == '{') {
      call_.emplace(*events_, name_, std::exchange(held_, {}));
      state_ = State::call;
      return true;
    }
    tag_ = c;
    state_ = State::tag;
    return c == '[';
  }

  bool begin_object() {
    call_.emplace(*events_, JsonCall::Rules{}, std::exchange(held_, {}));
    state_ = State::call;
    return true;
  }

  void give_up(char c) {
    events_->content(std::exchange(held_, {}));
    state_ = State::text;
    skip_space_ = false;
    take_text(c);
  }

  void take_call(char c) {
    const JsonCall::Step step = call_->take(c);
    if (step == JsonCall::Step::more) return;
    held_ = call_->take_held();
    call_.reset();
    switch (step) {
      case JsonCall::Step::garbled:
        state_ = State::garbled;
        return;
      case JsonCall::Step::refused:
        return give_up(c);
      default:
        skip_space_ = true;
        state_ = in_array_ ? State::behind_item : State::text;
        if (step == JsonCall::Step::overrun) take(c);
    }
  }

  void take_behind_item(char c) {
    if (is_space(c)) return;
    if (c == ',') {
      held_ = ",";
      state_ = State::item;
      return;
    }
    state_ = State::text;
    if (c != ']') take_text(c);
  }

  void take_garbled(char c) {
    std::string free;
    const auto found = garbled_markers_.take(c, free);
    events_->arguments(free);
    if (found) open(garbled_markers_.take_held());
  }

  AnswerEvents* events_;
  State state_ = State::text;
  MarkerSearch markers_{{kMistralCalls}};
  MarkerSearch garbled_markers_{{kMistralCalls}};  // in arguments whose brackets tell nothing any more
  std::string held_;
  std::string name_;
  std::string tag_;
  std::optional<JsonCall> call_;
  bool in_array_ = false;
  bool skip_space_ = false;  // directly behind a call
};

}  // namespace

std::unique_ptr<CallParser> make_mistral_parser(AnswerEvents& events) {
  return std::make_unique<MistralParser>(events);
}

}  // namespace baton::text
