// <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>, anywhere in the text (Qwen 2.5 and 3,
// Hermes).
#include <optional>

#include "text/answer/call_parser.hpp"
#include "text/answer/json_call.hpp"
#include "text/answer/marker_search.hpp"

namespace baton::text {
namespace {

class HermesParser final : public CallParser {
 public:
  explicit HermesParser(AnswerEvents& events) : events_(&events) {}

  void take(char c) override {
    if (call_) return take_call(c);
    if (garbled_) return take_garbled(c);
    take_text(c);
  }

  void finish() override {
    if (call_) events_->content(call_->take_held());
    const std::string arguments = end_.take_held();
    if (!breaks_off_in(kHermesEnd, arguments)) events_->arguments(arguments);
    const std::string rest = markers_.take_held();
    if (!open_ || !breaks_off_in(kHermesEnd, rest)) events_->content(rest);
  }

 private:
  void take_text(char c) {
    if (skip_space_ && is_space(c)) return;
    skip_space_ = false;
    std::string free;
    const auto found = markers_.take(c, free);
    events_->content(free);
    if (!found) return;
    std::string held = markers_.take_held();
    if (*found == 0) {
      open_ = false;
      call_.emplace(*events_, JsonCall::Rules{}, std::move(held));
    } else if (open_) {
      behind_end();
    } else {
      events_->content(held);
    }
  }

  void take_call(char c) {
    const JsonCall::Step step = call_->take(c);
    if (step == JsonCall::Step::more) return;
    events_->content(call_->take_held());
    call_.reset();
    switch (step) {
      case JsonCall::Step::garbled:
        garbled_ = true;
        break;
      case JsonCall::Step::refused:
        take_text(c);
        break;
      default:
        open_ = skip_space_ = true;
        if (step == JsonCall::Step::overrun) take_text(c);
    }
  }

  void take_garbled(char c) {
    std::string free;
    const auto found = end_.take(c, free);
    events_->arguments(free);
    if (!found) return;
    end_.take_held();
    garbled_ = false;
    behind_end();
  }

  void behind_end() {
    open_ = false;
    skip_space_ = true;
  }

  AnswerEvents* events_;
  MarkerSearch markers_{{kHermesBegin, kHermesEnd}};
  MarkerSearch end_{{kHermesEnd}};  // in arguments whose brackets tell nothing any more
  std::optional<JsonCall> call_;
  bool garbled_ = false;
  bool open_ = false;        // a call's object is over, its closing marker has yet to come
  bool skip_space_ = false;  // directly behind a marker or a call
};

}  // namespace

std::unique_ptr<CallParser> make_hermes_parser(AnswerEvents& events) {
  return std::make_unique<HermesParser>(events);
}

}  // namespace baton::text
