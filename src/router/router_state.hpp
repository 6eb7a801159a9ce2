// What a Router owns. Split over router.cpp (its life and interface), flights.cpp (requests accepted here)
// and peers.cpp (what other daemons say).
//
// One thread, the router thread, owns everything here except what is marked; everybody else posts tasks to
// it.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "baton/base/channel.hpp"
#include "baton/router/router.hpp"
#include "router/engine_view.hpp"
#include "router/flight.hpp"
#include "router/index_metrics.hpp"
#include "router/recent_latency.hpp"
#include "router/served_requests.hpp"

namespace baton {

struct Router::State {
  explicit State(RouterOptions o)
      : options(std::move(o)),
        tasks(options.max_in_flight * 2),
        served([this](const std::string& node, const Message& m) { return send(node, m); },
               [this](Task task) { post(std::move(task)); }) {}

  using Task = std::function<void()>;

  // router.cpp
  void run(const std::stop_token& stop);
  void post(Task task) { tasks.push_always(std::move(task)); }
  bool send(const std::string& node, const Message& message) {
    return parts.mesh != nullptr && parts.mesh->send(node, message);
  }

  // flights.cpp
  void take_off(std::shared_ptr<Flight> flight, std::stop_token stop);
  void route(const std::shared_ptr<Flight>& flight, bool new_attempt);
  void dispatch(const std::shared_ptr<Flight>& flight, const std::string& node, Request request);
  void stage_finished(const FinishEvent& event);
  std::optional<Error> refuse(const Request& request, const Route& route) const;
  void watch(TimePoint now);
  void move(Flight& flight);
  void move_away(const std::string& node);
  void start_decode(const std::shared_ptr<Flight>& flight, const FinishEvent& prefill);
  void attempt_failed(const RequestKey& key, std::uint32_t generation, const Error& error);
  void cancelled(const RequestKey& key);
  void stop_stage(Flight& flight);
  void land(const RequestKey& key);
  void give_back(const Flight& flight);
  void deliver(Flight& flight, FinishEvent event);
  std::shared_ptr<Flight> find(const RequestKey& key) const;

  // roles.cpp
  void control_roles(TimePoint now);
  std::vector<EngineReading> readings() const;
  Result<void> give_role(const std::string& node, Role role);  // any thread
  void note_role(const RoleMove& move);

  // peers.cpp
  void peer_message(const std::string& from, Message& message);
  void peer_down(const std::string& name, const Error& why);
  EngineView::SentByNode sent_from_here() const;
  void told_status(const std::string& from, const StatusMessage& status);
  void tell_status();                // to all, without waiting for a heartbeat
  StatusMessage own_status() const;  // any thread
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
      flights;          // shared with the engine that computes and the client's stop
  TimePoint watched{};  // when flights were last looked at for progress
  std::optional<RoleController> controller;
  TimePoint controlled{};
  RecentLatency ttft, itl;  // of requests accepted here
  std::atomic<std::size_t> in_flight{0};
  std::atomic<bool> draining{false};
  std::atomic<bool> started{false};
  std::jthread thread;

  mutable std::mutex view_mutex;  // guards the copies for GET /cluster and ready()
  std::map<std::string, EngineView::Peer> view;
  std::deque<nlohmann::json> changes;  // of roles, for GET /cluster: the newest first
};

}  // namespace baton
