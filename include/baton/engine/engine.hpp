// Engine: the step loop of one device group, an InferenceService over a Scheduler, a BlockPool and an
// Executor.
//
// One thread (the engine thread) owns all of them; everybody else talks to it through one bounded channel.
// Its role is data: it may change while requests run. The two halves of a KV-cache handoff
// (src/engine/handoff_sender, handoff_receiver) run on the engine thread too. docs/ENGINE.md says who owns
// which state.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/fault.hpp"
#include "baton/base/log.hpp"
#include "baton/base/result.hpp"
#include "baton/engine/kv_memory.hpp"
#include "baton/peer/messages.hpp"
#include "baton/schedule/scheduler.hpp"
#include "baton/schedule/service.hpp"
#include "baton/transfer/kv_transport.hpp"

namespace baton {

struct EngineOptions {
  std::string node_name = "local";
  Role role = Role::mixed;
  SchedulerLimits limits;
  std::string cluster_secret;  // keys the block hashes, with the fingerprint and the layout
  Hash128 model_fingerprint;
  std::vector<Hash128> adapters;   // AdapterInfo::fingerprint of those that the model has; others are refused
  PerfProfile profile;             // a first guess of what steps cost: the engine's own steps correct it
  std::int32_t vocab = 0;          // token ids at or beyond it are refused; 0: not checked
  double reservation_share = 0.5;  // of the pool that KV on its way in may hold (a decode engine: all of it)
  Duration transfer_timeout =
      std::chrono::seconds(10);  // a handoff that takes longer is given up: the decode engine recomputes
  Duration reserve_timeout = std::chrono::seconds(2);  // for the decode engine's answer to a reservation
};

// How an engine reaches other daemons. Called on the engine thread; must not block.
class ControlPlane {
 public:
  virtual ~ControlPlane() = default;
  virtual bool send(const std::string& node, const Message& message) = 0;  // false: not connected
  virtual void publish(
      const BlockEventsMessage& events) = 0;  // to every daemon's index, the own one included
};

class Engine final : public InferenceService {
 public:
  struct Parts {
    std::unique_ptr<Executor> executor;
    KvView kv;
    KvTransport* transport = nullptr;  // null: no handoffs
    ControlPlane* control = nullptr;   // null: no handoffs, no events
    const Clock* clock = nullptr;
    Logger* logger = nullptr;
    FaultPoints* faults = nullptr;  // points: engine.prefill, engine.decode (before such a step),
                                    // handoff.reserve, handoff.finish
  };
  Engine(EngineOptions options, Parts parts);
  ~Engine() override;  // stops

  void start();
  // Ends the thread: every request in it gets `unavailable`. Idempotent.
  void stop();

  Result<void> submit(Request request, std::stop_token stop, std::shared_ptr<TokenSink> sink) override;
  // Handoff messages (Reserve, Reserved, Refused, Resend, Received, Abort, SnapshotRequest, Move) from
  // another daemon.
  void handle(const std::string& from, Message message);
  void peer_down(const std::string& node);
  // Told by stats() at once; takes effect at the next step. What runs goes on, the prefix cache stays.
  void set_role(Role role);

  EngineStats stats() const;  // as of the last step
  // Nothing waiting, running, parked or travelling.
  bool idle() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
