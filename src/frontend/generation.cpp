#include "frontend/generation.hpp"

#include <algorithm>

#include "frontend/answer_grammar.hpp"
#include "frontend/errors.hpp"

namespace baton::frontend {
namespace {

// How many of the prompt's last ids the detokenizer sees, to decide about a leading space.
constexpr std::size_t kPromptTail = 8;

std::string_view reason_name(FinishReason reason) {
  return reason == FinishReason::length ? "length" : "stop";
}

std::span<const TokenId> tail(const std::vector<TokenId>& ids) {
  const std::size_t n = std::min(ids.size(), kPromptTail);
  return std::span(ids).last(n);
}

}  // namespace

struct Generation::Choice {
  Choice(std::size_t number, const Tokenizer& tokenizer, const PreparedPrompt& prompt, OutputRules rules)
      : index(number), output(tokenizer, tail(prompt.ids), std::move(rules)) {
    text.index = static_cast<std::uint32_t>(number);
  }

  const std::size_t index;
  OutputStream output;
  std::optional<AnswerReader> reader;  // where the text may have calls or reasoning in it
  std::stop_source stop;
  ChoiceText text;                     // accumulated for unary answers
  std::vector<LogprobEntry> logprobs;  // with a reader: of text that it holds back
  std::optional<FinishEvent> finish;
  std::uint64_t tokens = 0;
  TimePoint last_token{};
  bool begun = false;  // streams: its first frame is out
  bool ended = false;
};

Generation::Generation(AnswerContext context, PreparedRequest request)
    : context_(std::move(context)), request_(std::move(request)) {
  for (std::size_t i = 0; i < request_.prompts.size(); ++i) {
    ids_.push_back({context_.random(), context_.random()});
    // Noise is keyed by (seed, choice), so one seed serves all choices of a prompt.
    seeds_.push_back(request_.fields.has_seed ? request_.fields.sampling.seed : context_.random());
  }
  head_.chat = request_.chat;
  head_.id = (request_.chat ? "chatcmpl-" : "cmpl-") + to_hex(ids_.front());
  head_.model =
      request_.fields.adapter ? request_.fields.adapter->name : context_.services.model.names.front();
  head_.created = context_.created;
  head_.logprobs = request_.fields.logprobs;
  head_.include_usage = request_.fields.stream && request_.fields.include_usage;
  add_choices();
}

void Generation::add_choices() {
  OutputRules rules;
  rules.stop = request_.fields.stop;
  rules.special = {request_.fields.skip_special_tokens,
                   special_markers(request_.answer.format, context_.services.tokenizer)};
  rules.logprobs = request_.fields.logprobs;
  rules.end_tokens = request_.fields.stop_token_ids;
  if (!request_.fields.ignore_eos) {
    const auto& eos = context_.services.model.generation.eos_token_ids;
    rules.end_tokens.insert(rules.end_tokens.end(), eos.begin(), eos.end());
  }
  for (std::size_t i = 0; i < request_.choices(); ++i) {
    const PreparedPrompt& prompt = request_.prompts[prompt_of(i)];
    rules.text_offset = count_characters(prompt.echo);
    auto choice = std::make_unique<Choice>(i, context_.services.tokenizer, prompt, rules);
    if (request_.answer.format != AnswerFormat{}) choice->reader.emplace(request_.answer, context_.random);
    choice->text.text = request_.fields.stream ? std::string() : prompt.echo;
    choices_.push_back(std::move(choice));
  }
  open_ = choices_.size();
}

Generation::~Generation() {
  context_.queue->close();
  stop_all();
}

Request Generation::make_request(const Choice& choice) const {
  const GenerationFields& fields = request_.fields;
  const std::size_t p = prompt_of(choice.index);
  Request request;
  request.id = ids_[p];
  request.choice = static_cast<std::uint32_t>(choice.index % static_cast<std::size_t>(fields.n));
  request.prompt = request_.prompts[p].ids;
  request.sampling = fields.sampling;
  request.sampling.seed = seeds_[p];
  request.stop.max_tokens = request_.prompts[p].max_tokens;
  request.stop.min_tokens = fields.min_tokens;
  request.stop.ignore_eos = fields.ignore_eos;
  request.stop.eos_token_ids = context_.services.model.generation.eos_token_ids;
  request.stop.stop_token_ids = fields.stop_token_ids;
  request.grammar = request_.grammar;
  request.compiled_grammar = request_.compiled_grammar;
  request.adapter = request_.adapter();
  request.cache_salt = request_.cache_salt;
  request.tenant = request_.tenant;
  request.priority = fields.priority;
  request.arrival = context_.arrival;
  request.deadline = context_.deadline;
  return request;
}

Result<void> Generation::submit() {
  Admission& admission = *context_.admission;
  if (choices_.size() > admission.limit()) {
    done_ = true;
    return make_error(ErrorCode::invalid_argument,
                      "Prompts times 'n' is " + std::to_string(choices_.size()) +
                          "; this server takes at most " + std::to_string(admission.limit()) + " at once.",
                      request_.prompts.size() > 1 ? "prompt" : "n");
  }
  if (!admission.try_acquire(choices_.size())) {
    done_ = true;
    return make_error(ErrorCode::overloaded, "The server has too many requests in flight: try again later.");
  }
  std::vector<std::shared_ptr<ChoiceSink>> sinks;
  for (const auto& choice : choices_) {
    sinks.push_back(std::make_shared<ChoiceSink>(
        context_.queue, std::make_shared<AdmissionPlace>(context_.admission), choice->index));
  }
  for (const auto& choice : choices_) {
    auto accepted = context_.services.inference.submit(make_request(*choice), choice->stop.get_token(),
                                                       sinks[choice->index]);
    if (accepted) continue;
    stop_all();
    done_ = true;
    return in_clients_words(accepted.error(), request_);
  }
  submitted_ = true;
  for (const PreparedPrompt& prompt : request_.prompts) context_.record.prompt(prompt.ids.size());
  return {};
}

void Generation::advance(std::string& out) {
  for (StreamEvent& event : context_.queue->take()) {
    if (done_) return;
    Choice& choice = *choices_[event.stream];
    if (choice.ended) continue;  // cancelled here; the engine had not heard yet
    if (auto* arrival = std::get_if<TokenArrival>(&event.what)) {
      on_token(choice, *arrival, out);
    } else if (auto* finish = std::get_if<FinishEvent>(&event.what)) {
      on_finish(choice, *finish, out);
    } else if (auto* route = std::get_if<RouteEvent>(&event.what)) {
      if (choice.index == 0) route_ = std::move(*route);
    } else {
      fail(in_clients_words(std::get<Error>(std::move(event.what)), request_), out);
    }
  }
}

void Generation::on_token(Choice& choice, const TokenArrival& arrival, std::string& out) {
  context_.record.token(choice.tokens == 0, choice.last_token, arrival.at);
  choice.last_token = arrival.at;
  ++choice.tokens;
  begin(choice, out);
  OutputPiece piece = choice.output.push(arrival.token);
  const bool stopped = piece.stopped;
  deliver(choice, std::move(piece), out);
  if (!stopped) return;
  choice.stop.request_stop();
  end(choice, "stop", false, out);
}

void Generation::on_finish(Choice& choice, const FinishEvent& event, std::string& out) {
  if (event.reason == FinishReason::handed_off) {
    fail(make_error(ErrorCode::internal, "A hand-off ended the request without a decode engine."), out);
    return;
  }
  context_.record.finished(event);
  choice.finish = event;
  begin(choice, out);
  OutputPiece piece = choice.output.finish();
  const bool stopped = piece.stopped;
  deliver(choice, std::move(piece), out);
  const std::string_view reason = stopped ? "stop" : reason_name(event.reason);
  end(choice, reason, !stopped && reason == "stop", out);
}

// The first frame of a choice: its role (chat) or the echoed prompt (completions).
void Generation::begin(Choice& choice, std::string& out) {
  if (!request_.fields.stream || choice.begun) return;
  choice.begun = true;
  streamed_ = true;
  if (request_.chat) {
    out += role_frame(head_, choice.text.index);
    return;
  }
  const std::string& echo = request_.prompts[prompt_of(choice.index)].echo;
  if (!echo.empty()) out += text_frame(head_, {choice.text.index, echo, {}, {}}, std::nullopt);
}

void Generation::deliver(Choice& choice, OutputPiece piece, std::string& out) {
  if (choice.reader) {
    std::move(piece.logprobs.begin(), piece.logprobs.end(), std::back_inserter(choice.logprobs));
    for (ChoiceText& part : choice.reader->push(piece.text, choice.tokens))
      show(choice, std::move(part), out);
  } else if (!piece.text.empty() || !piece.logprobs.empty()) {
    show(choice, {0, std::move(piece.text), std::move(piece.logprobs), {}}, out);
  }
}

void Generation::show(Choice& choice, ChoiceText part, std::string& out) {
  part.index = choice.text.index;
  if (choice.reader) part.logprobs = std::exchange(choice.logprobs, {});
  if (request_.fields.stream) {
    out += text_frame(head_, part, std::nullopt);
  } else {
    append(choice.text, std::move(part));
  }
}

void Generation::end(Choice& choice, std::string_view reason, bool by_itself, std::string& out) {
  choice.ended = true;
  context_.record.choice_ended(reason, choice.tokens);
  if (choice.reader) {
    for (ChoiceText& part : choice.reader->finish()) show(choice, std::move(part), out);
    if (by_itself && choice.reader->called()) reason = "tool_calls";
  }
  ChoiceText last{choice.text.index, {}, std::move(choice.logprobs), reason};
  if (request_.fields.stream) {
    const auto info = choice.finish ? std::optional(choice.finish->handoff) : std::nullopt;
    out += text_frame(head_, last, info);
  } else {
    append(choice.text, std::move(last));
  }
  if (--open_ == 0) finish_all(out);
}

void Generation::finish_all(std::string& out) {
  done_ = true;
  context_.record.succeeded();
  if (!request_.fields.stream) return;
  if (request_.fields.include_usage) out += usage_frame(head_, usage());
  out += kDoneFrame;
}

void Generation::fail(const Error& error, std::string& out) {
  if (done_) return;
  done_ = true;
  stop_all();
  if (!streamed_) {
    early_error_ = error;
    return;
  }
  out += error_frame(error_body(api_error(error)));
  out += kDoneFrame;
}

void Generation::cancel() {
  if (done_) return;
  done_ = true;
  stop_all();
}

void Generation::stop_all() {
  for (const auto& choice : choices_) {
    if (choice->ended) continue;
    choice->ended = true;
    choice->stop.request_stop();
    if (submitted_) context_.record.choice_ended("abort", choice->tokens);
  }
}

Usage Generation::usage() const {
  Usage usage;
  for (const PreparedPrompt& prompt : request_.prompts) usage.prompt_tokens += prompt.ids.size();
  for (const auto& choice : choices_) {
    usage.completion_tokens += choice->tokens;
    if (request_.answer.format.reasoning != ReasoningFormat::none)
      usage.reasoning_tokens = usage.reasoning_tokens.value_or(0) + choice->reader->reasoning_tokens();
    // Later choices of a prompt find the first one's blocks: only that one's hits were there before.
    const bool first = choice->index % static_cast<std::size_t>(request_.fields.n) == 0;
    if (first && choice->finish) usage.cached_tokens += choice->finish->cached_tokens;
  }
  return usage;
}

std::optional<HandoffInfo> Generation::handoff() const {
  std::optional<HandoffInfo> sum;
  for (const auto& choice : choices_) {
    if (!choice->finish) continue;
    const HandoffInfo& one = choice->finish->handoff;
    if (!sum) {
      sum = one;
      continue;
    }
    sum->blocks_moved += one.blocks_moved;
    sum->blocks_held += one.blocks_held;
    sum->bytes += one.bytes;
    sum->milliseconds = std::max(sum->milliseconds, one.milliseconds);
    sum->recomputed = sum->recomputed || one.recomputed;
  }
  return sum;
}

std::string Generation::route() const {
  const auto& finish = choices_.front()->finish;
  return route_header(route_, finish ? finish->handoff : HandoffInfo());
}

std::string Generation::unary_body() const {
  std::vector<ChoiceText> texts;
  texts.reserve(choices_.size());
  for (const auto& choice : choices_) texts.push_back(choice->text);
  return unary_body_of(head_, texts, usage(), handoff());
}

}  // namespace baton::frontend
