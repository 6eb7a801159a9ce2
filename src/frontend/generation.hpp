// One generation request while it is answered: submits its choices, turns their events into stream frames or
// one body, and cancels what is no longer wanted.
//
// Invariant: each choice gets exactly one end; a stream ends with [DONE], after an error object where
// something failed; whatever way it ends, the destructor included, no choice goes on computing. Knows neither
// sockets nor HTTP. Owned by one connection's strand; the engine talks to it through the EventQueue.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "frontend/event_queue.hpp"
#include "frontend/output_stream.hpp"
#include "frontend/prepare.hpp"
#include "frontend/request_metrics.hpp"

namespace baton::frontend {

struct GenerationContext {
  const FrontendServices& services;
  RequestMetrics::Record& record;
  std::shared_ptr<EventQueue> queue;     // shared with the sinks
  std::shared_ptr<Admission> admission;  // shared with the sinks
  std::function<std::uint64_t()> random;
  TimePoint arrival{};
  TimePoint deadline = TimePoint::max();
  std::int64_t created = 0;  // seconds since 1970
};

class Generation {
 public:
  Generation(GenerationContext context, PreparedRequest request);
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // All choices or none; overloaded where the admission has no room for them.
  Result<void> submit();
  // Takes what has arrived; for streams appends whole frames to `out`.
  void advance(std::string& out);
  // Ends it from here: the deadline, a shutdown.
  void fail(const Error& error, std::string& out);
  // The client is gone: nobody reads what would be said.
  void cancel();

  bool stream() const { return request_.fields.stream; }
  bool done() const { return done_; }
  // Set where it failed before anything was streamed: the answer can still be a plain error.
  const std::optional<Error>& early_error() const { return early_error_; }
  std::string unary_body() const;  // when done without early_error
  const std::string& id() const { return head_.id; }
  // Of its first choice, for the header x-baton-route: "prefill=a, decode=b". Empty before it is known. Of an
  // answer in one piece, which engines did it; of a stream, which were chosen when it began.
  std::string route() const;

 private:
  struct Choice;

  std::size_t prompt_of(std::size_t choice) const {
    return choice / static_cast<std::size_t>(request_.fields.n);
  }
  void add_choices();
  Request make_request(const Choice& choice) const;
  void on_token(Choice& choice, const TokenArrival& arrival, std::string& out);
  void on_finish(Choice& choice, const FinishEvent& event, std::string& out);
  void deliver(Choice& choice, OutputPiece piece, std::string& out);
  void show(Choice& choice, ChoiceText part, std::string& out);
  void begin(Choice& choice, std::string& out);
  // `by_itself`: the model ended it, not a stop string or a limit.
  void end(Choice& choice, std::string_view reason, bool by_itself, std::string& out);
  void finish_all(std::string& out);
  void stop_all();
  Usage usage() const;
  std::optional<HandoffInfo> handoff() const;

  GenerationContext context_;
  PreparedRequest request_;
  ResponseHead head_;
  std::vector<RequestId> ids_;  // one per prompt
  std::vector<std::uint64_t> seeds_;
  std::vector<std::unique_ptr<Choice>> choices_;  // prompt-major
  std::size_t open_ = 0;
  bool submitted_ = false;
  bool streamed_ = false;  // a frame has been produced
  bool done_ = false;
  std::optional<Error> early_error_;
  RouteEvent route_;
};

}  // namespace baton::frontend
