#include "baton/router/router.hpp"

#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "baton/base/channel.hpp"
#include "router/engine_view.hpp"
#include "router/flight.hpp"
#include "router/index_metrics.hpp"
#include "router/served_requests.hpp"

namespace baton {
namespace {

using Task = std::function<void()>;
constexpr auto kIdleWait = std::chrono::milliseconds(200);
constexpr auto kExplainTimeout = std::chrono::seconds(2);

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

}  // namespace

struct Router::State {
  explicit State(RouterOptions o)
      : options(std::move(o)),
        tasks(options.max_in_flight * 2),
        served([this](const std::string& node, const Message& m) { return send(node, m); },
               [this](Task task) { post(std::move(task)); }) {}

  void run(const std::stop_token& stop);
  void post(Task task) { tasks.push_always(std::move(task)); }
  bool send(const std::string& node, const Message& message) {
    return parts.mesh != nullptr && parts.mesh->send(node, message);
  }

  // ---- flights
  void take_off(std::shared_ptr<Flight> flight, std::stop_token stop);
  void route(const std::shared_ptr<Flight>& flight, bool new_attempt);
  void dispatch(const std::shared_ptr<Flight>& flight, const std::string& node, Request request);
  void stage_finished(const FinishEvent& event);
  void start_decode(const std::shared_ptr<Flight>& flight, const FinishEvent& prefill);
  void attempt_failed(const RequestKey& key, std::uint32_t generation, const Error& error);
  void cancelled(const RequestKey& key);
  void stop_stage(Flight& flight);
  void land(const RequestKey& key);
  void give_back(const Flight& flight);
  void deliver(Flight& flight, FinishEvent event);
  std::shared_ptr<Flight> find(const RequestKey& key) const;

  // ---- peers
  void peer_message(const std::string& from, Message& message);
  void peer_down(const std::string& name, const Error& why);
  EngineView::Running running_here() const;
  void ask_for_snapshot(const std::string& node);
  void apply_events(const std::string& node, const BlockEventsMessage& events);
  void refresh_view();

  const RouterOptions options;
  Parts parts;
  Channel<Task> tasks;
  ServedRequests served;
  EngineView engines{options, [this](const std::string& node) { ask_for_snapshot(node); }};
  std::unique_ptr<IndexMetrics> index_metrics;
  std::unordered_map<RequestKey, std::shared_ptr<Flight>, RequestKeyHasher>
      flights;  // shared with the engine that computes and the client's stop
  std::atomic<std::size_t> in_flight{0};
  std::atomic<bool> draining{false};
  std::atomic<bool> started{false};
  std::jthread thread;

  mutable std::mutex view_mutex;  // guards `view`, a copy for GET /cluster and ready()
  std::map<std::string, EngineView::Peer> view;
};

void Router::State::run(const std::stop_token& stop) {
  for (;;) {
    std::vector<Task> batch = tasks.pop_all(kIdleWait);
    for (Task& task : batch) task();
    if (index_metrics != nullptr) index_metrics->update(engines.index());
    if (stop.stop_requested() || (batch.empty() && tasks.closed())) break;
  }
  for (auto& [key, flight] : flights) {
    stop_stage(*flight);
    flight->on_client_stop.reset();
    flight->deliver_error(make_error(ErrorCode::unavailable, "the daemon is shutting down"));
  }
  flights.clear();
  in_flight = 0;
}

// ----------------------------------------------------------------------------------------------------------------
// flights

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
  const std::vector<Candidate> able = engines.candidates(request, parts.engine->stats(), running_here());
  auto chosen = parts.policy->choose(engines.query(request), able);
  if (!chosen) {
    flight->deliver_error(chosen.error());
    land(flight->key());
    return;
  }
  engines.sent(request, *std::ranges::find(able, chosen->prefill_node, &Candidate::node));
  ++flight->attempts;
  flight->planned_decode = chosen->decode_node;
  const bool hands_off = chosen->disaggregated();
  dispatch(flight, chosen->prefill_node,
           flight->begin(hands_off ? Phase::prefill : Phase::whole, chosen->prefill_node, chosen->decode_node,
                         new_attempt));
}

void Router::State::dispatch(const std::shared_ptr<Flight>& flight, const std::string& node,
                             Request request) {
  flight->node = node;
  const std::uint32_t generation = request.generation;
  Result<void> accepted;
  if (node == options.node_name) {
    flight->stop = std::stop_source{};
    auto sink = std::make_shared<StageSink>(flight, generation);
    accepted = parts.engine->submit(std::move(request), flight->stop.get_token(), std::move(sink));
  } else if (!send(node, SubmitMessage{std::move(request)})) {
    accepted = make_error(ErrorCode::unavailable, "node " + node + " is not connected");
  }
  if (!accepted) attempt_failed(flight->key(), generation, accepted.error());
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
  engines.finished(event.output_tokens);
  if (flight.prefill) {
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
  flight->prefill = prefill;
  const std::string computed_at = flight->node;
  std::string target = prefill.handoff.decode_node;
  const bool has_cache = !target.empty() && (target == options.node_name || engines.peers().contains(target));
  if (!has_cache) {
    const Request request = flight->request();
    auto other = parts.policy->choose_decode(
        engines.query(request), engines.candidates(request, parts.engine->stats(), running_here()),
        computed_at);
    if (!other) {
      flight->deliver_error(other.error());
      land(flight->key());
      return;
    }
    target = *other;
  }
  dispatch(flight, target, flight->begin(Phase::decode, has_cache ? computed_at : "", target, false));
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

// ----------------------------------------------------------------------------------------------------------------
// peers

void Router::State::peer_message(const std::string& from, Message& message) {
  if (!engines.peers().contains(from)) return;  // went down while this was on its way
  std::visit(Overload{
                 [&](SubmitMessage& m) { served.submit(*parts.engine, from, std::move(m)); },
                 [&](CancelMessage& m) { served.cancel(from, m); },
                 [&](TokensMessage& m) {
                   for (const TokenEvent& event : m.events)
                     if (const auto flight = find(event.key); flight && flight->node == from)
                       flight->token(event);
                 },
                 [&](FinishMessage& m) {
                   if (const auto flight = find(m.event.key); flight && flight->node == from)
                     stage_finished(m.event);
                 },
                 [&](FailMessage& m) {
                   if (const auto flight = find(m.key); flight && flight->node == from)
                     attempt_failed(m.key, m.generation, m.error);
                 },
                 [&](BlockEventsMessage& m) { apply_events(from, m); },
                 [&](StatusMessage& m) {
                   engines.status(from, m);
                   refresh_view();
                 },
                 [&](auto& m) { parts.engine->handle(from, std::move(m)); },
             },
             message);
}

EngineView::Running Router::State::running_here() const {
  EngineView::Running running;
  for (const auto& [key, flight] : flights) ++running[flight->node];
  return running;
}

void Router::State::apply_events(const std::string& node, const BlockEventsMessage& events) {
  engines.apply(node, events, parts.clock->now(), *parts.logger);
}

void Router::State::ask_for_snapshot(const std::string& node) {
  if (node == options.node_name)
    parts.engine->handle(node, SnapshotRequestMessage{});
  else
    send(node, SnapshotRequestMessage{});
}

void Router::State::peer_down(const std::string& name, const Error& why) {
  engines.node_down(name);
  if (parts.transport != nullptr) parts.transport->disconnect(name);
  parts.engine->peer_down(name);
  served.peer_down(name);
  refresh_view();
  std::vector<std::pair<RequestKey, std::uint32_t>> stranded;
  for (const auto& [key, flight] : flights)
    if (flight->node == name) stranded.emplace_back(key, flight->generation());
  for (const auto& [key, generation] : stranded) {
    attempt_failed(key, generation,
                   make_error(ErrorCode::unavailable, "node " + name + " is gone: " + why.message));
  }
}

void Router::State::refresh_view() {
  std::lock_guard lock(view_mutex);
  view = engines.peers();
}

// ----------------------------------------------------------------------------------------------------------------
// interface

Router::Router(RouterOptions options) : state_(std::make_unique<State>(std::move(options))) {}
Router::~Router() { stop(); }

void Router::start(const Parts& parts) {
  state_->parts = parts;
  if (parts.metrics != nullptr) state_->index_metrics = std::make_unique<IndexMetrics>(*parts.metrics);
  state_->started = true;
  state_->thread = std::jthread([state = state_.get()](const std::stop_token& stop) { state->run(stop); });
}

void Router::stop() {
  if (!state_->thread.joinable()) return;
  state_->started = false;
  state_->thread.request_stop();
  state_->post([] {});
  state_->thread.join();
  state_->tasks.close();
}

Result<void> Router::submit(Request request, std::stop_token stop, std::shared_ptr<TokenSink> sink) {
  State& state = *state_;
  if (!state.started) return make_error(ErrorCode::unavailable, "the router is not running");
  if (state.in_flight.fetch_add(1) >= state.options.max_in_flight) {
    --state.in_flight;
    return make_error(ErrorCode::overloaded, "too many requests are in flight");
  }
  const auto on_finish = [&state](const FinishEvent& event) {
    state.post([&state, event] { state.stage_finished(event); });
  };
  const auto on_error = [&state](const RequestKey& key, std::uint32_t generation, const Error& error) {
    state.post([&state, key, generation, error] { state.attempt_failed(key, generation, error); });
  };
  auto flight = std::make_shared<Flight>(std::move(request), std::move(sink), on_finish, on_error);
  state.post([&state, flight = std::move(flight), stop = std::move(stop)] { state.take_off(flight, stop); });
  return {};
}

bool Router::send(const std::string& node, const Message& message) {
  if (const auto* events = std::get_if<BlockEventsMessage>(&message);
      events != nullptr && node == state_->options.node_name) {  // the snapshot that we asked our engine for
    if (!state_->started) return false;
    state_->post([state = state_.get(), snapshot = *events] {
      state->apply_events(state->options.node_name, snapshot);
    });
    return true;
  }
  return state_->started && state_->send(node, message);
}

void Router::publish(const BlockEventsMessage& events) {
  if (!state_->started) return;
  state_->post([state = state_.get(), events] {
    if (state->parts.mesh != nullptr) state->parts.mesh->broadcast(events);
    state->apply_events(state->options.node_name, events);
  });
}

void Router::on_peer_up(const NodeInfo& peer) {
  state_->post([state = state_.get(), peer] {
    if (state->parts.transport != nullptr) {
      if (auto connected = state->parts.transport->connect(peer.name, peer.transport_address); !connected) {
        state->parts.logger->warn("no KV transport to peer",
                                  {{"peer", peer.name}, {"why", connected.error().message}});
      }
    }
    state->engines.node_up(peer, state->parts.clock->now());
    state->refresh_view();
  });
}

void Router::on_peer_down(const std::string& name, const Error& why) {
  state_->post([state = state_.get(), name, why] { state->peer_down(name, why); });
}

void Router::on_message(const std::string& from, Message message) {
  state_->post([state = state_.get(), from, message = std::move(message)]() mutable {
    state->peer_message(from, message);
  });
}

StatusMessage Router::on_heartbeat() {
  if (!state_->started) return {};
  StatusMessage status = status_of(state_->parts.engine->stats());
  status.ready = true;
  status.draining = state_->draining;
  return status;
}

void Router::set_draining(bool draining) { state_->draining = draining; }

bool Router::ready() const {
  if (!state_->started) return false;
  const Role own = parse_role(state_->parts.engine->stats().role).value_or(Role::mixed);
  if (own != Role::prefill) return true;  // a decode engine can prefill where it must
  std::lock_guard lock(state_->view_mutex);
  for (const auto& [name, peer] : state_->view)
    if (peer.status.role != Role::prefill && !peer.status.draining) return true;
  return false;
}

std::size_t Router::in_flight() const { return state_->in_flight; }

Result<nlohmann::json> Router::explain(const Request& request) {
  // Shared: the task may run after we have given up.
  auto promise = std::make_shared<std::promise<nlohmann::json>>();
  std::future<nlohmann::json> explained = promise->get_future();
  state_->post([state = state_.get(), request, promise] {
    promise->set_value(state->engines.explain(request, state->parts.engine->stats(), state->running_here()));
  });
  if (explained.wait_for(kExplainTimeout) != std::future_status::ready)
    return make_error(ErrorCode::deadline_exceeded, "the router is too busy to explain");
  try {
    return explained.get();
  } catch (const std::future_error&) {  // it stopped
    return make_error(ErrorCode::unavailable, "the router has stopped");
  }
}

nlohmann::json Router::cluster() const {
  const StatusMessage own = const_cast<Router*>(this)->on_heartbeat();
  const auto describe = [](const std::string& name, const StatusMessage& status) {
    return nlohmann::json{{"name", name},
                          {"role", to_string(status.role)},
                          {"draining", status.draining},
                          {"running", status.running},
                          {"waiting", status.waiting},
                          {"kv_blocks", {{"total", status.blocks_total}, {"in_use", status.blocks_in_use}}}};
  };
  nlohmann::json nodes = nlohmann::json::array();
  nodes.push_back(describe(state_->options.node_name, own));
  nodes.back()["self"] = true;
  std::lock_guard lock(state_->view_mutex);
  for (const auto& [name, peer] : state_->view) {
    nodes.push_back(describe(name, peer.status));
    nodes.back()["http"] = peer.info.http_address;
    nodes.back()["numerics"] = peer.info.numerics;
    if (state_->parts.transport != nullptr) nodes.back()["link"] = state_->parts.transport->link(name);
  }
  return {{"node", state_->options.node_name},
          {"nodes", std::move(nodes)},
          {"in_flight", state_->in_flight.load()}};
}

}  // namespace baton
