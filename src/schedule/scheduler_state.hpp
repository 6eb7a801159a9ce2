// The Scheduler's inside: two queues of entries and the steps that plan() and commit() are made of.
//
// Invariants between calls: `running` is ordered by rank, `waiting` by turn; a running sequence has blocks
// and computed < size; a waiting one has blocks only if it came with received KV cache. Between plan() and
// commit() `running` does not change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "baton/schedule/scheduler.hpp"
#include "baton/schedule/stop_rules.hpp"
#include "schedule/draft.hpp"

namespace baton {

// A sequence and what the scheduler alone needs to know of it.
struct ScheduledSequence {
  std::unique_ptr<Sequence> sequence;
  std::uint64_t serial = 0;                     // order of admit(); breaks ties of arrival
  std::size_t published = 0;                    // leading blocks that the pool knows by hash
  std::int32_t cached_at_entry = 0;             // tokens that the prefix cache held then; a hint for routing
  std::int32_t computed_before_preemption = 0;  // rows below this position are computed a second time
  std::int32_t rows = 0;                        // of the plan being made or executed
  std::size_t row_index = 0;                    // into StepPlan::rows, where rows > 0
  std::uint64_t tenant_tokens = 0;              // what its tenant had when the queue was last put in order
  DraftLength draft_length{0};
  std::vector<TokenId> draft = {};  // of the plan being made
  bool started = false;             // has been in a plan
  bool sampled = false;             // has got a token from this engine
  bool resumed = false;             // preempted, or came with KV cache: goes before new ones

  bool has_blocks() const { return !sequence->blocks.empty(); }
};

struct Scheduler::State {
  using Entry = ScheduledSequence;

  State(const SchedulerLimits& l, BlockPool& p);

  // admission.cpp
  Result<void> check_admissible(const Sequence& sequence) const;
  void adopt_received_cache(Entry& entry);
  bool has_what_it_sees(const Sequence& sequence) const;
  void enqueue(Entry entry);
  void start_received(TimePoint now, StepPlan& plan);
  void admit_waiting(TimePoint now, StepPlan& plan);
  bool waits_for_running_prefill(const Entry& candidate) const;
  std::size_t reserved_blocks() const;
  std::size_t growth() const {
    return static_cast<std::size_t>(groups.count());
  }  // of a sequence, by a block
  bool take_blocks(Entry& candidate, std::size_t reserved);
  void start(Entry entry, TimePoint now, StepPlan& plan);
  bool is_active(const std::string& tenant) const;
  void welcome(const std::string& tenant);
  void count_for_tenant(const Sequence& sequence, std::int32_t tokens);
  void order_waiting();

  // scheduler.cpp
  StepPlan plan(TimePoint now);
  void remove_expired(TimePoint now, StepPlan& plan);
  void give_rows(Entry& entry, std::int32_t wanted);
  void guess();
  void give_draft(Entry& entry, std::size_t most);
  bool make_room(std::size_t blocks, Entry& wanting);
  Entry* choose_victim(const Entry& wanting);
  void preempt(Entry& entry);
  void requeue_preempted();
  void list_rows(StepPlan& plan);

  // commit.cpp
  void settle(Entry& entry, PlannedRows planned, RowResult result, TimePoint now, StepOutcome& outcome);
  void count_rows(Entry& entry, const PlannedRows& planned);
  StopCause take_tokens(Entry& entry, const PlannedRows& planned, const RowResult& result,
                        StepOutcome& outcome);
  void publish_full_blocks(Entry& entry);
  std::size_t first_seen_block(const Sequence& sequence) const;  // by the next row, in windowed groups
  void leave_behind(Sequence& sequence) const;

  Sequence* find(const RequestKey& key) const;
  std::size_t blocks_for(std::int32_t tokens) const;
  // Of all groups: for the rows up to `tokens`, and for a whole text at the most.
  std::size_t missing_blocks(const Entry& entry, std::int32_t tokens) const;
  std::size_t missing_at_most(const Entry& entry) const;

  SchedulerLimits limits;
  BlockPool& pool;
  std::int32_t block_size;
  KvGroups groups;
  std::vector<Entry> running;
  std::vector<Entry> waiting;
  std::uint64_t next_serial = 0;
  std::int32_t budget = 0;  // rows left in the plan being made
  // Tokens that each tenant has had: prompts when they start, less what was cached, and each output token. A
  // tenant that comes back after a pause starts at the least of those that are here: idling saves nothing up.
  std::unordered_map<std::string, std::uint64_t> tenants;

  std::uint64_t preemptions = 0;
  std::uint64_t prefix_queried_tokens = 0;
  std::uint64_t prefix_hit_tokens = 0;
  std::uint64_t prefill_tokens_computed = 0;
  std::uint64_t recomputed_tokens = 0;
  std::uint64_t drafted_tokens = 0;
  std::uint64_t accepted_tokens = 0;
};

bool is_older(const ScheduledSequence& a, const ScheduledSequence& b);     // by arrival
bool ranks_above(const ScheduledSequence& a, const ScheduledSequence& b);  // by priority, then age
bool goes_before(const ScheduledSequence& a,
                 const ScheduledSequence& b);  // by priority, resumed, its tenant's tokens, then age

}  // namespace baton
