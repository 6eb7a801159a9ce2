// <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...: an answer of
// messages, each with a header that tells what it is (gpt-oss; the format is described at
// https://cookbook.openai.com/articles/openai-harmony). The prompt has begun the first header.
//
// Invariant: a header is held until it is whole, and then it is nobody's text; what turns out to be none is
// content as it stands. All else is told as it comes.
#include <algorithm>
#include <optional>

#include "text/answer/call_parser.hpp"
#include "text/answer/harmony_header.hpp"
#include "text/answer/json_call.hpp"
#include "text/answer/marker_search.hpp"

namespace baton::text {
namespace {

constexpr std::size_t kMostHeader = kMostName + 256;  // bytes

class HarmonyParser final : public CallParser {
 public:
  HarmonyParser(AnswerEvents& events, HarmonyRules rules) : events_(&events), rules_(rules) {
    if (rules.inside) begin_text(rules.reasoning);
  }

  void take(char c) override {
    if (skip_space_ && is_space(c)) return;
    skip_space_ = false;
    if (state_ == State::header) return take_header(c);
    // Inside a string all is the model's, markers too.
    if (call_ && call_->in_string()) return take_call(c);
    std::string free;
    const auto found = markers_.take(c, free);
    tell(free);
    if (found) take_marker(kHarmonyMarkers[*found], markers_.take_held());
  }

  void finish() override {
    const std::string rest = markers_.take_held();
    if (state_ == State::header) return break_off();
    const bool cut = state_ != State::text && std::ranges::any_of(kHarmonyMarkers, [&](auto marker) {
                       return breaks_off_in(marker, rest);
                     });
    if (!cut) tell(rest);
    end_call();
  }

  bool in_reasoning() const override { return state_ == State::text && reasoning_; }

 private:
  enum class State { header, text, call, garbled, behind };

  // ---- headers

  void take_header(char c) {
    held_ += c;
    std::string free;
    const auto found = markers_.take(c, free);
    if (found) {
      markers_.take_held();
      const std::string_view marker = kHarmonyMarkers[*found];
      if (marker == kHarmonyMessage) return begin_message();
      if (marker != kHarmonyChannel && marker != kHarmonyConstrain) {
        held_.resize(held_.size() - marker.size());
        if (held_.find_first_not_of(" \n\r\t") != std::string::npos) break_off();
        return begin_header(marker);
      }
      marked_ = true;
    }
    if (!may_become_header(c)) give_up();
  }

  // Behind `marker`, which belongs to it or has ended the message before.
  void begin_header(std::string_view marker) {
    marked_ = marker == kHarmonyStart || marker == kHarmonyChannel;
    held_ = marked_ ? marker : "";
    skip_space_ = !marked_;
    if (!marked_) begin_text(false);
    state_ = State::header;
  }

  // With `c`, its last character; from word to word.
  bool may_become_header(char c) const {
    if (held_.size() > kMostHeader) return false;
    if (is_space(c) && !parse_harmony_header(held_)) return false;
    std::string_view seen = held_;
    while (!seen.empty() && is_space(seen.front())) seen.remove_prefix(1);
    return marked_ || kHarmonyTo.starts_with(seen.substr(0, kHarmonyTo.size())) ||
           std::ranges::any_of(kHarmonyMarkers, [&](auto marker) { return marker.starts_with(seen); });
  }

  // It is text of the message that it seemed to end. What may begin a marker is looked at again.
  void give_up() {
    const std::string rest = markers_.take_held();
    held_.resize(held_.size() - rest.size());
    state_ = State::text;
    say(std::exchange(held_, {}));
    for (const char c : rest) take(c);
  }

  void break_off() {
    state_ = State::text;
    if (!is_harmony_markup(held_)) say(held_);
    held_.clear();
  }

  void begin_message() {
    const std::string held = std::exchange(held_, {});
    const std::string_view text = held;
    const auto header = parse_harmony_header(text.substr(0, text.size() - kHarmonyMessage.size()));
    state_ = State::text;
    if (!header) return say(held);
    begin_text(rules_.reasoning && header->channel == kHarmonyReasoning);
    if (!rules_.calls || header->recipient.empty()) return;
    std::string_view name = header->recipient;
    if (name.starts_with(kHarmonyFunctions)) name.remove_prefix(kHarmonyFunctions.size());
    name_ = name;
    call_.emplace(*events_, name_, std::string());
    state_ = State::call;
  }

  void begin_text(bool reasoning) {
    state_ = State::text;
    reasoning_ = reasoning;
    between_ = reasoning ? reasoned_ : answered_;
  }

  // ---- messages

  // `held`: the white space before it with it.
  void take_marker(std::string_view marker, const std::string& held) {
    if (marker == kHarmonyMessage || marker == kHarmonyConstrain) return tell(held);
    tell(std::string_view(held).substr(0, held.size() - marker.size()));
    end_call();
    if (state_ != State::text) begin_text(false);
    begin_header(marker);
  }

  void tell(std::string_view text) {
    for (const char c : text) {
      if (state_ == State::behind) begin_text(false);
      if (state_ == State::call) {
        take_call(c);
      } else if (state_ == State::garbled) {
        events_->arguments({&c, 1});
      } else {
        say({&c, 1});
      }
    }
  }

  // Messages of one kind come to one text.
  void say(std::string_view text) {
    if (text.empty()) return;
    const std::string_view line_break = std::exchange(between_, false) ? "\n" : "";
    (reasoning_ ? reasoned_ : answered_) = true;
    for (const std::string_view part : {line_break, text})
      reasoning_ ? events_->reasoning(part) : events_->content(part);
  }

  void take_call(char c) {
    const JsonCall::Step step = call_->take(c);
    if (step == JsonCall::Step::more) return;
    const std::string held = call_->take_held();
    call_.reset();
    if (step == JsonCall::Step::ended) {
      state_ = State::behind;
      skip_space_ = true;
    } else if (step == JsonCall::Step::garbled) {
      state_ = State::garbled;
    } else {  // no object: text of its channel
      state_ = State::text;
      say(held + c);
    }
  }

  void end_call() {
    if (call_ && !call_->begun()) {
      events_->call(name_);
      events_->arguments("{}");
    }
    call_.reset();
  }

  AnswerEvents* events_;
  HarmonyRules rules_;
  State state_ = State::header;
  MarkerSearch markers_{{kHarmonyMarkers.begin(), kHarmonyMarkers.end()}};
  std::string held_;                          // of a header
  bool marked_ = false;                       // a marker is in it
  bool skip_space_ = false;                   // directly behind a message's end or a call's object
  bool reasoning_ = false;                    // what this message's text is
  bool between_ = false;                      // a line break is due before it
  bool reasoned_ = false, answered_ = false;  // some has been told
  std::string name_;
  std::optional<JsonCall> call_;
};

}  // namespace

std::unique_ptr<CallParser> make_harmony_parser(AnswerEvents& events, HarmonyRules rules) {
  return std::make_unique<HarmonyParser>(events, rules);
}

}  // namespace baton::text
