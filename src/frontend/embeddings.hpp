// One request for embeddings while it is answered: each input is a request of its own to the engines, so
// that their schedulers batch them.
//
// Invariant: at most kMostInFlight inputs are on their way, each in a place of the admission; where one has
// come back, the next one takes its place, so a request needs no more places than are free. An input that an
// engine has no room for gives up its place and waits for one of the others, unless there is none and none
// has ended meanwhile. Any other error is the answer and cancels the rest.
#pragma once

#include <deque>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "frontend/prepare.hpp"
#include "frontend/running_answer.hpp"

namespace baton::frontend {

class Embeddings final : public RunningAnswer {
 public:
  // Enough to fill the steps of two engines at their default --max-sequences.
  static constexpr std::size_t kMostInFlight = 128;

  Embeddings(AnswerContext context, PreparedEmbeddings request);
  ~Embeddings() override;
  Embeddings(const Embeddings&) = delete;
  Embeddings& operator=(const Embeddings&) = delete;

  Result<void> submit() override;
  void advance(std::string& out) override;
  void fail(const Error& error, std::string& out) override;
  void cancel() override;

  bool stream() const override { return false; }
  bool done() const override { return done_; }
  const std::optional<Error>& early_error() const override { return early_error_; }
  std::string unary_body() const override;
  const std::string& id() const override { return id_; }
  std::string route() const override { return route_header(chosen_, did_); }

 private:
  using Place = std::shared_ptr<const AdmissionPlace>;

  Result<void> start_next(Place place);
  Request make_request(std::size_t input) const;
  Result<void> on_error(std::size_t input, Error error);
  Result<void> on_finish(std::size_t input, FinishEvent& event);

  AnswerContext context_;
  PreparedEmbeddings request_;
  std::string id_;
  std::uint64_t prompt_tokens_ = 0;
  std::stop_source stop_;                  // of all inputs
  std::vector<Place> places_;              // of each input, while it is in flight
  std::vector<std::size_t> ended_before_;  // of each input, how many had ended when it was sent
  std::vector<std::string> embeddings_;    // of each input, once it is there
  std::deque<std::size_t> waiting_;        // inputs that are neither in flight nor there
  std::size_t in_flight_ = 0, ended_ = 0;
  bool done_ = false;
  std::optional<Error> early_error_;
  RouteEvent chosen_;
  HandoffInfo did_;
};

}  // namespace baton::frontend
