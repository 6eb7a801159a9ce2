// Which connection to a node is used, when both dial each other, redial, or restart.
//
// Of two nodes the one with the greater name offers and the one with the smaller name accepts. The offering
// side has at most one offer open and none while a connection is in use; so an offer means that the offering
// side holds no live connection, and the accepting side replaces whatever it still holds. Messages travel
// only after the accept, hence never on a connection that loses.
#include <algorithm>
#include <utility>

#include "peer/mesh_state.hpp"

namespace baton {
namespace {

using peer::ConnectionPtr;
using peer::Handshake;
using peer::HandshakeFault;

constexpr Duration kFailureLogInterval = std::chrono::seconds(1);

TimePoint now() { return std::chrono::steady_clock::now(); }

}  // namespace

void PeerMesh::State::on_introduced(const ConnectionPtr& connection) {
  std::erase(unproven, connection);
  if (stopping) return connection->goodbye();
  const std::string& name = connection->peer().node.name;
  if (identity.self.node.name < name) return;  // they offer

  if (const ConnectionPtr current = find(name)) {
    if (current->peer().instance == connection->peer().instance) {
      return connection->refuse(HandshakeFault::duplicate,
                                make_error(ErrorCode::cancelled, "the two nodes are connected already"));
    }
    replace(current, connection);
  }
  Candidates& among = candidates[name];
  if (among.offered && among.offered->peer().instance != connection->peer().instance) {
    among.waiting.push_front(connection);  // its turn as soon as the earlier life's connection is gone
    const ConnectionPtr earlier = among.offered;
    return earlier->close(make_error(ErrorCode::cancelled, "the node was restarted"),
                          HandshakeFault::duplicate);
  }
  among.waiting.push_back(connection);
  if (!among.offered) offer_next(name);
}

void PeerMesh::State::offer_next(const std::string& name) {
  const auto found = candidates.find(name);
  if (found == candidates.end()) return;
  Candidates& among = found->second;
  if (among.waiting.empty()) {
    candidates.erase(found);
    return;
  }
  among.offered = among.waiting.front();
  among.waiting.pop_front();
  among.offered->offer();
}

void PeerMesh::State::on_offered(const ConnectionPtr& connection) {
  const std::string& name = connection->peer().node.name;
  if (name < identity.self.node.name) {
    return connection->close(make_error(ErrorCode::corrupt, "an offer from the side that accepts"),
                             HandshakeFault::garbage);
  }
  if (const ConnectionPtr current = find(name)) replace(current, connection);
  connection->accept();
  put_in_use(connection);
}

void PeerMesh::State::on_accepted(const ConnectionPtr& connection) {
  const std::string name = connection->peer().node.name;
  const auto found = candidates.find(name);
  if (found == candidates.end() || found->second.offered != connection) {
    return connection->close(make_error(ErrorCode::corrupt, "an accept without an offer"),
                             HandshakeFault::garbage);
  }
  const Candidates among = std::move(found->second);
  candidates.erase(found);
  connection->use();
  put_in_use(connection);
  for (const ConnectionPtr& loser : among.waiting) {
    loser->refuse(HandshakeFault::duplicate,
                  make_error(ErrorCode::cancelled, "the two nodes are connected already"));
  }
}

void PeerMesh::State::replace(const ConnectionPtr& old, const ConnectionPtr& by) {
  const bool restarted = old->peer().instance != by->peer().instance;
  if (restarted) {
    logger.warn("a peer was restarted (if this repeats, two nodes have the same name)",
                {{"peer", old->peer().node.name}, {"was", old->remote()}, {"is", by->remote()}});
  }
  old->close(make_error(ErrorCode::unavailable, restarted ? "was restarted" : "connected anew"));
}

void PeerMesh::State::put_in_use(const ConnectionPtr& connection) {
  const NodeInfo& node = connection->peer().node;
  std::size_t count = 0;
  {
    std::lock_guard lock(mutex);
    in_use[node.name] = connection;
    count = in_use.size();
  }
  connected.set(static_cast<double>(count));
  logger.info("peer connected", {{"peer", node.name},
                                 {"address", connection->remote()},
                                 {"dialed", connection->side() == Handshake::Side::dialer},
                                 {"version", node.version}});
  if (node.numerics != identity.self.node.numerics) {
    logger.warn("a peer computes with other numerics: its tokens may differ in rare ties",
                {{"peer", node.name}, {"ours", identity.self.node.numerics}, {"theirs", node.numerics}});
  }
  for (const auto& dialer : dialers) {
    if (dialer->connection == connection) dialer->name = node.name;
    if (dialer->name == node.name) set_link(*dialer, true, {});
  }
  events.on_peer_up(node);
  if (const peer::Payload status = encode(events.on_heartbeat())) connection->send(status);
}

void PeerMesh::State::on_received(const ConnectionPtr& connection, Message message) {
  if (!stopping) events.on_message(connection->peer().node.name, std::move(message));
}

void PeerMesh::State::on_closed(const ConnectionPtr& connection) {
  const ConnectionPtr keep = connection;  // the caller's may be an element of what is erased here
  connections.erase(keep);
  std::erase(unproven, keep);

  bool was_used = false;
  std::size_t count = 0;
  const std::string name = keep->knows_peer() ? keep->peer().node.name : std::string();
  {
    std::lock_guard lock(mutex);
    const auto found = in_use.find(name);
    was_used = found != in_use.end() && found->second == keep;
    if (was_used) in_use.erase(found);
    count = in_use.size();
  }
  if (!stopping) {
    if (was_used) {
      connected.set(static_cast<double>(count));
      logger.warn("peer down", {{"peer", name}, {"why", keep->why().message}});
      for (const auto& dialer : dialers) {
        if (dialer->name == name) set_link(*dialer, false, keep->why().message);
      }
      events.on_peer_down(name, keep->why());
    } else {
      report_failure(*keep);
      if (keep->knows_peer()) forget_candidate(keep);
    }
  }
  wake_dialers();
  finish_if_idle();
}

void PeerMesh::State::forget_candidate(const ConnectionPtr& connection) {
  const std::string& name = connection->peer().node.name;
  const auto found = candidates.find(name);
  if (found == candidates.end()) return;
  std::erase(found->second.waiting, connection);
  if (found->second.offered != connection) return;
  found->second.offered = nullptr;
  offer_next(name);
}

void PeerMesh::State::report_failure(const peer::Connection& connection) {
  const HandshakeFault fault = connection.fault().value_or(HandshakeFault::closed);
  if (fault == HandshakeFault::duplicate || fault == HandshakeFault::self) return;
  metrics
      .counter("baton_peer_handshake_failures_total", "Connections of peers that did not come to be used",
               {{"reason", std::string(to_string(fault))}})
      .add();
  // The dialer tells of its own. A stranger's must not fill the log: port probes, and floods.
  if (connection.side() == Handshake::Side::dialer) return;
  if (fault == HandshakeFault::closed || now() < next_failure_log) {
    if (fault != HandshakeFault::closed) ++unlogged_failures;
    return;
  }
  next_failure_log = now() + kFailureLogInterval;
  logger.warn("a peer's connection was refused",
              {{"from", connection.remote()},
               {"peer", connection.knows_peer() ? connection.peer().node.name : std::string("unknown")},
               {"reason", to_string(fault)},
               {"why", connection.why().message},
               {"not_logged_before", unlogged_failures}});
  unlogged_failures = 0;
}

}  // namespace baton
