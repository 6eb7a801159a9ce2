// Scheduler: how a plan is made. The policy in words:
//
// Whoever is past its deadline leaves. Every running decode gets one row, those included that just came with
// their KV cache from another engine, and a few more for guesses where that is asked for; then the running
// prefills continue,
// in order of rank (priority, then age), as far as the budget of rows goes. A sequence takes the blocks for
// its rows when they are planned. When the pool has none left, the lowest in rank of all that hold blocks
// gives its own back and will be recomputed; the oldest running sequence never does, so that somebody always
// finishes. Then waiting sequences start, where there is room beside the running ones (admission.cpp);
// whoever was just preempted does not fit back in, for its own blocks were the last that were missing.
#include "baton/schedule/scheduler.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "schedule/scheduler_state.hpp"

namespace baton {

bool is_older(const ScheduledSequence& a, const ScheduledSequence& b) {
  return std::tie(a.sequence->request.arrival, a.serial) < std::tie(b.sequence->request.arrival, b.serial);
}

bool ranks_above(const ScheduledSequence& a, const ScheduledSequence& b) {
  const std::int32_t pa = a.sequence->request.priority, pb = b.sequence->request.priority;
  return pa != pb ? pa > pb : is_older(a, b);
}

bool goes_before(const ScheduledSequence& a, const ScheduledSequence& b) {
  const std::int32_t pa = a.sequence->request.priority, pb = b.sequence->request.priority;
  if (pa != pb) return pa > pb;
  if (a.resumed != b.resumed) return a.resumed;
  return a.tenant_tokens != b.tenant_tokens ? a.tenant_tokens < b.tenant_tokens : is_older(a, b);
}

Scheduler::State::State(const SchedulerLimits& l, BlockPool& p)
    : limits(l), pool(p), block_size(p.block_size()), groups(p.groups()) {
  limits.max_sequences = std::max(limits.max_sequences, 1);
  limits.max_batch_tokens = std::max(limits.max_batch_tokens, 1);
}

std::size_t Scheduler::State::blocks_for(std::int32_t tokens) const {
  return static_cast<std::size_t>((tokens + block_size - 1) / block_size);
}

std::size_t Scheduler::State::missing_blocks(const Entry& entry, std::int32_t tokens) const {
  const std::size_t needed = blocks_for(tokens), held = entry.sequence->blocks.size();
  return needed > held ? (needed - held) * static_cast<std::size_t>(groups.count()) : 0;
}

std::size_t Scheduler::State::missing_at_most(const Entry& entry) const {
  const Sequence& sequence = *entry.sequence;
  const std::int32_t rows = std::clamp(sequence.size() - sequence.computed, 1, limits.max_batch_tokens);
  const auto most = static_cast<std::size_t>(groups.most_blocks(sequence.size(), rows, block_size));
  return most - std::min(most, sequence.blocks.pinned());
}

std::size_t Scheduler::State::first_seen_block(const Sequence& sequence) const {
  return static_cast<std::size_t>(groups.first_seen_block(sequence.computed, block_size));
}

// Other requests may have the prompt's beginning; an answer's middle is nobody's but this one's.
void Scheduler::State::leave_behind(Sequence& sequence) const {
  sequence.blocks.leave_behind(first_seen_block(sequence),
                               static_cast<std::size_t>(sequence.prompt_size() / block_size));
}

StepPlan Scheduler::State::plan(TimePoint now) {
  StepPlan plan;
  budget = limits.max_batch_tokens;
  for (Entry& entry : running) {
    entry.rows = 0;
    entry.draft.clear();
  }

  remove_expired(now, plan);
  for (Entry& entry : running) {
    if (!entry.sequence->in_prefill()) give_rows(entry, 1);
  }
  start_received(now, plan);
  guess();
  for (Entry& entry : running) {
    if (entry.sequence->in_prefill()) give_rows(entry, entry.sequence->size() - entry.sequence->computed);
  }
  requeue_preempted();
  admit_waiting(now, plan);
  list_rows(plan);
  return plan;
}

void Scheduler::State::remove_expired(TimePoint now, StepPlan& plan) {
  const auto in_queue_too_long = [&](const Entry& entry) {
    return limits.queue_timeout > Duration(0) && !entry.started && !entry.has_blocks() &&
           now - entry.sequence->queued > limits.queue_timeout;
  };
  for (std::vector<Entry>* queue : {&running, &waiting}) {
    for (Entry& entry : *queue) {
      if (entry.sequence->request.deadline > now && !in_queue_too_long(entry)) continue;
      entry.sequence->blocks.clear();
      entry.sequence->finished = now;
      plan.expired.push_back(std::move(entry.sequence));
    }
    std::erase_if(*queue, [](const Entry& entry) { return entry.sequence == nullptr; });
  }
}

// Up to `wanted` rows and the blocks under them, or nothing in this step.
void Scheduler::State::give_rows(Entry& entry, std::int32_t wanted) {
  const std::int32_t rows = std::min(wanted, budget);
  if (rows <= 0 || !entry.has_blocks()) return;  // preempted by this plan
  Sequence& sequence = *entry.sequence;
  const std::size_t missing = missing_blocks(entry, sequence.computed + rows);
  if (!make_room(missing, entry)) return;
  auto fresh = pool.allocate(missing);
  if (!fresh) return;
  sequence.blocks.append(*std::move(fresh));
  entry.rows = rows;
  budget -= rows;
}

// Guesses take rows that cost next to nothing beside the decodes' own, and blocks that nobody has or would
// hit.
void Scheduler::State::guess() {
  if (limits.draft_tokens <= 0) return;
  std::int32_t rows = 0;
  for (const Entry& entry : running) rows += entry.rows;
  for (Entry& entry : running) {
    const Sequence& sequence = *entry.sequence;
    const Request& request = sequence.request;
    const bool plain = !request.embed && !sequence.mask && !request.sampling.has_penalties() &&
                       request.phase != Phase::prefill;
    if (entry.rows != 1 || sequence.in_prefill() || !plain) continue;
    const auto generated = static_cast<std::int32_t>(request.output.size());
    std::int32_t most = std::min({limits.draft_rows - rows, budget, request.stop.max_tokens - generated - 1});
    if (limits.max_context > 0) most = std::min(most, limits.max_context - sequence.size() - 1);
    if (most <= 0) continue;
    give_draft(entry, static_cast<std::size_t>(most));
    rows += entry.rows - 1;
  }
}

void Scheduler::State::give_draft(Entry& entry, std::size_t most) {
  Sequence& sequence = *entry.sequence;
  most = std::min(most, static_cast<std::size_t>(entry.draft_length.next()));
  if (most == 0) return;
  entry.draft = look_up_draft(sequence.tokens, most);
  const std::size_t missing =
      missing_blocks(entry, sequence.size() + static_cast<std::int32_t>(entry.draft.size()));
  if (missing <= pool.free()) {
    if (auto fresh = pool.allocate(missing)) sequence.blocks.append(*std::move(fresh));
  }
  const std::size_t room = sequence.blocks.size() * static_cast<std::size_t>(block_size);
  entry.draft.resize(std::min(entry.draft.size(), room - static_cast<std::size_t>(sequence.size())));
  entry.rows += static_cast<std::int32_t>(entry.draft.size());
  budget -= static_cast<std::int32_t>(entry.draft.size());
}

// False where `wanting` must do without: it was itself the one to give way, or nobody is left who could (then
// pins from outside the scheduler, such as a transfer's, hold the rest).
bool Scheduler::State::make_room(std::size_t blocks, Entry& wanting) {
  while (pool.available() < blocks) {
    Entry* victim = choose_victim(wanting);
    if (victim == nullptr) return false;
    preempt(*victim);
    if (victim == &wanting) return false;
  }
  return true;
}

// The lowest in rank that holds blocks, running or waiting with received KV cache; never the oldest running
// one, nor, where nothing runs, the one about to start.
Scheduler::State::Entry* Scheduler::State::choose_victim(const Entry& wanting) {
  const Entry* safe = running.empty() ? &wanting : nullptr;
  for (const Entry& entry : running) {
    if (entry.has_blocks() && (safe == nullptr || is_older(entry, *safe))) safe = &entry;
  }
  Entry* victim = nullptr;
  for (std::vector<Entry>* queue : {&running, &waiting}) {
    for (Entry& entry : *queue) {
      if (&entry == safe || !entry.has_blocks()) continue;
      if (victim == nullptr || ranks_above(*victim, entry)) victim = &entry;
    }
  }
  return victim;
}

// Recompute: the blocks go, the tokens stay. Published blocks remain as cache until somebody needs the room.
void Scheduler::State::preempt(Entry& entry) {
  Sequence& sequence = *entry.sequence;
  sequence.blocks.clear();
  entry.computed_before_preemption = std::max(entry.computed_before_preemption, sequence.computed);
  sequence.computed = 0;
  ++sequence.preemptions;
  ++preemptions;
  budget += std::exchange(entry.rows, 0);
  entry.draft.clear();
  entry.resumed = true;
}

void Scheduler::State::requeue_preempted() {
  for (Entry& entry : running) {
    if (!entry.has_blocks()) enqueue(std::move(entry));
  }
  std::erase_if(running, [](const Entry& entry) { return entry.sequence == nullptr; });
}

void Scheduler::State::list_rows(StepPlan& plan) {
  for (const bool prefill : {false, true}) {
    for (Entry& entry : running) {
      const Sequence& sequence = *entry.sequence;
      if (entry.rows == 0 || sequence.in_prefill() != prefill) continue;
      entry.row_index = plan.rows.size();
      plan.rows.push_back({.sequence = &sequence,
                           .first_position = sequence.computed,
                           .rows = entry.rows,
                           .sample = sequence.computed + entry.rows >= sequence.size(),
                           .draft = entry.draft});
      plan.tokens += entry.rows;
    }
  }
}

std::string_view to_string(Role role) {
  switch (role) {
    case Role::mixed:
      return "mixed";
    case Role::prefill:
      return "prefill";
    case Role::decode:
      return "decode";
  }
  return "unknown";
}

std::optional<Role> parse_role(std::string_view text) {
  for (const Role role : {Role::mixed, Role::prefill, Role::decode}) {
    if (text == to_string(role)) return role;
  }
  return std::nullopt;
}

Scheduler::Scheduler(const SchedulerLimits& limits, BlockPool& pool)
    : state_(std::make_unique<State>(limits, pool)) {}
Scheduler::~Scheduler() = default;

StepPlan Scheduler::plan(TimePoint now) { return state_->plan(now); }

std::unique_ptr<Sequence> Scheduler::cancel(const RequestKey& key) {
  for (std::vector<State::Entry>* queue : {&state_->running, &state_->waiting}) {
    for (auto it = queue->begin(); it != queue->end(); ++it) {
      if (key_of(it->sequence->request) != key) continue;
      std::unique_ptr<Sequence> sequence = std::move(it->sequence);
      queue->erase(it);
      return sequence;
    }
  }
  return nullptr;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::cancel_all() {
  std::vector<std::unique_ptr<Sequence>> all;
  for (std::vector<State::Entry>* queue : {&state_->running, &state_->waiting}) {
    for (State::Entry& entry : *queue) all.push_back(std::move(entry.sequence));
    queue->clear();
  }
  return all;
}

Sequence* Scheduler::State::find(const RequestKey& key) const {
  for (const std::vector<Entry>* queue : {&running, &waiting})
    for (const Entry& entry : *queue)
      if (key_of(entry.sequence->request) == key) return entry.sequence.get();
  return nullptr;
}

const Sequence* Scheduler::find(const RequestKey& key) const { return state_->find(key); }

void Scheduler::hand_off(const RequestKey& key, const std::string& decode_node) {
  Sequence* sequence = state_->find(key);
  if (sequence == nullptr) return;
  sequence->request.phase = Phase::prefill;
  sequence->request.decode_node = decode_node;
}

void Scheduler::set_draft_rows(std::int32_t rows) { state_->limits.draft_rows = rows; }

std::size_t Scheduler::waiting() const { return state_->waiting.size(); }
std::size_t Scheduler::running() const { return state_->running.size(); }

std::int64_t Scheduler::waiting_prefill_tokens() const {
  std::int64_t tokens = 0;
  // All but the newest token's own row.
  for (const State::Entry& entry : state_->waiting)
    tokens +=
        std::max(entry.sequence->size() - 1 - std::max(entry.sequence->computed, entry.cached_at_entry), 0);
  for (const State::Entry& entry : state_->running)
    tokens += std::max(entry.sequence->size() - 1 - entry.sequence->computed, 0);
  return tokens;
}

std::int64_t Scheduler::kv_tokens() const {
  std::int64_t tokens = 0;
  for (const State::Entry& entry : state_->running) tokens += entry.sequence->computed;
  return tokens;
}

std::uint64_t Scheduler::preemptions() const { return state_->preemptions; }
std::uint64_t Scheduler::prefix_queried_tokens() const { return state_->prefix_queried_tokens; }
std::uint64_t Scheduler::prefix_hit_tokens() const { return state_->prefix_hit_tokens; }
std::uint64_t Scheduler::prefill_tokens_computed() const { return state_->prefill_tokens_computed; }
std::uint64_t Scheduler::recomputed_tokens() const { return state_->recomputed_tokens; }
std::uint64_t Scheduler::drafted_tokens() const { return state_->drafted_tokens; }
std::uint64_t Scheduler::accepted_tokens() const { return state_->accepted_tokens; }

}  // namespace baton
