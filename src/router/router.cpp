#include "baton/router/router.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
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
#include "baton/router/block_index.hpp"
#include "router/flight.hpp"
#include "router/index_metrics.hpp"
#include "router/served_requests.hpp"

namespace baton {
namespace {

using Task = std::function<void()>;
constexpr auto kIdleWait = std::chrono::milliseconds(200);
constexpr auto kSnapshotWait =
    std::chrono::seconds(5);  // for an answer, before a snapshot is asked for again

struct IndexedNode {
  NodeId id = kNoNode;
  std::optional<TimePoint> asked;  // for a snapshot that has not come yet
};

struct Peer {
  NodeInfo info;
  StatusMessage status;
  IndexedNode indexed;
};

void fill_load(StatusMessage& status, const EngineStats& stats) {
  status.running = static_cast<std::uint32_t>(stats.running);
  status.waiting = static_cast<std::uint32_t>(stats.waiting);
  status.waiting_prefill_tokens = stats.waiting_prefill_tokens;
  status.blocks_total = static_cast<std::uint32_t>(stats.blocks_total);
  status.blocks_in_use = static_cast<std::uint32_t>(stats.blocks_in_use);
  status.kv_tokens = stats.kv_tokens;
  status.max_batch_tokens = static_cast<std::uint32_t>(stats.max_batch_tokens);
  status.profile = stats.profile;
}

// An engine that has made no step yet is taken to be like one that has: its own first guess would compete
// with the others' measurements.
void guess_unmeasured(std::vector<Candidate>& engines) {
  const auto known = std::ranges::find_if(engines, [](const Candidate& c) { return c.profile.measured; });
  if (known == engines.end()) return;
  for (Candidate& engine : engines)
    if (!engine.profile.measured) engine.profile = known->profile;
}

constexpr auto kExplainTimeout = std::chrono::seconds(2);
constexpr std::size_t kExplainedRoutes = 64;
constexpr double kOutputMemory = 0.05;  // weight of the newest request in the expected output length

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
  RouteQuery query(const Request& request) const;
  std::vector<Candidate> candidates(const Request& request) const;
  nlohmann::json explain(const Request& request) const;
  void peer_message(const std::string& from, Message& message);
  void apply_events(const std::string& name, IndexedNode& node, const BlockEventsMessage& events);
  void ask_for_snapshot(const std::string& name, IndexedNode& node);
  void peer_down(const std::string& name, const Error& why);
  void refresh_view();

  const RouterOptions options;
  Parts parts;
  Channel<Task> tasks;
  ServedRequests served;
  BlockIndex index{options.index_bytes};
  IndexedNode self{index.add_node(), {}};
  std::unique_ptr<IndexMetrics> index_metrics;
  std::map<std::string, Peer> peers;
  std::unordered_map<RequestKey, std::shared_ptr<Flight>, RequestKeyHasher>
      flights;  // shared with the engine that computes and the client's stop
  // Prompt tokens sent to a node since it last told how many wait there: a status, or a step of the own
  // engine.
  std::map<std::string, std::uint64_t> sent_tokens;
  std::uint64_t local_steps = 0;
  double expected_output = 256;  // tokens, of the requests that ended lately
  std::atomic<std::size_t> in_flight{0};
  std::atomic<bool> draining{false};
  std::atomic<bool> started{false};
  std::jthread thread;

  mutable std::mutex view_mutex;  // guards `view`, a copy for GET /cluster and ready()
  std::map<std::string, Peer> view;
};

void Router::State::run(const std::stop_token& stop) {
  for (;;) {
    std::vector<Task> batch = tasks.pop_all(kIdleWait);
    for (Task& task : batch) task();
    if (index_metrics != nullptr) index_metrics->update(index);
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
  if (const std::uint64_t steps = parts.engine->stats().steps; steps != std::exchange(local_steps, steps))
    sent_tokens.erase(options.node_name);  // the engine has looked at its queue since
  const std::vector<Candidate> engines = candidates(request);
  auto chosen = parts.policy->choose(query(request), engines);
  if (!chosen) {
    flight->deliver_error(chosen.error());
    land(flight->key());
    return;
  }
  const auto prefill = std::ranges::find(engines, chosen->prefill_node, &Candidate::node);
  const std::size_t held = prefill->held_blocks * static_cast<std::size_t>(options.block_size);
  sent_tokens[chosen->prefill_node] += request.prompt.size() - std::min(held, request.prompt.size());
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
  expected_output += kOutputMemory * (static_cast<double>(event.output_tokens) - expected_output);
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
  const bool has_cache = !target.empty() && (target == options.node_name || peers.contains(target));
  if (!has_cache) {
    const Request request = flight->request();
    auto other = parts.policy->choose_decode(query(request), candidates(request), computed_at);
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

RouteQuery Router::State::query(const Request& request) const {
  return {.prompt_tokens = request.prompt.size() + request.output.size(),
          .max_tokens = request.stop.max_tokens - static_cast<std::int32_t>(request.output.size()),
          .block_size = options.block_size,
          .expected_tokens = expected_output};
}

std::vector<Candidate> Router::State::candidates(const Request& request) const {
  const std::vector<BlockHash> hashes =
      block_hashes(request.prompt, options.block_size, options.hash_key(request.cache_salt));
  std::vector<std::uint32_t> held;
  index.match(hashes, held);
  std::map<std::string, std::uint32_t> own;  // dispatched from here: newer than the last heartbeat
  for (const auto& [key, flight] : flights) ++own[flight->node];
  const auto candidate = [&](const std::string& name, const StatusMessage& status, NodeId id) {
    const auto mine = own.find(name);
    Candidate c;
    c.node = name;
    c.role = status.role;
    const auto sent = sent_tokens.find(name);
    c.waiting_prefill_tokens = status.waiting_prefill_tokens + (sent == sent_tokens.end() ? 0 : sent->second);
    c.running = std::max(status.running, mine == own.end() ? 0 : mine->second);
    c.waiting = status.waiting;
    c.held_blocks = id < held.size() ? held[id] : 0;
    c.kv_tokens = status.kv_tokens;
    c.free_tokens = std::uint64_t{status.blocks_total - std::min(status.blocks_in_use, status.blocks_total)} *
                    static_cast<std::uint64_t>(options.block_size);
    c.chunk = static_cast<std::int32_t>(std::clamp<std::uint32_t>(status.max_batch_tokens, 1, 1 << 20));
    if (status.profile.sane()) c.profile = status.profile;
    return c;
  };
  // Engines that would have to cut the answer are left out, unless there is nobody else to generate it.
  const std::size_t tokens = request.prompt.size() + static_cast<std::size_t>(request.stop.max_tokens);
  const auto holds = [&](std::int32_t context) { return tokens <= static_cast<std::size_t>(context); };
  std::vector<Candidate> all, roomy;
  const EngineStats here = parts.engine->stats();
  StatusMessage local;
  local.role = parse_role(here.role).value_or(Role::mixed);
  fill_load(local, here);
  all.push_back(candidate(options.node_name, local, self.id));
  if (holds(options.max_context)) roomy.push_back(all.back());
  for (const auto& [name, peer] : peers) {
    if (peer.status.draining) continue;
    all.push_back(candidate(name, peer.status, peer.indexed.id));
    if (holds(peer.info.max_context)) roomy.push_back(all.back());
  }
  for (std::vector<Candidate>* engines : {&all, &roomy}) guess_unmeasured(*engines);
  const bool generates =
      std::ranges::any_of(roomy, [](const Candidate& c) { return c.role != Role::prefill; });
  return generates ? roomy : all;
}

void Router::State::peer_message(const std::string& from, Message& message) {
  const auto peer = peers.find(from);
  if (peer == peers.end()) return;  // went down while this was on its way
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
                 [&](BlockEventsMessage& m) { apply_events(from, peer->second.indexed, m); },
                 [&](StatusMessage& m) {
                   peer->second.status = m;
                   sent_tokens.erase(from);
                   refresh_view();
                 },
                 [&](auto& m) { parts.engine->handle(from, std::move(m)); },
             },
             message);
}

void Router::State::apply_events(const std::string& name, IndexedNode& node,
                                 const BlockEventsMessage& events) {
  if (events.snapshot) node.asked.reset();
  const BlockIndex::Applied applied = index.apply(node.id, events);
  if (applied == BlockIndex::Applied::ok) return;
  if (node.asked && parts.clock->now() - *node.asked < kSnapshotWait) return;
  parts.logger->info("block index out of step: asking for a snapshot",
                     {{"node", name}, {"why", applied == BlockIndex::Applied::gap ? "gap" : "drift"}});
  ask_for_snapshot(name, node);
}

void Router::State::ask_for_snapshot(const std::string& name, IndexedNode& node) {
  node.asked = parts.clock->now();
  if (name == options.node_name)
    parts.engine->handle(name, SnapshotRequestMessage{});
  else
    send(name, SnapshotRequestMessage{});
}

void Router::State::peer_down(const std::string& name, const Error& why) {
  if (const auto peer = peers.find(name); peer != peers.end()) {
    index.forget(peer->second.indexed.id);
    peers.erase(peer);
  }
  sent_tokens.erase(name);
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
  view = peers;
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
      state->apply_events(state->options.node_name, state->self, snapshot);
    });
    return true;
  }
  return state_->started && state_->send(node, message);
}

void Router::publish(const BlockEventsMessage& events) {
  if (!state_->started) return;
  state_->post([state = state_.get(), events] {
    if (state->parts.mesh != nullptr) state->parts.mesh->broadcast(events);
    state->apply_events(state->options.node_name, state->self, events);
  });
}

void Router::on_peer_up(const NodeInfo& peer) {
  state_->post([state = state_.get(), peer] {
    StatusMessage status;
    status.role = peer.role;
    Peer& entry = state->peers[peer.name];
    state->index.forget(entry.indexed.id);
    entry = Peer{peer, status, {state->index.add_node(), {}}};
    if (state->parts.transport != nullptr) {
      if (auto connected = state->parts.transport->connect(peer.name, peer.transport_address); !connected) {
        state->parts.logger->warn("no KV transport to peer",
                                  {{"peer", peer.name}, {"why", connected.error().message}});
      }
    }
    state->refresh_view();
    state->ask_for_snapshot(peer.name, entry.indexed);
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
  StatusMessage status;
  if (!state_->started) return status;
  const EngineStats stats = state_->parts.engine->stats();
  status.role = parse_role(stats.role).value_or(Role::mixed);
  status.ready = true;
  status.draining = state_->draining;
  fill_load(status, stats);
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
  state_->post([state = state_.get(), request, promise] { promise->set_value(state->explain(request)); });
  if (explained.wait_for(kExplainTimeout) != std::future_status::ready)
    return make_error(ErrorCode::deadline_exceeded, "the router is too busy to explain");
  try {
    return explained.get();
  } catch (const std::future_error&) {  // it stopped
    return make_error(ErrorCode::unavailable, "the router has stopped");
  }
}

nlohmann::json Router::State::explain(const Request& request) const {
  const RouteQuery asked = query(request);
  const std::vector<Candidate> engines = candidates(request);
  nlohmann::json out{{"prompt_tokens", asked.prompt_tokens},
                     {"expected_output_tokens", asked.expected_tokens}};
  const auto ms = [](double seconds) { return std::round(seconds * 1e6) / 1e3; };
  for (const Candidate& c : engines)
    out["engines"].push_back(
        {{"node", c.node},
         {"role", to_string(c.role)},
         {"cached_tokens", c.held_blocks * static_cast<std::size_t>(options.block_size)},
         {"waiting_prefill_tokens", c.waiting_prefill_tokens},
         {"running", c.running},
         {"waiting", c.waiting},
         {"kv_tokens", c.kv_tokens},
         {"free_tokens", c.free_tokens},
         {"prefill_ms_per_1000_tokens", ms(c.profile.prefill_seconds(1000, 0, c.chunk))},
         {"decode_ms_per_step",
          ms(c.profile.decode_seconds(c.running + 1.0, static_cast<double>(c.kv_tokens)))}});
  out["routes"] = nlohmann::json::array();
  for (const Route& route : predicted_routes(asked, engines, kExplainedRoutes))
    out["routes"].push_back({{"prefill", route.prefill_node},
                             {"decode", route.decode_node},
                             {"predicted_ms",
                              {{"queue", ms(route.cost.queue)},
                               {"prefill", ms(route.cost.prefill)},
                               {"ttft", ms(route.cost.ttft())},
                               {"transfer", ms(route.cost.transfer)},
                               {"wait", ms(route.cost.wait)},
                               {"decode", ms(route.cost.decode)},
                               {"slowdown", ms(route.cost.slowdown)},
                               {"total", ms(route.cost.total())}}}});
  return out;
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
