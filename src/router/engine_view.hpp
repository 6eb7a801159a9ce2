// EngineView: what the router knows of every engine: who is connected, what each holds (the block index), how
// loaded it is, and so what a request would cost there.
//
// The router's thread owns it. Loads come with heartbeats; what was sent to a node since its last one is
// added, and so is what will come to a decode engine once its prompt is computed elsewhere, so that a burst
// does not all go to the same node.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/log.hpp"
#include "baton/peer/messages.hpp"
#include "baton/router/block_index.hpp"
#include "baton/router/policy.hpp"
#include "baton/router/router.hpp"
#include "baton/schedule/service.hpp"

namespace baton {

// An engine's numbers as its status tells them to peers; `ready` and `draining` are the router's to say.
StatusMessage status_of(const EngineStats& stats);

class EngineView {
 public:
  struct Peer {
    NodeInfo info;
    StatusMessage status;
  };
  // Sends a SnapshotRequest to a node, the own one included.
  using AskForSnapshot = std::function<void(const std::string& node)>;
  // Requests accepted here, by node: newer than any heartbeat.
  struct Sent {
    std::uint32_t running = 0;        // there now
    std::uint32_t coming = 0;         // will generate there once another node has computed their prompts
    std::uint64_t coming_tokens = 0;  // of those prompts
  };
  using SentByNode = std::map<std::string, Sent>;

  EngineView(const RouterOptions& options, AskForSnapshot ask);  // `options` outlives it

  void node_up(const NodeInfo& peer, TimePoint now);  // a new life: nothing of an earlier one counts
  void node_down(const std::string& name);
  void status(const std::string& name, const StatusMessage& status);
  // Of any node, the own one included. What went missing or wrong is asked for again, at most every few
  // seconds.
  void apply(const std::string& name, const BlockEventsMessage& events, TimePoint now, Logger& logger);

  void sent(const Request& request, const Candidate& chosen);  // its prompt, to be computed there
  void finished(std::uint32_t output_tokens);                  // of a request that was accepted here

  bool is_draining(const std::string& peer) const;
  const std::map<std::string, Peer>& peers() const { return peers_; }
  const BlockIndex& index() const { return index_; }

  RouteQuery query(const Request& request) const;
  // Engines that may be given this request. Those that would have to cut its answer only where no other can
  // generate it.
  std::vector<Candidate> candidates(const Request& request, const EngineStats& own, const SentByNode& sent);
  nlohmann::json explain(const Request& request, const EngineStats& own, const SentByNode& sent);

 private:
  struct Indexed {
    NodeId id = kNoNode;
    std::optional<TimePoint> asked;  // for a snapshot that has not come yet
  };
  void ask(const std::string& name, Indexed& node, TimePoint now);

  const RouterOptions& options_;
  const AskForSnapshot ask_;
  BlockIndex index_;
  std::map<std::string, Indexed> indexed_;  // the own node and each peer
  std::map<std::string, Peer> peers_;
  // Prompt tokens sent to a node since it last told how many wait there: a status, or a step of the own
  // engine.
  std::map<std::string, std::uint64_t> sent_tokens_;
  std::uint64_t own_steps_ = 0;
  double expected_output_ = 256;  // tokens, of the requests that ended lately
};

}  // namespace baton
