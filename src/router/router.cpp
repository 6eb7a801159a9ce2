#include "baton/router/router.hpp"

#include <future>
#include <nlohmann/json.hpp>
#include <utility>

#include "router/router_state.hpp"

namespace baton {
namespace {

constexpr auto kIdleWait = std::chrono::milliseconds(200);
constexpr auto kExplainTimeout = std::chrono::seconds(2);
constexpr auto kRoleTimeout = std::chrono::seconds(3);

}  // namespace

void Router::State::run(const std::stop_token& stop) {
  for (;;) {
    std::vector<Task> batch = tasks.pop_all(kIdleWait);
    for (Task& task : batch) task();
    watch(parts.clock->now());
    control_roles(parts.clock->now());
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

Router::Router(RouterOptions options) : state_(std::make_unique<State>(std::move(options))) {}
Router::~Router() { stop(); }

void Router::start(const Parts& parts) {
  state_->parts = parts;
  if (state_->options.auto_roles) state_->controller.emplace(*state_->options.auto_roles);
  if (parts.metrics != nullptr) state_->index_metrics = std::make_unique<IndexMetrics>(*parts.metrics);
  if (parts.grammars != nullptr) state_->served.start_compiling(*parts.grammars);
  state_->started = true;
  state_->thread = std::jthread([state = state_.get()](const std::stop_token& stop) { state->run(stop); });
}

void Router::stop() {
  if (!state_->thread.joinable()) return;
  state_->started = false;
  state_->thread.request_stop();
  state_->post([] {});
  state_->thread.join();
  state_->served.stop_compiling();
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
  auto flight =
      std::make_shared<Flight>(std::move(request), std::move(sink), *state.parts.clock, on_finish, on_error);
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

StatusMessage Router::on_heartbeat() { return state_->started ? state_->own_status() : StatusMessage{}; }

void Router::set_draining(bool draining) {
  state_->draining = draining;
  state_->post([state = state_.get()] { state->tell_status(); });
}

Result<Role> Router::set_role(const std::string& node, Role role) {
  if (!state_->started) return make_error(ErrorCode::unavailable, "the router is not running");
  const auto role_of = [&]() -> std::optional<Role> {
    if (node == state_->options.node_name) return state_->own_status().role;
    std::lock_guard lock(state_->view_mutex);
    const auto peer = state_->view.find(node);
    return peer == state_->view.end() ? std::nullopt : std::optional(peer->second.status.role);
  };
  const std::optional<Role> before = role_of();
  if (!before) return make_error(ErrorCode::not_found, "no engine is called '" + node + "' here", "id");
  if (auto given = state_->give_role(node, role); !given) return given.error();
  const auto give_up = std::chrono::steady_clock::now() + kRoleTimeout;
  while (role_of() != role) {
    if (std::chrono::steady_clock::now() > give_up)
      return make_error(ErrorCode::deadline_exceeded, "node " + node + " has not taken the role yet");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return *before;
}

bool Router::ready() const {
  if (!state_->started || state_->draining) return false;
  const EngineStats stats = state_->parts.engine->stats();
  if (stats.device_failed) return false;
  const Role own = parse_role(stats.role).value_or(Role::mixed);
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
    promise->set_value(
        state->engines.explain(request, state->parts.engine->stats(), state->sent_from_here()));
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
                          {"kv_blocks", {{"total", status.blocks_total}, {"in_use", status.blocks_in_use}}},
                          {"prefill_tokens", status.prefill_tokens},
                          {"decode_tokens", status.decode_tokens},
                          {"prefix_cache",
                           {{"queried_tokens", status.figures.prefix_queried_tokens},
                            {"hit_tokens", status.figures.prefix_hit_tokens}}},
                          {"transfers",
                           {{"in_flight", status.figures.transfers_in_flight},
                            {"failed", status.figures.transfers_failed},
                            {"blocks_sent", status.figures.blocks_sent},
                            {"blocks_received", status.figures.blocks_received},
                            {"bytes_sent", status.figures.bytes_sent},
                            {"bytes_received", status.figures.bytes_received}}},
                          {"accepted",
                           {{"in_flight", status.figures.accepted},
                            {"ttft_ms", {{"p50", status.figures.ttft_p50}, {"p99", status.figures.ttft_p99}}},
                            {"itl_ms", {{"p50", status.figures.itl_p50}, {"p99", status.figures.itl_p99}}}}}};
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
          {"role_changes", state_->changes},
          {"in_flight", state_->in_flight.load()}};
}

}  // namespace baton
