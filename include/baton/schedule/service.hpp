// InferenceService: whoever computes tokens for a Request. Engine, RemoteEngine and Router are all
// InferenceServices, so the frontend knows neither UCX nor the cluster.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/schedule/perf_model.hpp"
#include "baton/schedule/request.hpp"

namespace baton {

enum class FinishReason : std::uint8_t {
  stop,        // EOS or a stop id
  length,      // max_tokens or the context's end
  handed_off,  // Phase::prefill only: the first token is out, decode goes on elsewhere; never reaches a
               // client
};

// How the KV cache of a request travelled; zero blocks where it did not.
struct HandoffInfo {
  std::string prefill_node;
  std::string decode_node;
  std::uint32_t blocks_moved = 0;
  std::uint32_t blocks_held = 0;  // already at the decode engine
  std::uint64_t bytes = 0;
  std::string transport;    // "ucx/tcp", "loopback", ...
  double milliseconds = 0;  // from the reservation to the last block verified; overlaps the prefill
  bool recomputed = false;  // the cache did not arrive; prefill was repeated
};

struct TokenEvent {
  RequestKey key;
  std::uint32_t generation = 0;
  std::uint32_t index = 0;  // into the output
  SampledToken token;
};

struct FinishEvent {
  RequestKey key;
  std::uint32_t generation = 0;
  FinishReason reason = FinishReason::stop;
  std::uint32_t prompt_tokens = 0;
  std::uint32_t cached_tokens = 0;  // of the prompt, found in a prefix cache
  std::uint32_t output_tokens = 0;
  double queue_ms = 0, prefill_ms = 0, decode_ms = 0;
  HandoffInfo handoff;
  // Of Request::embed: what the model's final norm makes of the prompt's last token, [hidden]; up to
  // a factor that is the model's own.
  std::vector<float> embedding = {};
};

// Which engines were chosen for a request; comes again where it had to go elsewhere.
struct RouteEvent {
  std::string prefill_node, decode_node;
};

// Receives one Request's results, in order: tokens, then exactly one of finish or error. Called from the
// service's threads; must not block.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void on_route(const RouteEvent&) {}
  virtual void on_token(const TokenEvent& event) = 0;
  virtual void on_finish(const FinishEvent& event) = 0;
  virtual void on_error(const Error& error) = 0;
};

// One engine's numbers at one moment; totals since start.
struct EngineStats {
  std::string role = "mixed";
  std::uint64_t running = 0, waiting = 0, waiting_prefill_tokens = 0;
  std::uint64_t kv_tokens = 0;  // contexts of the running requests, added up
  std::uint64_t blocks_total = 0, blocks_in_use = 0, blocks_cached = 0;
  std::uint64_t preemptions = 0;
  std::uint64_t prefix_queried_tokens = 0, prefix_hit_tokens = 0;
  std::uint64_t prefill_tokens = 0, decode_tokens = 0, recomputed_tokens = 0;
  std::uint64_t drafted_tokens = 0, accepted_tokens = 0;
  std::uint64_t steps = 0, largest_batch = 0, failed_steps = 0;
  bool device_failed = false;  // for good: it computes nothing any more
  std::uint64_t blocks_sent = 0, blocks_received = 0, bytes_sent = 0, bytes_received = 0;
  std::uint64_t blocks_resent = 0, blocks_corrupt = 0, transfers_failed = 0, transfers_in_flight = 0;
  std::int32_t max_batch_tokens = 0;
  PerfProfile profile;  // of its steps, as measured so far
};

class InferenceService {
 public:
  virtual ~InferenceService() = default;
  // Accepts or refuses at once (overloaded, too_large, unavailable). `stop` cancels: the sink then gets error
  // `cancelled` within one step.
  virtual Result<void> submit(Request request, std::stop_token stop, std::shared_ptr<TokenSink> sink) = 0;
};

}  // namespace baton
