#include "router/flight.hpp"

#include <utility>

namespace baton {

Flight::Flight(Request request, std::shared_ptr<TokenSink> client, const Clock& clock, OnFinish on_finish,
               OnError on_error)
    : prompt_tokens(request.prompt.size()),
      key_(key_of(request)),
      arrival_(request.arrival),
      request_(std::move(request)),
      clock_(clock),
      client_(std::move(client)),
      on_finish_(std::move(on_finish)),
      on_error_(std::move(on_error)) {}

void Flight::token(const TokenEvent& event) {
  std::lock_guard lock(mutex_);
  if (client_ == nullptr || event.generation != request_.generation || event.index != request_.output.size())
    return;
  request_.output.push_back(event.token.token);
  if (!first_token_) first_token_ = clock_.now();
  client_->on_token(event);
}

Request Flight::begin(Phase phase, const std::string& prefill_node, const std::string& decode_node,
                      bool new_attempt) {
  std::lock_guard lock(mutex_);
  if (new_attempt) ++request_.generation;
  request_.phase = phase;
  request_.prefill_node = prefill_node;
  request_.decode_node = decode_node;
  return request_;
}

void Flight::routed(const RouteEvent& route) {
  std::lock_guard lock(mutex_);
  if (client_ != nullptr) client_->on_route(route);
}

void Flight::deliver(FinishEvent event) {
  std::lock_guard lock(mutex_);
  if (client_ == nullptr) return;
  event.prompt_tokens = static_cast<std::uint32_t>(request_.prompt.size());
  event.output_tokens = static_cast<std::uint32_t>(request_.output.size());
  std::exchange(client_, nullptr)->on_finish(event);
}

void Flight::deliver_error(const Error& error) {
  std::lock_guard lock(mutex_);
  if (client_ != nullptr) std::exchange(client_, nullptr)->on_error(error);
}

std::uint32_t Flight::generation() const {
  std::lock_guard lock(mutex_);
  return request_.generation;
}

std::size_t Flight::output_size() const {
  std::lock_guard lock(mutex_);
  return request_.output.size();
}

std::optional<TimePoint> Flight::first_token() const {
  std::lock_guard lock(mutex_);
  return first_token_;
}

Phase Flight::phase() const {
  std::lock_guard lock(mutex_);
  return request_.phase;
}

Request Flight::request() const {
  std::lock_guard lock(mutex_);
  return request_;
}

}  // namespace baton
