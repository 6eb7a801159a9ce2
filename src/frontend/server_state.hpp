// What all connections of one server share: options, services, counters, the text pools, and the registry of
// live sessions.
//
// Invariant: outlives every session. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "baton/frontend/server.hpp"
#include "frontend/credentials.hpp"
#include "frontend/engine_metrics.hpp"
#include "frontend/event_queue.hpp"
#include "frontend/http_parser.hpp"
#include "frontend/request_metrics.hpp"
#include "frontend/text_pool.hpp"

namespace baton::frontend {

class Session;

class ServerState {
 public:
  ServerState(FrontendOptions o, FrontendServices s);

  const FrontendOptions options;
  const FrontendServices services;
  const HttpLimits limits;
  Credentials credentials;
  RequestMetrics request_metrics;
  EngineMetrics engine_metrics;
  TextPool pool;
  TextPool format_pool;  // its work may take a second, and plain requests have none there
  const std::shared_ptr<Admission> admission;  // shared with the engines' sinks
  std::atomic<bool> draining{false};
  std::function<std::uint64_t()> random;

  // Sessions from accept to close.
  void add(const std::shared_ptr<Session>& session);
  void remove(Session* session);
  std::size_t connections() const;
  void for_each(const std::function<void(const std::shared_ptr<Session>&)>& visit);
  bool wait_no_connections(Duration timeout);

  // Requests from their first byte to the last byte of their answer.
  void begin_request();
  void end_request();
  bool wait_no_requests(Duration timeout);

  void count_response(int status);

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<Session*, std::weak_ptr<Session>> sessions_;
  std::size_t requests_ = 0;
  Gauge& connections_gauge_;
};

}  // namespace baton::frontend
