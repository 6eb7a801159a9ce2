// What other daemons say, and what it means when one of them is gone.
#include <utility>
#include <variant>
#include <vector>

#include "router/router_state.hpp"

namespace baton {
namespace {

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

}  // namespace

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
                 [&](StatusMessage& m) { told_status(from, m); },
                 [&](SetRoleMessage& m) {
                   parts.logger->info("a peer changes this engine's role", {{"peer", from}});
                   (void)give_role(options.node_name, m.role);
                 },
                 [&](auto& m) { parts.engine->handle(from, std::move(m)); },
             },
             message);
}

EngineView::SentByNode Router::State::sent_from_here() const {
  EngineView::SentByNode sent;
  for (const auto& [key, flight] : flights) {
    ++sent[flight->node].running;
    if (flight->planned_decode.empty() || flight->planned_decode == flight->node) continue;
    EngineView::Sent& next = sent[flight->planned_decode];
    ++next.coming;
    next.coming_tokens += flight->prompt_tokens;
  }
  return sent;
}

void Router::State::apply_events(const std::string& node, const BlockEventsMessage& events) {
  engines.apply(node, events, parts.clock->now(), *parts.logger);
}

void Router::State::told_status(const std::string& from, const StatusMessage& status) {
  engines.status(from, status);
  refresh_view();
  if (status.draining) move_away(from);
}

void Router::State::tell_status() {
  if (parts.mesh != nullptr) parts.mesh->broadcast(own_status());
}

StatusMessage Router::State::own_status() const {
  const EngineStats stats = parts.engine->stats();
  StatusMessage status = status_of(stats);
  const RecentLatency::Figures first = ttft.figures(), between = itl.figures();
  status.figures = {stats.prefix_queried_tokens,
                    stats.prefix_hit_tokens,
                    stats.blocks_sent,
                    stats.blocks_received,
                    stats.bytes_sent,
                    stats.bytes_received,
                    stats.transfers_in_flight,
                    stats.transfers_failed,
                    in_flight,
                    first.p50,
                    first.p99,
                    between.p50,
                    between.p99};
  status.ready = true;
  status.draining =
      draining || stats.device_failed;  // peers do the same: nothing new, and what runs moves away
  status.auto_roles = options.auto_roles.has_value();
  return status;
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

}  // namespace baton
