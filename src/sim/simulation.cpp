// The event loop: arrivals, ends of steps, ends of transfers, in order of time and then of creation.
//
// A request lives as in the daemon: routed, prefilled (its KV blocks promised room at the decode engine when
// it is scheduled), handed over, decoded. What the daemon does by messages (src/engine/handoff_*) is here a
// call.
#include "baton/sim/simulation.hpp"

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <queue>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>

#include "baton/router/block_index.hpp"
#include "sim/sim_engine.hpp"

namespace baton {
namespace {

using sim::SimEngine;

constexpr std::size_t kIndexBytes = std::size_t{16} << 30;  // no bound that a simulation could reach
constexpr double kControlPeriod = 1;                        // seconds between two looks at the roles
constexpr double kOutputMemory = 0.02;  // weight of the newest request in the expected output length

TimePoint at(double seconds) {
  return TimePoint(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)));
}

struct Event {
  double time = 0;
  std::uint64_t order = 0;  // of creation: breaks ties
  enum class Kind : std::uint8_t { arrival, step_done, transfer_done, control } kind = Kind::arrival;
  std::size_t subject = 0;  // request, engine, request
};
struct Later {
  bool operator()(const Event& a, const Event& b) const {
    return a.time != b.time ? a.time > b.time : a.order > b.order;
  }
};

// A prefill whose KV cache goes elsewhere.
struct Handoff {
  std::size_t from = 0, to = 0;
  std::size_t held = 0;            // leading blocks that the receiver had
  SequenceBlocks room;             // at the receiver: held and fresh; empty: refused
  std::size_t fresh = 0;           // of these, of all groups
  std::unique_ptr<Sequence> done;  // keeps the sender's blocks until they have travelled
};

class Cluster {
 public:
  Cluster(const SimOptions& options, std::span<const TraceRequest> trace, RoutingPolicy& policy)
      : options_(options), trace_(trace), policy_(policy), key_(make_block_hash_key("", {}, "sim", "")) {
    add_engines(Role::prefill, options.prefill);
    add_engines(Role::decode, options.decode);
    add_engines(Role::mixed, options.mixed);
    report_.requests.resize(trace.size());
    for (std::size_t i = 0; i < trace.size(); ++i) {
      SimRequest& request = report_.requests[i];
      request.arrival = to_seconds(trace[i].arrival) / options.load;
      request.input_tokens = trace[i].input_tokens;
      if (options.concurrency == 0 || i < static_cast<std::size_t>(options.concurrency))
        push(options.concurrency == 0 ? request.arrival : 0, Event::Kind::arrival, next_++);
    }
    if (options.auto_roles) {
      controller_.emplace(*options.auto_roles);
      push(0, Event::Kind::control, 0);
    }
  }

  Result<SimReport> run(const SimProgress& progress) {
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.time;
      switch (event.kind) {
        case Event::Kind::arrival:
          arrive(event.subject);
          break;
        case Event::Kind::step_done:
          finish_step(event.subject);
          break;
        case Event::Kind::transfer_done:
          finish_transfer(event.subject);
          break;
        case Event::Kind::control:
          control_roles();
          break;
      }
      if (failure_) return *failure_;
      if (progress) progress(finished_, trace_.size());
    }
    if (finished_ != trace_.size())
      return make_error(ErrorCode::internal,
                        std::to_string(trace_.size() - finished_) + " requests wait for each other");
    complete();
    return std::move(report_);
  }

 private:
  void add_engines(Role role, std::int32_t count) {
    const bool other = role == Role::decode && options_.decode_kind.has_value();
    const SimKind kind =
        other ? *options_.decode_kind : SimKind{options_.profile, options_.blocks, options_.groups};
    for (std::int32_t i = 0; i < count; ++i) {
      const std::string name = std::string(to_string(role)) + "-" + std::to_string(i);
      by_name_[name] = engines_.size();
      engines_.push_back(std::make_unique<SimEngine>(name, role, kind, options_.block_size, options_.limits,
                                                     options_.vocab));
      engines_.back()->index_id = index_.add_node();
    }
  }

  void push(double time, Event::Kind kind, std::size_t subject) {
    events_.push({time, next_order_++, kind, subject});
  }

  // ---- roles

  void control_roles() {
    if (finished_ == trace_.size()) return;
    std::vector<EngineReading> readings;
    for (const auto& engine : engines_) readings.push_back(engine->reading());
    if (auto move = controller_->observe(readings, now_)) {
      engines_[by_name_.at(move->node)]->role = move->to;
      report_.role_changes.push_back({now_, *std::move(move)});
    }
    push(now_ + kControlPeriod, Event::Kind::control, 0);
  }

  // ---- routing

  std::vector<Candidate> candidates(std::span<const BlockHash> hashes, std::size_t prompt) const {
    std::vector<std::uint32_t> held;
    index_.match(hashes, held);
    std::vector<Candidate> all;
    all.reserve(engines_.size());
    for (const auto& engine : engines_) {
      all.push_back(engine->candidate(static_cast<std::int64_t>(prompt)));
      if (engine->index_id < held.size()) all.back().held_blocks = held[engine->index_id];
    }
    return all;
  }

  RouteQuery query(const Request& request) const {
    return {request.prompt.size() + request.output.size(),
            request.stop.max_tokens - static_cast<std::int32_t>(request.output.size()), options_.block_size,
            expected_output_};
  }

  void count_finished() {
    ++finished_;
    if (options_.concurrency > 0 && next_ < trace_.size()) push(now_, Event::Kind::arrival, next_++);
  }

  void arrive(std::size_t id) {
    if (options_.concurrency > 0) report_.requests[id].arrival = now_;
    Request request;
    request.id = {0, id};
    request.prompt = trace_tokens(trace_[id], options_.vocab);
    request.stop.max_tokens = trace_[id].output_tokens;
    request.stop.ignore_eos = true;
    request.arrival = at(now_);
    const std::vector<BlockHash> hashes = block_hashes(request.prompt, options_.block_size, key_);
    const auto route = policy_.choose(query(request), candidates(hashes, request.prompt.size()));
    if (!route) {
      failure_ = route.error();
      return;
    }
    if (route->disaggregated()) {
      request.phase = Phase::prefill;
      request.prefill_node = route->prefill_node;
      request.decode_node = route->decode_node;
      report_.requests[id].disaggregated = true;
    }
    const std::size_t prompt = request.prompt.size();
    if (!admit(by_name_.at(route->prefill_node), std::move(request), {}, 0)) return;
    if (!route->disaggregated()) return;
    SimEngine& next = *engines_[by_name_.at(route->decode_node)];
    ++next.coming;
    next.coming_tokens += prompt;
  }

  // Whether the engine takes it; it has failed otherwise.
  bool admit(std::size_t where, Request request, SequenceBlocks blocks, std::int32_t computed) {
    auto sequence = make_sequence(std::move(request), options_.block_size, key_, at(now_));
    sequence->blocks = std::move(blocks);
    sequence->computed = computed;
    if (!engines_[where]->scheduler.admit(std::move(sequence))) {
      ++report_.failed;
      count_finished();
      return false;
    }
    poke(where);
    return true;
  }

  // A request that was to generate at `where` is there, or has ended before.
  void came(std::size_t where, std::size_t prompt) {
    --engines_[where]->coming;
    engines_[where]->coming_tokens -= prompt;
  }

  // ---- steps

  double slower() {
    if (options_.jitter <= 0) return 1;
    return std::max(0.5, std::normal_distribution<double>(1, options_.jitter)(random_));
  }

  void poke(std::size_t where) {
    SimEngine& engine = *engines_[where];
    if (engine.busy()) return;
    const auto seconds = engine.begin_step(at(now_), slower());
    for (const Sequence* sequence : engine.plan().admitted) {
      note_hit(*sequence);
      if (sequence->request.phase == Phase::prefill) reserve(where, *sequence);
    }
    publish(engine);
    if (seconds) push(now_ + *seconds, Event::Kind::step_done, where);
  }

  void note_hit(const Sequence& sequence) {
    if (sequence.request.phase == Phase::decode) return;
    SimRequest& request = report_.requests[static_cast<std::size_t>(sequence.request.id.low)];
    request.cached_tokens = sequence.cached_tokens;
    report_.queried_tokens += static_cast<std::uint64_t>(request.input_tokens);
    report_.hit_tokens += static_cast<std::uint64_t>(request.cached_tokens);
  }

  void finish_step(std::size_t where) {
    SimEngine& engine = *engines_[where];
    for (const PlannedRows& rows : engine.plan().rows)
      if (rows.sequence->request.phase == Phase::prefill)
        travel(*rows.sequence, rows.first_position, rows.first_position + rows.rows);
    StepOutcome outcome = engine.finish_step(at(now_));
    for (const SampledSequence& sampled : outcome.sampled) {
      SimRequest& request = report_.requests[static_cast<std::size_t>(sampled.sequence->request.id.low)];
      if (request.output_tokens++ == 0) request.first_token = now_;
    }
    for (EndedSequence& ended : outcome.ended) end(std::move(ended));
    publish(engine);
    poke(where);
  }

  void end(EndedSequence ended) {
    const auto id = static_cast<std::size_t>(ended.sequence->request.id.low);
    if (ended.handed_off) {
      const auto handoff = handoffs_.find(id);
      handoff->second.done = std::move(ended.sequence);
      const bool refused = handoff->second.room.empty();
      const double arrives = std::max(
          {now_, engines_[handoff->second.from]->sends_until, engines_[handoff->second.to]->receives_until});
      push(refused ? now_ : arrives + engines_[handoff->second.from]->profile().link_latency,
           Event::Kind::transfer_done, id);
      return;
    }
    if (const auto handoff = handoffs_.find(id); handoff != handoffs_.end()) {  // its first token ended it
      came(handoff->second.to, ended.sequence->request.prompt.size());
      handoffs_.erase(handoff);
    }
    report_.requests[id].finish = last_finish_ = now_;
    expected_output_ +=
        kOutputMemory * (static_cast<double>(report_.requests[id].output_tokens) - expected_output_);
    count_finished();
  }

  void publish(SimEngine& engine) {
    const std::vector<BlockEvent> events = engine.pool.take_events();
    if (events.empty()) return;
    BlockEventsMessage message;
    message.sequence = ++engine.event_sequence;
    for (const BlockEvent& event : events)
      (event.kind == BlockEvent::Kind::stored ? message.stored : message.removed).push_back(event.hash);
    message.digest = engine.pool.digest();
    if (index_.apply(engine.index_id, message) != BlockIndex::Applied::ok)
      failure_ = make_error(ErrorCode::internal, "the index lost track of " + engine.name);
  }

  // ---- handoffs

  void reserve(std::size_t from, const Sequence& sequence) {
    Handoff handoff;
    handoff.from = from, handoff.to = by_name_.at(sequence.request.decode_node);
    SimEngine& receiver = *engines_[handoff.to];
    handoff.room = receiver.pool.match(sequence.hashes, sequence.tokens);
    handoff.held = handoff.room.size();
    const std::size_t held = handoff.room.pinned();
    if (receiver.pool.extend(handoff.room, sequence.size()))
      handoff.fresh = handoff.room.pinned() - held;
    else
      handoff.room.clear();
    publish(receiver);  // what gave way
    const auto id = static_cast<std::size_t>(sequence.request.id.low);
    handoffs_[id] = std::move(handoff);
    travel(sequence, 0, sequence.computed);  // what the prefix cache had
  }

  // Tokens [begin, end) are computed: those that the receiver lacks queue on both links.
  void travel(const Sequence& sequence, std::int32_t begin, std::int32_t end) {
    const Handoff& handoff = handoffs_.at(static_cast<std::size_t>(sequence.request.id.low));
    if (handoff.room.empty()) return;
    begin = std::max(begin, static_cast<std::int32_t>(handoff.held) * options_.block_size);
    end = std::min(end, sequence.prompt_size());
    if (begin >= end) return;
    SimEngine &sender = *engines_[handoff.from], &receiver = *engines_[handoff.to];
    const auto occupy = [&](double& until, const SimEngine& engine) {
      until = std::max(until, now_) +
              engine.profile().link_token * engine.profile().tokens_sent(begin, end, sequence.prompt_size());
    };
    occupy(sender.sends_until, sender);
    occupy(receiver.receives_until, receiver);
  }

  void finish_transfer(std::size_t id) {
    Handoff handoff = std::move(handoffs_.at(id));
    handoffs_.erase(id);
    Request request = std::move(handoff.done->request);
    handoff.done->blocks.clear();
    const auto computed = static_cast<std::int32_t>(handoff.done->tokens.size()) - 1;
    handoff.done.reset();
    came(handoff.to, request.prompt.size());
    request.phase = Phase::decode;
    ++request.generation;
    if (handoff.room.empty()) {
      ++report_.recomputed;
      report_.requests[id].recomputed = true;
      admit(handoff.to, std::move(request), {}, 0);
    } else {
      ++report_.transfers;
      report_.blocks_moved += handoff.fresh;
      admit(handoff.to, std::move(request), std::move(handoff.room), computed);
    }
    poke(handoff.from);  // it may have waited for these blocks
  }

  void complete() {
    report_.seconds = last_finish_;
    report_.arrivals = trace_.empty() ? 0 : report_.requests.back().arrival;
    for (const auto& engine : engines_)
      report_.engines.push_back(
          {engine->name, engine->role, last_finish_ > 0 ? engine->busy_seconds / last_finish_ : 0,
           last_finish_ > 0 ? engine->full_seconds / last_finish_ : 0, engine->steps,
           engine->scheduler.preemptions(), engine->scheduler.prefill_tokens_computed()});
  }

  const SimOptions& options_;
  const std::span<const TraceRequest> trace_;
  RoutingPolicy& policy_;
  const BlockHashKey key_;
  std::vector<std::unique_ptr<SimEngine>> engines_;
  std::unordered_map<std::string, std::size_t> by_name_;
  BlockIndex index_{kIndexBytes};
  std::priority_queue<Event, std::vector<Event>, Later> events_;
  std::uint64_t next_order_ = 0;
  std::unordered_map<std::size_t, Handoff> handoffs_;  // by request; before engines_ is destroyed it is empty
  std::optional<RoleController> controller_;
  std::mt19937_64 random_{options_.seed};
  double now_ = 0, last_finish_ = 0;
  double expected_output_ = 256;
  std::size_t finished_ = 0, next_ = 0;  // next_: to arrive
  std::optional<Error> failure_;
  SimReport report_;
};

}  // namespace

Result<SimReport> simulate(const SimOptions& options, std::span<const TraceRequest> trace,
                           RoutingPolicy& policy, const SimProgress& progress) {
  if (options.prefill + options.decode + options.mixed <= 0)
    return make_error(ErrorCode::invalid_argument, "no engines to simulate", "engines");
  if (options.prefill > 0 && options.decode + options.mixed == 0)
    return make_error(ErrorCode::invalid_argument,
                      "prefill engines alone generate nothing: add decode or mixed ones", "decode");
  const bool decode_blocks = !options.decode_kind || options.decode_kind->blocks > 0;
  if (options.blocks <= 0 || !decode_blocks || options.block_size <= 0 || !(options.load > 0))
    return make_error(ErrorCode::invalid_argument, "blocks, block size and load must be positive", "blocks");
  return Cluster(options, trace, policy).run(progress);
}

}  // namespace baton
