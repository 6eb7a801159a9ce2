// What the engines compute for one client's request, as its connection sees it: begun, fed with events, ended
// from here or by itself.
//
// Invariant: whatever way it ends, the destructor included, nothing of it goes on computing. Knows neither
// sockets nor HTTP. Owned by one connection's strand; the engines talk to it through the EventQueue.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "baton/frontend/server.hpp"
#include "frontend/event_queue.hpp"
#include "frontend/request_metrics.hpp"

namespace baton::frontend {

struct AnswerContext {
  const FrontendServices& services;
  RequestMetrics::Record& record;
  std::shared_ptr<EventQueue> queue;     // shared with the sinks
  std::shared_ptr<Admission> admission;  // shared with the sinks
  std::function<std::uint64_t()> random;
  TimePoint arrival{};
  TimePoint deadline = TimePoint::max();
  std::int64_t created = 0;  // seconds since 1970
};

class RunningAnswer {
 public:
  virtual ~RunningAnswer() = default;
  // overloaded where the admission has no room for it.
  virtual Result<void> submit() = 0;
  // Takes what has arrived; for streams appends whole frames to `out`.
  virtual void advance(std::string& out) = 0;
  // Ends it from here: the deadline, a shutdown.
  virtual void fail(const Error& error, std::string& out) = 0;
  // The client is gone: nobody reads what would be said.
  virtual void cancel() = 0;

  virtual bool stream() const = 0;
  virtual bool done() const = 0;
  // Set where it failed before anything was streamed: the answer can still be a plain error.
  virtual const std::optional<Error>& early_error() const = 0;
  virtual std::string unary_body() const = 0;  // when done without early_error
  virtual const std::string& id() const = 0;
  // Of its first choice or input, for the header x-baton-route: "prefill=a, decode=b". Empty before it is
  // known. Of an answer in one piece, which engines did it; of a stream, which were chosen when it began.
  virtual std::string route() const = 0;
};

// What that header says: who did it, and before that is known, who was chosen.
inline std::string route_header(const RouteEvent& chosen, const HandoffInfo& did) {
  const bool known = !did.decode_node.empty();
  const std::string& prefill = known ? did.prefill_node : chosen.prefill_node;
  const std::string& decode = known ? did.decode_node : chosen.decode_node;
  return prefill.empty() && decode.empty() ? std::string() : "prefill=" + prefill + ", decode=" + decode;
}

}  // namespace baton::frontend
