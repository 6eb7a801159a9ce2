#include "frontend/server_state.hpp"

#include <random>
#include <vector>

namespace baton::frontend {
namespace {

std::uint64_t draw() {
  // Ids name transfers and seeds must not be guessable from each other: the system's source, not an engine.
  thread_local std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

}  // namespace

ServerState::ServerState(FrontendOptions o, FrontendServices s)
    : options(std::move(o)),
      services(std::move(s)),
      limits{.body_bytes = options.max_body_bytes},
      credentials(options.api_key_file, options.tls_certificate, options.tls_key, services.logger),
      request_metrics(services.metrics, services.model.names.front()),
      engine_metrics(services.metrics, services.model.names.front()),
      pool(options.text_threads),
      format_pool(options.format_threads, options.max_queued_formats),
      admission(std::make_shared<Admission>(options.max_queued_requests)),
      random(draw),
      connections_gauge_(services.metrics.gauge("baton_http_connections", "Open client connections")) {}

void ServerState::add(const std::shared_ptr<Session>& session) {
  std::lock_guard lock(mutex_);
  sessions_[session.get()] = session;
  connections_gauge_.set(static_cast<double>(sessions_.size()));
}

void ServerState::remove(Session* session) {
  std::lock_guard lock(mutex_);
  sessions_.erase(session);
  connections_gauge_.set(static_cast<double>(sessions_.size()));
  changed_.notify_all();  // under the mutex: who waits for it may destroy us
}

std::size_t ServerState::connections() const {
  std::lock_guard lock(mutex_);
  return sessions_.size();
}

void ServerState::for_each(const std::function<void(const std::shared_ptr<Session>&)>& visit) {
  std::vector<std::shared_ptr<Session>> live;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [key, weak] : sessions_) {
      if (auto session = weak.lock()) live.push_back(std::move(session));
    }
  }
  for (const auto& session : live) visit(session);
}

bool ServerState::wait_no_connections(Duration timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return sessions_.empty(); });
}

void ServerState::begin_request() {
  std::lock_guard lock(mutex_);
  ++requests_;
}

void ServerState::end_request() {
  std::lock_guard lock(mutex_);
  --requests_;
  changed_.notify_all();
}

bool ServerState::wait_no_requests(Duration timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return requests_ == 0; });
}

void ServerState::count_response(int status) {
  services.metrics
      .counter("baton_http_responses_total", "HTTP responses by status", {{"code", std::to_string(status)}})
      .add();
}

}  // namespace baton::frontend
