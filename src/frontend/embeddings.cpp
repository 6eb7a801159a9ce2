#include "frontend/embeddings.hpp"

#include <algorithm>

namespace baton::frontend {

Embeddings::Embeddings(AnswerContext context, PreparedEmbeddings request)
    : context_(std::move(context)),
      request_(std::move(request)),
      id_("embd-" + to_hex(RequestId{context_.random(), context_.random()})),
      places_(request_.inputs.size()),
      ended_before_(request_.inputs.size()),
      embeddings_(request_.inputs.size()) {
  for (const PreparedInput& input : request_.inputs) {
    prompt_tokens_ += input.ids.size();
    waiting_.push_back(waiting_.size());
  }
}

Embeddings::~Embeddings() {
  context_.queue->close();
  stop_.request_stop();
}

Request Embeddings::make_request(std::size_t input) const {
  Request request;
  request.id = {context_.random(), context_.random()};
  request.prompt = request_.inputs[input].ids;
  request.embed = true;
  request.stop.max_tokens = 1;
  request.adapter = request_.adapter;
  request.cache_salt = request_.cache_salt;
  request.tenant = request_.tenant;
  request.priority = request_.priority;
  request.arrival = context_.arrival;
  request.deadline = context_.deadline;
  return request;
}

Result<void> Embeddings::submit() {
  const std::size_t most = std::min(request_.inputs.size(), kMostInFlight);
  std::size_t places = 0;
  for (; places < most && context_.admission->try_acquire(1); ++places) {
    auto started = start_next(std::make_shared<AdmissionPlace>(context_.admission));
    if (started) continue;
    cancel();
    return started;
  }
  if (places > 0) return {};
  done_ = true;
  return make_error(ErrorCode::overloaded, "The server has too many requests in flight: try again later.");
}

Result<void> Embeddings::start_next(Place place) {
  if (waiting_.empty()) return {};
  const std::size_t input = waiting_.front();
  waiting_.pop_front();
  ++in_flight_;
  ended_before_[input] = ended_;
  auto sink = std::make_shared<ChoiceSink>(context_.queue, place, input);
  places_[input] = std::move(place);
  auto taken = context_.services.inference.submit(make_request(input), stop_.get_token(), std::move(sink));
  return taken ? taken : on_error(input, std::move(taken).error());
}

Result<void> Embeddings::on_error(std::size_t input, Error error) {
  Place place = std::move(places_[input]);
  const bool alone = --in_flight_ == 0;
  if (error.code == ErrorCode::overloaded && (!alone || ended_ > ended_before_[input])) {
    waiting_.push_front(input);
    return alone ? start_next(std::move(place)) : Result<void>();
  }
  // An engine has got a prompt; the client has sent inputs.
  if (!error.field.empty()) error.field = request_.inputs[input].name;
  return error;
}

void Embeddings::advance(std::string& out) {
  for (StreamEvent& event : context_.queue->take()) {
    if (done_) return;
    if (auto* finish = std::get_if<FinishEvent>(&event.what)) {
      if (auto went_on = on_finish(event.stream, *finish); !went_on) fail(went_on.error(), out);
    } else if (auto* route = std::get_if<RouteEvent>(&event.what)) {
      if (event.stream == 0) chosen_ = std::move(*route);
    } else if (auto* error = std::get_if<Error>(&event.what)) {
      if (auto went_on = on_error(event.stream, std::move(*error)); !went_on) fail(went_on.error(), out);
    }
  }
}

// Written at once, so that the last input does not hold up the thread with thousands of vectors.
Result<void> Embeddings::on_finish(std::size_t input, FinishEvent& event) {
  context_.record.prompt(event.prompt_tokens);
  context_.record.finished(event);
  auto embedding = embedding_json(std::move(event.embedding), request_.format);
  if (!embedding) return std::move(embedding).error();
  embeddings_[input] = *std::move(embedding);
  if (input == 0) did_ = std::move(event.handoff);
  --in_flight_;
  if (++ended_ == request_.inputs.size()) {
    done_ = true;
    context_.record.succeeded();
  }
  return start_next(std::move(places_[input]));
}

void Embeddings::fail(const Error& error, std::string&) {
  if (done_) return;
  cancel();
  early_error_ = error;
}

void Embeddings::cancel() {
  done_ = true;
  stop_.request_stop();
}

std::string Embeddings::unary_body() const {
  return embeddings_body(request_.model, embeddings_, prompt_tokens_);
}

}  // namespace baton::frontend
