#include "baton/engine/engine.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>

#include "baton/base/channel.hpp"
#include "engine/active_requests.hpp"
#include "engine/handoff_receiver.hpp"
#include "engine/handoff_sender.hpp"

namespace baton {
namespace {

struct SubmitCommand {
  Request request;
  std::stop_token stop;
  std::shared_ptr<TokenSink> sink;
};
struct CancelCommand {
  RequestKey key;
  std::uint32_t generation;
};
struct PeerCommand {
  std::string from;
  Message message;
};
struct PeerDownCommand {
  std::string node;
};
struct RoleCommand {
  Role role;
};
using Command = std::variant<SubmitCommand, CancelCommand, PeerCommand, PeerDownCommand, RoleCommand,
                             std::function<void()>>;

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

constexpr auto kIdleWait = std::chrono::milliseconds(200);  // nothing to do: only deadlines of the far future
constexpr auto kBusyWait = std::chrono::milliseconds(2);    // something waits for blocks or for a peer
constexpr auto kDigestPeriod = std::chrono::seconds(5);     // events are published so often, if empty ones
constexpr int kFailedSteps = 3;                             // in a row: the device is given up
constexpr auto kShutdownWait = std::chrono::seconds(10);    // for the transport to let go of our memory

bool has_prefill(const StepPlan& plan) {
  return std::any_of(plan.rows.begin(), plan.rows.end(),
                     [](const PlannedRows& rows) { return rows.sequence->in_prefill(); });
}

// Guesses take rows as far as multiplying them costs no more than streaming the weights does.
std::int32_t draft_rows(const PerfProfile& profile) {
  constexpr double kMost = SchedulerLimits{}.draft_rows;
  const double row = profile.token + profile.logits;
  return static_cast<std::int32_t>(row > 0 ? std::clamp(profile.weights / row, 2.0, kMost) : kMost);
}

}  // namespace

struct Engine::State {
  State(EngineOptions o, Parts p)
      : options(std::move(o)),
        parts(std::move(p)),
        commands(static_cast<std::size_t>(options.limits.max_waiting + options.limits.max_sequences)),
        role(options.role),
        pool(parts.kv.blocks, parts.kv.layout.block_size, parts.kv.layout.groups),
        scheduler(options.limits, pool),
        calibration(options.profile) {
    if (parts.transport == nullptr || parts.control == nullptr) return;
    const Post post = [this](std::function<void()> task) { return commands.push_always(std::move(task)); };
    sender = std::make_unique<HandoffSender>(
        options, parts, post, [this](const RequestKey& k, bool accepted) { settled(k, accepted); });
    receiver = std::make_unique<HandoffReceiver>(
        options, parts, pool, post,
        [this](const RequestKey& k, HandoffReceiver::Delivery d) { delivered(k, std::move(d)); });
  }

  // ---- the loop
  void run(const std::stop_token& stop);
  void execute(Command command);
  bool step();
  StepResult compute(const StepPlan& plan);
  void watch_device(const StepResult& result);
  void emit(const StepPlan& plan, const StepResult& result, const StepOutcome& outcome);
  void end(EndedSequence ended, TimePoint now);
  void publish_events();
  void send_snapshot(const std::string& to);
  void refresh_stats();
  void shut_down();

  // ---- requests
  void accept(SubmitCommand command);
  void admit(Request request, HandoffReceiver::Delivery delivery);
  void cancel(const RequestKey& key, std::uint32_t generation, const Error& why);
  std::optional<Error> refuse(const SubmitCommand& command) const;

  // ---- handoffs
  void move(const RequestKey& key, std::uint32_t generation, const std::string& decode_node);
  void on_peer_message(const std::string& from, const Message& message);
  void settled(const RequestKey& key, bool accepted);
  void delivered(const RequestKey& key, HandoffReceiver::Delivery delivery);
  BlockHashKey hash_key(const std::string& salt) const {
    return make_block_hash_key(options.cluster_secret, options.model_fingerprint, parts.kv.layout.id(), salt);
  }
  bool hands_off(const Sequence& sequence) const {
    return sender && sequence.request.phase == Phase::prefill;
  }
  TimePoint now() const { return parts.clock->now(); }

  EngineOptions options;
  Parts parts;
  Channel<Command> commands;
  std::atomic<Role> role;  // as last told; the engine thread acts on it from its next step
  BlockPool pool;
  Scheduler scheduler;
  PerfCalibration calibration;
  ActiveRequests active;
  std::unique_ptr<HandoffSender> sender;
  std::unique_ptr<HandoffReceiver> receiver;
  std::uint64_t events_sequence = 0;
  TimePoint events_published;
  std::uint64_t steps = 0, decode_tokens = 0, largest_batch = 0, failed_steps = 0;
  int failed_in_a_row = 0;
  std::atomic<bool> device_failed{false};
  std::jthread thread;

  mutable std::mutex stats_mutex;  // guards what other threads read; the loop writes it once a step
  EngineStats stats;
  bool idle = true;
};

// ----------------------------------------------------------------------------------------------------------------
// the loop

void Engine::State::run(const std::stop_token& stop) {
  bool busy = false;
  events_published = now();
  for (;;) {
    const bool waits = scheduler.waiting() > 0 || (sender && !(sender->idle() && receiver->idle()));
    const Duration timeout = busy ? Duration(0) : waits ? Duration(kBusyWait) : Duration(kIdleWait);
    std::vector<Command> batch = commands.pop_all(timeout);
    if (batch.empty() && commands.closed()) break;
    for (Command& command : batch) execute(std::move(command));
    if (stop.stop_requested()) break;
    if (sender) {
      sender->expire(now());
      receiver->expire(now());
    }
    busy = step();
    publish_events();
    refresh_stats();
  }
  shut_down();
}

void Engine::State::execute(Command command) {
  std::visit(Overload{
                 [&](SubmitCommand& c) { accept(std::move(c)); },
                 [&](CancelCommand& c) {
                   cancel(c.key, c.generation, make_error(ErrorCode::cancelled, "the request was cancelled"));
                 },
                 [&](PeerCommand& c) { on_peer_message(c.from, c.message); },
                 [&](PeerDownCommand& c) {
                   if (!sender) return;
                   sender->peer_down(c.node);
                   receiver->peer_down(c.node);
                 },
                 [&](RoleCommand& c) {
                   if (receiver) receiver->set_role(c.role);
                 },
                 [&](std::function<void()>& task) { task(); },
             },
             command);
}

bool Engine::State::step() {
  if (options.limits.draft_tokens > 0) scheduler.set_draft_rows(draft_rows(calibration.profile()));
  StepPlan plan = scheduler.plan(now());
  for (const auto& sequence : plan.expired) {
    const RequestKey key = key_of(sequence->request);
    if (hands_off(*sequence)) sender->dropped(key, "deadline");
    const bool too_late = sequence->request.deadline <= now();
    active.fail(key, too_late ? make_error(ErrorCode::deadline_exceeded,
                                           "the request's deadline passed before it was finished")
                              : make_error(ErrorCode::overloaded,
                                           "the request waited longer in the queue than --queue-timeout"));
  }
  if (plan.empty()) return false;
  for (const Sequence* sequence : plan.admitted) {
    if (!hands_off(*sequence)) continue;
    sender->scheduled(*sequence, now());
    sender->progressed(*sequence);  // what the prefix cache had may travel at once
  }
  const StepShape shape = step_shape(plan);
  const TimePoint begun = now();
  const StepResult result = compute(plan);
  const TimePoint done = now();
  watch_device(result);
  if (!result.device_failure) calibration.measured(shape, to_seconds(done - begun));
  StepOutcome outcome = scheduler.commit(plan, result, done);
  ++steps;
  largest_batch = std::max<std::uint64_t>(largest_batch, plan.rows.size());
  emit(plan, result, outcome);
  for (EndedSequence& ended : outcome.ended) end(std::move(ended), done);
  return true;
}

StepResult Engine::State::compute(const StepPlan& plan) {
  if (parts.faults->hit(has_prefill(plan) ? "engine.prefill" : "engine.decode") == FaultAction::fail) {
    RowResult row;
    row.error = make_error(ErrorCode::unavailable, "the step failed: a fault was asked for");
    return {std::vector<RowResult>(plan.rows.size(), row), row.error};
  }
  parts.executor->submit(plan);
  return parts.executor->wait();
}

// One failed step may be an accident; a GPU that has really failed, as it says itself or as several steps
// show, fails every step from then on, at once, and would look idle to whoever chooses by load.
void Engine::State::watch_device(const StepResult& result) {
  if (!result.device_failure) {
    failed_in_a_row = 0;
    return;
  }
  ++failed_steps;
  parts.logger->error("a step failed on the device", {{"why", result.device_failure->message}});
  ++failed_in_a_row;
  if (failed_in_a_row < kFailedSteps && !result.device_lost) return;
  if (device_failed.exchange(true)) return;
  parts.logger->error(
      "the device has failed: this engine takes no more requests until the daemon is started again",
      {{"failed_steps", failed_in_a_row}});
}

// Tokens first: they are what clients wait for. Then the finished blocks start to travel.
void Engine::State::emit(const StepPlan& plan, const StepResult& result, const StepOutcome& outcome) {
  for (const SampledSequence& sampled : outcome.sampled) {
    const Request& request = sampled.sequence->request;
    const RowResult& row = result.rows[sampled.row];
    const auto first = static_cast<std::uint32_t>(request.output.size() - sampled.tokens);
    for (std::size_t i = 0; i < sampled.tokens; ++i)
      active.token({key_of(request), request.generation, first + static_cast<std::uint32_t>(i),
                    i == 0 ? *row.token : row.further[i - 1]});
    decode_tokens += sampled.tokens;
  }
  for (const PlannedRows& rows : plan.rows)
    if (hands_off(*rows.sequence)) sender->progressed(*rows.sequence);
}

void Engine::State::end(EndedSequence ended, TimePoint now) {
  const Sequence& sequence = *ended.sequence;
  const RequestKey key = key_of(sequence.request);
  ActiveRequests::Active* request = active.find(key);
  if (request == nullptr) return;
  if (ended.error) {
    if (hands_off(sequence)) sender->dropped(key, ended.error->message);
    active.fail(key, *ended.error);
    return;
  }
  if (!ended.handed_off) {
    if (hands_off(sequence)) sender->dropped(key, "its first token ended the request");
    FinishEvent event =
        finish_event(sequence, ended.by_length ? FinishReason::length : FinishReason::stop, request->handoff);
    event.embedding = std::move(ended.embedding);
    active.finish(event);
    return;
  }
  HandoffInfo info;
  info.prefill_node = options.node_name;
  info.decode_node = sequence.request.decode_node;
  request->handed_off = finish_event(sequence, FinishReason::handed_off, info);
  parts.faults->hit("handoff.finish");
  if (sender)
    sender->ended(sequence, now);
  else
    settled(key, false);
}

void Engine::State::publish_events() {
  const std::vector<BlockEvent> events = pool.take_events();
  if (parts.control == nullptr) return;
  if (events.empty() && now() - events_published < kDigestPeriod) return;
  events_published = now();
  BlockEventsMessage message;
  message.sequence = ++events_sequence;
  for (const BlockEvent& event : events)
    (event.kind == BlockEvent::Kind::stored ? message.stored : message.removed).push_back(event.hash);
  message.digest = pool.digest();
  parts.control->publish(message);
}

void Engine::State::send_snapshot(const std::string& to) {
  if (parts.control == nullptr) return;
  publish_events();  // so that the snapshot's number stands for everything before it
  BlockEventsMessage snapshot;
  snapshot.sequence = events_sequence;
  snapshot.snapshot = true;
  snapshot.stored = pool.published();
  snapshot.digest = pool.digest();
  parts.control->send(to, snapshot);
}

void Engine::State::refresh_stats() {
  EngineStats s;
  s.role = std::string(to_string(role.load()));
  s.running = scheduler.running();
  s.waiting = scheduler.waiting();
  s.waiting_prefill_tokens = static_cast<std::uint64_t>(scheduler.waiting_prefill_tokens());
  s.kv_tokens = static_cast<std::uint64_t>(scheduler.kv_tokens());
  s.max_batch_tokens = options.limits.max_batch_tokens;
  s.profile = calibration.profile();
  s.blocks_total = pool.total();
  s.blocks_in_use = pool.in_use();
  s.blocks_cached = pool.cached();
  s.preemptions = scheduler.preemptions();
  s.prefix_queried_tokens = scheduler.prefix_queried_tokens();
  s.prefix_hit_tokens = scheduler.prefix_hit_tokens();
  s.prefill_tokens = scheduler.prefill_tokens_computed();
  s.recomputed_tokens = scheduler.recomputed_tokens();
  s.decode_tokens = decode_tokens;
  s.drafted_tokens = scheduler.drafted_tokens();
  s.accepted_tokens = scheduler.accepted_tokens();
  s.steps = steps;
  s.largest_batch = largest_batch;
  s.failed_steps = failed_steps;
  s.device_failed = device_failed;
  if (sender) {
    const TransportCounters moved = parts.transport->counters();
    s.blocks_sent = moved.blocks_sent;
    s.blocks_received = moved.blocks_received;
    s.bytes_sent = moved.bytes_sent;
    s.bytes_received = moved.bytes_received;
    s.transfers_in_flight = moved.in_flight;
    if (const double rate = receiver->link_rate(); rate > 0)
      s.profile.link_token = static_cast<double>(parts.kv.layout.bytes_per_token()) / rate;
    s.blocks_resent = sender->blocks_resent();
    s.blocks_corrupt = receiver->blocks_corrupt();
    s.transfers_failed = sender->failed() + receiver->failed();
  }
  const bool quiet =
      active.empty() && (!sender || (sender->idle() && receiver->idle())) && commands.size() == 0;
  std::lock_guard lock(stats_mutex);
  stats = s;
  idle = quiet;
}

// Nothing may touch the KV memory or the pool once this thread is gone: give up all handoffs and wait for the
// transport to let go.
void Engine::State::shut_down() {
  for (auto& sequence : scheduler.cancel_all()) sequence.reset();
  active.fail_all(make_error(ErrorCode::unavailable, "the engine is shutting down"));
  if (sender) {
    sender->abandon_all();
    receiver->abandon_all();
    const auto give_up_at = std::chrono::steady_clock::now() + kShutdownWait;
    while (!(sender->idle() && receiver->idle()) && std::chrono::steady_clock::now() < give_up_at) {
      for (Command& command : commands.pop_all(kBusyWait))
        if (auto* task = std::get_if<std::function<void()>>(&command)) (*task)();
    }
    if (!(sender->idle() && receiver->idle())) parts.logger->error("KV transfers did not stop in time");
  }
  commands.close();
  // What was submitted in the meantime still gets its answer.
  for (Command& command : commands.pop_all(Duration(0)))
    if (auto* submit = std::get_if<SubmitCommand>(&command))
      submit->sink->on_error(make_error(ErrorCode::unavailable, "the engine is shutting down"));
  refresh_stats();
}

// ----------------------------------------------------------------------------------------------------------------
// requests

std::optional<Error> Engine::State::refuse(const SubmitCommand& command) const {
  if (command.stop.stop_requested()) return make_error(ErrorCode::cancelled, "the request was cancelled");
  if (command.request.prompt.empty())
    return make_error(ErrorCode::invalid_argument, "the prompt is empty", "prompt");
  const auto outside = [&](TokenId id) { return id < 0 || (options.vocab > 0 && id >= options.vocab); };
  const Request& request = command.request;
  if (std::any_of(request.prompt.begin(), request.prompt.end(), outside) ||
      std::any_of(request.output.begin(), request.output.end(), outside)) {
    return make_error(ErrorCode::invalid_argument, "the prompt holds a token id outside the vocabulary",
                      "prompt");
  }
  if (!request.grammar.empty() && !request.compiled_grammar)
    return make_error(ErrorCode::internal, "the request's grammar was not compiled", "grammar");
  return std::nullopt;
}

void Engine::State::accept(SubmitCommand command) {
  const RequestKey key = key_of(command.request);
  const std::uint32_t generation = command.request.generation;
  if (auto error = refuse(command)) {
    if (receiver && command.request.phase == Phase::decode)
      receiver->cancel(key, generation);  // the cache that was sent ahead for it
    command.sink->on_error(*error);
    return;
  }
  if (const auto* older = active.find(key)) {
    if (older->generation >= generation) {
      command.sink->on_error(make_error(ErrorCode::invalid_argument, "this request is already here", "id"));
      return;
    }
    cancel(key, older->generation, make_error(ErrorCode::cancelled, "superseded by a newer attempt"));
  }
  ActiveRequests::Active& entry = active.add(key, {command.sink, generation, {}, {}, {}, {}, nullptr});
  entry.on_stop =
      std::make_unique<std::stop_callback<ActiveRequests::OnStop>>(command.stop, [this, key, generation] {
        commands.push_always(CancelCommand{key, generation});
      });

  HandoffReceiver::Delivery delivery;
  const bool expects_cache =
      receiver && command.request.phase == Phase::decode && !command.request.prefill_node.empty();
  if (expects_cache) {
    auto claimed = receiver->claim(command.request, now());
    if (!claimed) {
      entry.parked = std::move(command.request);
      return;
    }
    delivery = std::move(*claimed);
  }
  admit(std::move(command.request), std::move(delivery));
}

void Engine::State::admit(Request request, HandoffReceiver::Delivery delivery) {
  const RequestKey key = key_of(request);
  ActiveRequests::Active& entry = *active.find(key);
  if (!delivery.blocks.empty()) {
    entry.handoff = delivery.info;
  } else if (request.phase == Phase::decode) {
    entry.handoff.prefill_node = request.prefill_node;
    entry.handoff.decode_node = options.node_name;
    entry.handoff.recomputed = true;
  } else {
    entry.handoff.prefill_node = entry.handoff.decode_node = options.node_name;
  }
  const BlockHashKey salted = hash_key(block_salt(request));
  auto sequence = make_sequence(std::move(request), parts.kv.layout.block_size, salted, now());
  sequence->blocks = std::move(delivery.blocks);
  sequence->computed = delivery.computed;
  if (sequence->mask && sequence->mask->ended()) {  // the engine before was gone before it could say so
    sequence->scheduled = sequence->first_token = sequence->finished = sequence->queued;
    active.finish(finish_event(*sequence, FinishReason::stop, entry.handoff));
    return;
  }
  if (auto admitted = scheduler.admit(std::move(sequence)); !admitted) {
    active.fail(key, admitted.error());
    return;
  }
  if (const std::string to = std::exchange(entry.move_to, {}); !to.empty()) move(key, entry.generation, to);
}

void Engine::State::cancel(const RequestKey& key, std::uint32_t generation, const Error& why) {
  const ActiveRequests::Active* entry = active.find(key);
  if (entry == nullptr || entry->generation != generation) return;
  const auto sequence = scheduler.cancel(key);
  if (sender) {
    sender->dropped(key, why.message);
    receiver->cancel(key, generation);
  }
  active.fail(key, why);
}

// ----------------------------------------------------------------------------------------------------------------
// handoffs

void Engine::State::on_peer_message(const std::string& from, const Message& message) {
  if (std::holds_alternative<SnapshotRequestMessage>(message)) send_snapshot(from);
  if (!sender) return;
  std::visit(
      Overload{
          [&](const ReserveMessage& m) { receiver->on_reserve(from, m, hash_key(m.block_salt), now()); },
          [&](const ReservedMessage& m) { sender->on_reserved(from, m, now()); },
          [&](const RefusedMessage& m) { sender->on_refused(m); },
          [&](const ResendMessage& m) { sender->on_resend(from, m); },
          [&](const ReceivedMessage& m) { sender->on_received(m); },
          [&](const MoveMessage& m) { move(m.key, m.generation, m.decode_node); },
          [&](const AbortMessage& m) {
            sender->on_abort(m);
            receiver->on_abort(m);
          },
          [](const auto&) {},  // requests and their results are the router's
      },
      message);
}

// Stop and copy: the sequence ends here with the token that the next step computes, and its whole cache
// travels. Whoever has none yet starts over elsewhere.
void Engine::State::move(const RequestKey& key, std::uint32_t generation, const std::string& decode_node) {
  ActiveRequests::Active* entry = active.find(key);
  if (entry == nullptr || entry->generation != generation || entry->handed_off) return;
  if (entry->parked) {
    entry->move_to = decode_node;
    return;
  }
  const Sequence* sequence = scheduler.find(key);
  if (sequence == nullptr) return;
  if (sequence->blocks.empty()) {
    cancel(key, generation, make_error(ErrorCode::unavailable, "node " + options.node_name + " is draining"));
    return;
  }
  if (hands_off(*sequence)) return;  // it goes elsewhere anyway
  scheduler.hand_off(key, decode_node);
  sender->scheduled(*sequence, now());
  sender->progressed(*sequence);
}

void Engine::State::settled(const RequestKey& key, bool accepted) {
  ActiveRequests::Active* entry = active.find(key);
  if (entry == nullptr || !entry->handed_off) return;
  FinishEvent event = *entry->handed_off;
  if (!accepted)
    event.handoff.decode_node.clear();  // nothing will arrive there: the decode engine need not wait
  active.finish(event);
}

void Engine::State::delivered(const RequestKey& key, HandoffReceiver::Delivery delivery) {
  ActiveRequests::Active* entry = active.find(key);
  if (entry == nullptr || !entry->parked) return;
  Request request = *std::move(entry->parked);
  entry->parked.reset();
  admit(std::move(request), std::move(delivery));
}

// ----------------------------------------------------------------------------------------------------------------
// interface

Engine::Engine(EngineOptions options, Parts parts)
    : state_(std::make_unique<State>(std::move(options), std::move(parts))) {
  state_->refresh_stats();
}
Engine::~Engine() { stop(); }

void Engine::start() {
  state_->thread = std::jthread([state = state_.get()](const std::stop_token& stop) { state->run(stop); });
}

void Engine::stop() {
  if (!state_->thread.joinable()) return;
  state_->thread.request_stop();
  state_->commands.push_always(std::function<void()>([] {}));  // wakes the loop
  state_->thread.join();
}

Result<void> Engine::submit(Request request, std::stop_token stop, std::shared_ptr<TokenSink> sink) {
  if (state_->commands.closed()) return make_error(ErrorCode::unavailable, "the engine is shutting down");
  if (state_->device_failed) return make_error(ErrorCode::unavailable, "the engine's device has failed");
  if (request.adapter != Hash128{} &&
      std::ranges::find(state_->options.adapters, request.adapter) == state_->options.adapters.end())
    return make_error(ErrorCode::unavailable, "this engine does not have the adapter that is asked for");
  const bool admitted = request.phase == Phase::decode;  // elsewhere: its cache is here already
  SubmitCommand command{std::move(request), std::move(stop), std::move(sink)};
  if (admitted) {
    state_->commands.push_always(std::move(command));
  } else if (!state_->commands.try_push(std::move(command))) {
    return make_error(ErrorCode::overloaded, "the engine's queue is full");
  }
  return {};
}

void Engine::handle(const std::string& from, Message message) {
  state_->commands.push_always(PeerCommand{from, std::move(message)});
}
void Engine::peer_down(const std::string& node) { state_->commands.push_always(PeerDownCommand{node}); }
void Engine::set_role(Role role) {
  state_->role = role;
  state_->commands.push_always(RoleCommand{role});
}

EngineStats Engine::stats() const {
  std::lock_guard lock(state_->stats_mutex);
  EngineStats stats = state_->stats;
  stats.role = std::string(to_string(state_->role.load()));
  return stats;
}

bool Engine::idle() const {
  std::lock_guard lock(state_->stats_mutex);
  return state_->idle && state_->commands.size() == 0;
}

}  // namespace baton
