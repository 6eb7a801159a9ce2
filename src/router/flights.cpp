// Requests that this daemon accepted: which engines compute them, and what happens when one of those fails.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "router/router_state.hpp"

namespace baton {
namespace {

constexpr auto kWatchPeriod = std::chrono::milliseconds(200);

std::vector<Candidate> without(std::vector<Candidate> candidates, const std::string& node) {
  std::erase_if(candidates, [&](const Candidate& c) { return c.node == node; });
  return candidates;
}

}  // namespace

std::shared_ptr<Flight> Router::State::find(const RequestKey& key) const {
  const auto found = flights.find(key);
  return found == flights.end() ? nullptr : found->second;
}

void Router::State::take_off(std::shared_ptr<Flight> flight, std::stop_token stop) {
  const RequestKey key = flight->key();
  if (!flights.emplace(key, flight).second) {
    flight->deliver_error(make_error(ErrorCode::invalid_argument, "this request is already here", "id"));
    --in_flight;
    return;
  }
  flight->on_client_stop = std::make_unique<std::stop_callback<std::function<void()>>>(
      std::move(stop), [this, key] { post([this, key] { cancelled(key); }); });
  route(flight, false);
}

void Router::State::route(const std::shared_ptr<Flight>& flight, bool new_attempt) {
  const Request request = flight->request();
  const std::vector<Candidate> able = engines.candidates(request, parts.engine->stats(), sent_from_here());
  const auto choose = [&](std::span<const Candidate> from) {
    return parts.policy->choose(engines.query(request), from);
  };
  auto chosen = flight->avoid.empty() ? choose(able) : choose(without(able, flight->avoid));
  if (!chosen && !flight->avoid.empty()) chosen = choose(able);
  if (!chosen && request.adapter != Hash128{})
    chosen = make_error(chosen.error().code, chosen.error().message + " that has the adapter", "model");
  if (auto why_not = chosen ? refuse(request, *chosen) : chosen.error()) {
    flight->deliver_error(*why_not);
    land(flight->key());
    return;
  }
  engines.sent(request, *std::ranges::find(able, chosen->prefill_node, &Candidate::node));
  if (request.output.size() > std::exchange(flight->output_at_attempt, request.output.size()))
    flight->attempts = 0;
  ++flight->attempts;
  flight->planned_decode = chosen->decode_node;
  const bool hands_off = chosen->disaggregated();
  flight->routed({chosen->prefill_node, chosen->decode_node});
  dispatch(flight, chosen->prefill_node,
           flight->begin(hands_off ? Phase::prefill : Phase::whole, chosen->prefill_node, chosen->decode_node,
                         new_attempt));
}

// A new request that would wait too long for its first token.
std::optional<Error> Router::State::refuse(const Request& request, const Route& route) const {
  const double limit = to_seconds(options.admission_ttft), predicted = route.cost.ttft();
  if (limit <= 0 || predicted <= limit || !request.output.empty() || request.generation > 0)
    return std::nullopt;
  char text[160];
  std::snprintf(text, sizeof text,
                "the first token would take about %.1f s, longer than --admission-ttft allows (%.1f s)",
                predicted, limit);
  Error error = make_error(ErrorCode::overloaded, text);
  error.retry_after_s = static_cast<std::uint32_t>(std::ceil(predicted - limit));
  return error;
}

void Router::State::dispatch(const std::shared_ptr<Flight>& flight, const std::string& node,
                             Request request) {
  flight->node = node;
  flight->moving = false;
  flight->stage_output = flight->last_output = flight->output_size();
  flight->last_progress = parts.clock->now();
  const std::uint32_t generation = request.generation;
  Result<void> accepted;
  if (node == options.node_name) {
    flight->stop = std::stop_source{};
    auto sink = std::make_shared<StageSink>(flight, generation);
    accepted = parts.engine->submit(std::move(request), flight->stop.get_token(), std::move(sink));
  } else if (!send(node, SubmitMessage{std::move(request)})) {
    accepted = make_error(ErrorCode::unavailable, "node " + node + " is not connected");
  }
  if (!accepted)
    attempt_failed(flight->key(), generation, accepted.error());
  else if (engines.is_draining(node))
    move(*flight);
}

void Router::State::stage_finished(const FinishEvent& event) {
  const std::shared_ptr<Flight> flight = find(event.key);
  if (flight == nullptr || event.generation != flight->generation()) return;
  if (event.reason == FinishReason::handed_off) {
    start_decode(flight, event);
    return;
  }
  give_back(*flight);
  deliver(*flight, event);
  land(event.key);
}

// The client sees one request: the prefill stage's times and cache hits belong to it as much as the decode
// stage's.
void Router::State::deliver(Flight& flight, FinishEvent event) {
  if (event.embedding.empty()) engines.finished(event.output_tokens);
  if (const auto first = flight.first_token()) {
    const auto between = static_cast<double>(flight.output_size()) - 1;
    ttft.add(to_milliseconds(*first - flight.arrival()));
    if (between > 0) itl.add(to_milliseconds(parts.clock->now() - *first) / between);
  }
  if (flight.prefill) {  // the first one, where it moved on later
    event.queue_ms += flight.prefill->queue_ms;
    event.prefill_ms = flight.prefill->prefill_ms;
    event.cached_tokens = flight.prefill->cached_tokens;
  }
  parts.logger->debug("request finished", {{"request", to_hex(event.key.id)},
                                           {"prefill", event.handoff.prefill_node},
                                           {"decode", event.handoff.decode_node},
                                           {"blocks", event.handoff.blocks_moved},
                                           {"held", event.handoff.blocks_held},
                                           {"bytes", event.handoff.bytes},
                                           {"transport", event.handoff.transport},
                                           {"ms", event.handoff.milliseconds}});
  flight.deliver(std::move(event));
}

void Router::State::start_decode(const std::shared_ptr<Flight>& flight, const FinishEvent& prefill) {
  if (!flight->prefill) flight->prefill = prefill;
  const std::string computed_at = flight->node;
  std::string target = prefill.handoff.decode_node;
  const bool has_cache = !target.empty() && (target == options.node_name || engines.peers().contains(target));
  if (!has_cache) {
    const Request request = flight->request();
    auto other = parts.policy->choose_decode(
        engines.query(request), engines.candidates(request, parts.engine->stats(), sent_from_here()),
        computed_at);
    if (!other) {
      flight->deliver_error(other.error());
      land(flight->key());
      return;
    }
    target = *other;
  }
  flight->planned_decode = target;
  dispatch(flight, target, flight->begin(Phase::decode, has_cache ? computed_at : "", target, false));
}

// An engine may answer heartbeats and still make no progress with a request: then it counts as gone, for this
// request.
void Router::State::watch(TimePoint now) {
  if (now - watched < kWatchPeriod) return;
  watched = now;
  std::vector<std::shared_ptr<Flight>> stuck;
  for (const auto& [key, flight] : flights) {
    const std::size_t output = flight->output_size();
    if (std::exchange(flight->last_output, output) != output) flight->last_progress = now;
    Duration limit = options.token_timeout;
    if (output == flight->stage_output) {
      limit = options.first_token_timeout;
      if (flight->phase() == Phase::decode) limit += options.transfer_timeout;
    }
    if (now - flight->last_progress > limit) stuck.push_back(flight);
  }
  for (const std::shared_ptr<Flight>& flight : stuck) {
    stop_stage(*flight);
    const auto waited = std::chrono::duration_cast<std::chrono::seconds>(now - flight->last_progress);
    attempt_failed(flight->key(), flight->generation(),
                   make_error(ErrorCode::unavailable, "node " + flight->node + " gave no token for " +
                                                          std::to_string(waited.count()) + " s"));
  }
}

// Away from an engine that drains, with its KV cache. Where no other can take it, it stays.
void Router::State::move(Flight& flight) {
  if (flight.moving) return;
  const Request request = flight.request();
  const auto to = parts.policy->choose_decode(
      engines.query(request), engines.candidates(request, parts.engine->stats(), sent_from_here()),
      flight.node);
  if (!to) return;
  flight.moving = true;
  if (flight.planned_decode == flight.node) flight.planned_decode = *to;
  parts.logger->debug("moving a request",
                      {{"request", to_hex(flight.key().id)}, {"from", flight.node}, {"to", *to}});
  send(flight.node, MoveMessage{flight.key(), flight.generation(), *to});
}

void Router::State::move_away(const std::string& node) {
  for (const auto& [key, flight] : flights)
    if (flight->node == node) move(*flight);
}

void Router::State::attempt_failed(const RequestKey& key, std::uint32_t generation, const Error& error) {
  const std::shared_ptr<Flight> flight = find(key);
  if (flight == nullptr || flight->generation() != generation) return;
  give_back(*flight);
  const bool elsewhere = error.code == ErrorCode::unavailable && flight->attempts < options.max_attempts;
  if (elsewhere) {
    parts.logger->warn("starting over elsewhere",
                       {{"request", to_hex(key.id)}, {"node", flight->node}, {"why", error.message}});
    flight->prefill.reset();
    flight->avoid = flight->node;
    route(flight, true);
    return;
  }
  flight->deliver_error(error);
  land(key);
}

void Router::State::cancelled(const RequestKey& key) {
  const std::shared_ptr<Flight> flight = find(key);
  if (flight == nullptr) return;
  stop_stage(*flight);
  give_back(*flight);
  flight->deliver_error(make_error(ErrorCode::cancelled, "the request was cancelled"));
  land(key);
}

void Router::State::stop_stage(Flight& flight) {
  if (flight.node == options.node_name)
    flight.stop.request_stop();
  else
    send(flight.node, CancelMessage{flight.key(), flight.generation()});
}

// The KV cache that the prefill stage sends ahead, where no decode stage has begun that would claim it:
// neither the sender nor the receiver is to keep its blocks until the transfer's deadline.
void Router::State::give_back(const Flight& flight) {
  if (flight.planned_decode.empty() || flight.planned_decode == flight.node) return;
  const AbortMessage abort{flight.key(), flight.generation()};
  for (const std::string& node : {flight.node, flight.planned_decode}) {
    if (node == options.node_name)
      parts.engine->handle(node, abort);
    else
      send(node, abort);
  }
}

void Router::State::land(const RequestKey& key) {
  const auto found = flights.find(key);
  if (found == flights.end()) return;
  found->second->on_client_stop.reset();
  flights.erase(found);
  --in_flight;
}

}  // namespace baton
