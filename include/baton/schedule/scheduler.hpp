// Scheduler: who runs next. Pure: no thread, no I/O, no clock of its own; the simulator and the daemon run
// this same code.
//
// plan() gives each running decode one token, goes on with the running prefills as far as the token budget
// goes, starts waiting sequences (prefix match, then blocks for the chunk), and preempts the youngest of the
// lowest priority (recompute) when blocks run out. commit() takes the results, publishes finished blocks,
// applies the stop rules and hands back what has ended. plan() and commit() alternate; a plan that is not
// committed is made again, but lists nobody as admitted or expired twice. Owned by the engine thread.
// Properties, tested with seeds: every admitted sequence ends; no block leaks; the budget is never exceeded.
// Among waiting sequences of equal priority, the tenant that has had the fewest tokens goes first (a virtual
// token counter as in Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024).
// Preemption never takes the oldest running sequence. It drops blocks at once: who still reads one (a
// transfer) holds a pin of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"
#include "baton/cache/block_pool.hpp"
#include "baton/schedule/request.hpp"
#include "baton/schedule/sequence.hpp"

namespace baton {

enum class Role : std::uint8_t { mixed, prefill, decode };
std::string_view to_string(Role role);
std::optional<Role> parse_role(std::string_view text);

struct SchedulerLimits {
  std::int32_t max_sequences = 64;      // running at once
  std::int32_t max_batch_tokens = 512;  // rows of a step
  std::int32_t max_waiting = 1024;      // queued beyond the running ones
  std::int32_t max_context = 0;         // tokens of a sequence, the model's limit
  Duration queue_timeout{0};            // longest wait before a sequence is first scheduled; 0: none
  std::int32_t draft_tokens = 0;        // guessed at in a step, of one sequence; 0: none
  std::int32_t draft_rows = 64;         // rows that decodes and their guesses may come to
};

// One sequence's part of a step. The pointer is valid until commit() of this plan.
struct PlannedRows {
  const Sequence* sequence = nullptr;
  std::int32_t first_position = 0;  // == sequence->computed
  std::int32_t rows = 0;
  bool sample = false;  // the logits of the newest token's row give the next one
  // Guesses at the tokens behind the newest one, whose rows are the last of `rows`: their logits are wanted,
  // too. Only where `sample` is set.
  std::vector<TokenId> draft = {};

  std::size_t sampled_rows() const { return sample ? 1 + draft.size() : 0; }
  // Of row i, counted from first_position.
  TokenId token(std::int32_t i) const {
    const auto at = static_cast<std::size_t>(first_position + i);
    return at < sequence->tokens.size() ? sequence->tokens[at] : draft[at - sequence->tokens.size()];
  }
};

struct StepPlan {
  std::vector<PlannedRows> rows;
  std::int32_t tokens = 0;                // sum of rows
  std::vector<const Sequence*> admitted;  // scheduled for the first time by this plan
  std::vector<std::unique_ptr<Sequence>>
      expired;  // past their deadline, or too long in the queue; already without blocks
  bool empty() const { return rows.empty(); }
};

// results[i] belongs to plan.rows[i]; where `sample` was set there is a token, an error, the output is
// complete, or its last row is deferred.
struct RowResult {
  std::optional<SampledToken> token;
  // Of a draft: `token` is its first guess, so its row counts, and this was sampled from it; and so on.
  std::vector<SampledToken> further = {};
  bool complete = false;              // no further token may come: the sequence ends as with a stop id
  std::vector<float> embedding = {};  // of Request::embed, with `complete`
  bool deferred = false;       // no time for the row that samples: the next plan computes it again, alone
  std::optional<Error> error;  // this row only; the sequence ends with it
  std::optional<Duration> mask_time;  // of its mask, where one was made, and of taking its token
};
struct StepResult {
  std::vector<RowResult> rows;
  std::optional<Error> device_failure;  // nothing was computed, and every row has this error
  bool device_lost = false;             // with it: nothing will be computed any more
};

struct EndedSequence {
  std::unique_ptr<Sequence> sequence;  // blocks still pinned; destroying it releases them
  std::optional<Error> error;
  bool by_length = false;   // else by EOS, a stop id or its grammar's end, or (Phase::prefill) after its
                            // first token
  bool handed_off = false;  // Phase::prefill and not already ended by the first token
  std::vector<float> embedding = {};  // of Request::embed
};
// Got tokens: its newest outputs. Valid until the next plan(), or in `ended`.
struct SampledSequence {
  const Sequence* sequence = nullptr;
  std::size_t row = 0;     // of the plan
  std::size_t tokens = 0;  // of the row's result: the first so many
};
struct StepOutcome {
  std::vector<SampledSequence> sampled;
  std::vector<EndedSequence> ended;
};

class Scheduler {
 public:
  Scheduler(const SchedulerLimits& limits, BlockPool& pool);
  ~Scheduler();

  // too_large: could never run even alone, up to max_tokens or max_context (an engine whose max_context fits
  // its pool refuses nothing for its max_tokens); overloaded: the queue is full; invalid_argument: nothing to
  // compute; internal: the output that it brought does not follow its grammar. A sequence with attached
  // blocks and computed > 0 continues from there; its full blocks are published, so they must be verified. On
  // error the sequence is destroyed (its blocks are released).
  Result<void> admit(std::unique_ptr<Sequence> sequence);
  // May be empty although sequences run or wait: then pins from outside the scheduler hold the blocks.
  StepPlan plan(TimePoint now);
  StepOutcome commit(const StepPlan& plan, const StepResult& result, TimePoint now);
  // Removes it wherever it is; null where unknown. Must not be called between plan() and commit().
  std::unique_ptr<Sequence> cancel(const RequestKey& key);
  std::vector<std::unique_ptr<Sequence>> cancel_all();
  const Sequence* find(const RequestKey& key) const;  // null where unknown
  // From here on a prefill for `decode_node`: it ends, handed off, with its next token. Must not be called
  // between plan() and commit().
  void hand_off(const RequestKey& key, const std::string& decode_node);

  void set_draft_rows(std::int32_t rows);  // SchedulerLimits::draft_rows, from the next plan on

  std::size_t waiting() const;
  std::size_t running() const;
  // Rows of prompts that are still to be computed, by waiting and running sequences, less what the prefix
  // cache held of a waiting one when it came.
  std::int64_t waiting_prefill_tokens() const;
  std::int64_t kv_tokens() const;  // computed tokens of the running ones
  std::uint64_t preemptions() const;
  std::uint64_t prefix_queried_tokens() const;
  std::uint64_t prefix_hit_tokens() const;
  std::uint64_t prefill_tokens_computed() const;  // rows other than a sequence's newest token
  std::uint64_t recomputed_tokens() const;        // rows computed again after a preemption
  std::uint64_t drafted_tokens() const;           // guesses computed
  std::uint64_t accepted_tokens() const;          // of these, those that became output

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What computes a plan: ModelExecutor in a daemon, SimExecutor in virtual time.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void submit(const StepPlan& plan) = 0;  // one at a time
  virtual StepResult wait() = 0;
};

}  // namespace baton
