// The reasoning's end first, then the calls in what follows; but for harmony, whose reasoning is one message
// among others.
#include <optional>

#include "baton/text/answer_format.hpp"
#include "text/answer/call_parser.hpp"
#include "text/answer/events.hpp"
#include "text/answer/marker_search.hpp"

namespace baton {
namespace {

constexpr std::size_t kMostSpace = 64;  // before <think>

class PlainParser final : public text::CallParser {
 public:
  explicit PlainParser(text::AnswerEvents& events) : events_(&events) {}
  void take(char c) override { events_->content({&c, 1}); }
  void finish() override {}

 private:
  text::AnswerEvents* events_;
};

}  // namespace

std::unique_ptr<text::CallParser> text::make_call_parser(CallFormat format, AnswerEvents& events,
                                                         const ParameterTypes* types) {
  switch (format) {
    case CallFormat::hermes:
      return make_hermes_parser(events);
    case CallFormat::llama3_json:
      return make_llama3_parser(events);
    case CallFormat::mistral:
      return make_mistral_parser(events);
    case CallFormat::qwen3_coder:
      return make_qwen3_coder_parser(events, types);
    case CallFormat::pythonic:
      return make_pythonic_parser(events);
    case CallFormat::harmony:
      return make_harmony_parser(events, {.reasoning = false});
    case CallFormat::glm45:
      return make_glm45_parser(events, types);
    case CallFormat::none:
      break;
  }
  return std::make_unique<PlainParser>(events);
}

struct AnswerParser::State {
  State(const AnswerFormat& format, bool inside, const ParameterTypes* types)
      : answer(text::make_call_parser(format.calls, events, types)),
        part(format.reasoning == ReasoningFormat::think ? Part::beginning : Part::answer),
        inside_reasoning(inside) {
    if (format.reasoning == ReasoningFormat::harmony)
      answer = text::make_harmony_parser(
          events, {.calls = format.calls == CallFormat::harmony, .inside = inside_reasoning});
  }

  void take(char c);
  void take_beginning(char c);
  void take_reasoning(char c);
  void end_beginning();
  void finish();
  bool in_reasoning() const { return part == Part::reasoning || answer->in_reasoning(); }

  enum class Part { beginning, reasoning, behind, answer };

  text::AnswerEvents events;
  std::unique_ptr<text::CallParser> answer;
  text::MarkerSearch end{{text::kThinkEnd}};
  Part part;
  bool inside_reasoning;  // the prompt has opened it
  bool skip_space = true;
  std::string held;                            // in the beginning
  std::size_t bytes = 0, reasoning_bytes = 0;  // of the text so far
};

void AnswerParser::State::take(char c) {
  switch (part) {
    case Part::beginning:
      return take_beginning(c);
    case Part::reasoning:
      return take_reasoning(c);
    case Part::behind:
      if (text::is_space(c)) return;
      part = Part::answer;
      [[fallthrough]];
    case Part::answer:
      answer->take(c);
  }
}

// White space and <think>: some models open again what the prompt has opened.
void AnswerParser::State::take_beginning(char c) {
  held += c;
  const std::size_t begin = held.find_first_not_of(" \n\r\t");
  const std::string_view seen = begin == std::string::npos ? "" : std::string_view(held).substr(begin);
  if (seen == text::kThinkBegin) {
    part = Part::reasoning;
    held.clear();
  } else if (!text::kThinkBegin.starts_with(seen) || held.size() > kMostSpace) {
    end_beginning();
  }
}

// It was something else: it is read again as what it is.
void AnswerParser::State::end_beginning() {
  part = inside_reasoning ? Part::reasoning : Part::answer;
  const std::string seen = std::exchange(held, {});
  for (const char c : seen) take(c);
}

void AnswerParser::State::take_reasoning(char c) {
  if (skip_space && text::is_space(c)) return;
  skip_space = false;
  std::string free;
  const auto found = end.take(c, free);
  events.reasoning(free);
  if (!found) return;
  end.take_held();
  part = Part::behind;
}

void AnswerParser::State::finish() {
  if (part == Part::beginning) end_beginning();
  events.reasoning(end.take_held());
  answer->finish();
}

AnswerParser::AnswerParser(const AnswerFormat& format, bool inside_reasoning, const ParameterTypes* types)
    : state_(std::make_unique<State>(format, inside_reasoning, types)) {}
AnswerParser::~AnswerParser() = default;
AnswerParser::AnswerParser(AnswerParser&&) noexcept = default;
AnswerParser& AnswerParser::operator=(AnswerParser&&) noexcept = default;

std::vector<AnswerEvent> AnswerParser::push(std::string_view text) {
  for (const char c : text) {
    const bool ends_here = state_->in_reasoning();  // perhaps, with this character
    ++state_->bytes;
    state_->take(c);
    if (ends_here || state_->in_reasoning()) state_->reasoning_bytes = state_->bytes;
  }
  return state_->events.take();
}

std::vector<AnswerEvent> AnswerParser::finish() {
  state_->finish();
  return state_->events.take();
}

std::size_t AnswerParser::reasoning_bytes() const { return state_->reasoning_bytes; }

}  // namespace baton
