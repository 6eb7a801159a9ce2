// Router: takes every request this daemon accepts, decides which engines compute it, follows it across them,
// and starts over elsewhere when one of them dies.
//
// It is an InferenceService over the local engine and its peers' engines, the ControlPlane of the local
// engine, and the PeerEvents of the mesh. One thread of its own (the router thread) owns the index, the view
// of the peers, the flights and the requests served for other daemons; everything else is messages to it. The
// client's stream belongs to the accepting daemon for its whole life: a request is prompt + output so far,
// and any engine can continue it.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "baton/base/clock.hpp"
#include "baton/base/log.hpp"
#include "baton/base/metrics.hpp"
#include "baton/cache/block.hpp"
#include "baton/engine/engine.hpp"
#include "baton/peer/mesh.hpp"
#include "baton/router/policy.hpp"
#include "baton/router/role_controller.hpp"
#include "baton/schedule/service.hpp"
#include "baton/transfer/kv_transport.hpp"

namespace baton {

struct RouterOptions {
  std::string node_name = "local";
  std::size_t max_in_flight = 4096;  // requests accepted here and not finished
  std::uint32_t max_attempts = 3;    // of one request without a new token, on engines that then were gone
  // An engine that gives no token for so long is taken to be stuck, and the request starts over elsewhere.
  Duration first_token_timeout = std::chrono::seconds(180);  // queue and prefill
  Duration transfer_timeout = std::chrono::seconds(10);      // of the KV cache, before the decode begins
  Duration token_timeout = std::chrono::seconds(60);         // between tokens
  std::optional<RoleTargets> auto_roles;                     // this node takes part in `--roles auto`
  Duration admission_ttft{0};  // a request predicted to wait longer for its first token is refused; 0: none
  std::int32_t block_size = 16;
  KvGroups kv_groups = {};
  std::int32_t max_context = 0;                                   // of the local engine
  std::vector<Hash128> adapters;                                  // likewise, AdapterInfo::fingerprint
  std::size_t index_bytes = std::size_t{256} << 20;               // the block index's bound
  std::function<BlockHashKey(const std::string& salt)> hash_key;  // as the engines hash
};

class Router final : public InferenceService, public ControlPlane, public PeerEvents {
 public:
  struct Parts {
    Engine* engine = nullptr;
    PeerMesh* mesh = nullptr;          // null: no peers
    KvTransport* transport = nullptr;  // null: no peers
    RoutingPolicy* policy = nullptr;
    const Clock* clock = nullptr;
    Logger* logger = nullptr;
    MetricsRegistry* metrics = nullptr;  // null: none
    // For what peers send; outlives stop(). Null: their requests with a grammar are refused. Requests that
    // were accepted here come with theirs compiled.
    GrammarCompiler* grammars = nullptr;
  };
  explicit Router(RouterOptions options);
  ~Router() override;  // stops

  // Before this, submit answers unavailable and events are dropped (the engine and the mesh need the router
  // to be made, and the router needs them to work).
  void start(const Parts& parts);
  // Every request still here gets `unavailable`. Stop the frontend first, the mesh and the engine after it.
  void stop();

  Result<void> submit(Request request, std::stop_token stop, std::shared_ptr<TokenSink> sink) override;

  bool send(const std::string& node, const Message& message) override;
  void publish(const BlockEventsMessage& events) override;

  void on_peer_up(const NodeInfo& peer) override;
  void on_peer_down(const std::string& name, const Error& why) override;
  void on_message(const std::string& from, Message message) override;
  StatusMessage on_heartbeat() override;

  // Tells the peers to send nothing new, and to move on what runs here for them.
  void set_draining(bool draining);
  // Of this node's engine, or of a peer's: then waits until its status shows it. The role that it had before.
  // not_found: no such node; deadline_exceeded: no answer.
  Result<Role> set_role(const std::string& node, Role role);
  bool ready() const;  // an engine for each phase is reachable
  std::size_t in_flight() const;
  nlohmann::json cluster() const;  // GET /cluster
  // POST /route/explain: every engine and what each route would cost this request now. Waits for the router
  // thread: deadline_exceeded where that takes too long.
  Result<nlohmann::json> explain(const Request& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
