// {"name": "f", "parameters": {...}} as the whole answer, several behind each other with ";" between them,
// perhaps behind <|python_tag|> (Llama 3.1, 3.2, 3.3). An answer that begins otherwise is content.
#include <optional>

#include "text/answer/call_parser.hpp"
#include "text/answer/json_call.hpp"

namespace baton::text {
namespace {

constexpr std::size_t kMostHeld = 256;  // of white space and separators

// The object has no marker of its own: any other key, or no arguments, and it is a JSON answer.
constexpr JsonCall::Rules kRules{.known_keys_only = true, .arguments_needed = true};

class Llama3Parser final : public CallParser {
 public:
  explicit Llama3Parser(AnswerEvents& events) : events_(&events) {}

  void take(char c) override {
    switch (state_) {
      case State::before:
        return take_before(c);
      case State::call:
        return take_call(c);
      case State::garbled:
        return events_->arguments({&c, 1});
      case State::text:
        return events_->content({&c, 1});
    }
  }

  void finish() override {
    if (call_) events_->content(call_->take_held());
    const bool separators = called_ && held_.find_first_not_of(" \n\r\t;") == std::string::npos;
    if (!separators) events_->content(held_);
    held_.clear();
  }

 private:
  enum class State { before, call, garbled, text };

  // Of what stands before an object: what is not white space, and neither the tag nor a separator in whole.
  std::string_view unexplained() const {
    std::string_view rest = held_;
    const auto trim = [&] {
      while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
    };
    trim();
    const std::string_view lead = called_ ? ";" : kLlamaTag;
    if (rest.starts_with(lead)) rest.remove_prefix(lead.size());
    trim();
    return rest;
  }

  void take_before(char c) {
    held_ += c;
    const std::string_view rest = unexplained();
    const bool may_become_tag = !called_ && kLlamaTag.starts_with(rest);
    if ((rest.empty() || may_become_tag) && held_.size() < kMostHeld) return;
    if (rest != "{") return give_up();
    held_.pop_back();
    call_.emplace(*events_, kRules, std::exchange(held_, {}));
    state_ = State::call;
    take_call(c);
  }

  // White space behind a call belongs to it.
  void give_up() {
    std::string_view text = held_;
    while (called_ && !text.empty() && is_space(text.front())) text.remove_prefix(1);
    events_->content(text);
    held_.clear();
    state_ = State::text;
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
        give_up();
        return events_->content({&c, 1});
      default:
        called_ = true;
        state_ = State::before;
        if (step == JsonCall::Step::overrun) take_before(c);
    }
  }

  AnswerEvents* events_;
  State state_ = State::before;
  std::string held_;  // before an object
  std::optional<JsonCall> call_;
  bool called_ = false;
};

}  // namespace

std::unique_ptr<CallParser> make_llama3_parser(AnswerEvents& events) {
  return std::make_unique<Llama3Parser>(events);
}

}  // namespace baton::text
