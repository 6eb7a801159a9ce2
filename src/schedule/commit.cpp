// Commit: what a step's results do to its sequences. Per sequence, in this order: count, advance, append the
// sampled tokens and apply the stop rules to each, publish the blocks that became full, leave behind those
// that no window reaches any more. A sequence that is deferred stands as if the plan had ended before its
// last row.
#include <algorithm>
#include <span>
#include <utility>

#include "baton/schedule/stop_rules.hpp"
#include "schedule/scheduler_state.hpp"

namespace baton {

StepOutcome Scheduler::commit(const StepPlan& plan, const StepResult& result, TimePoint now) {
  State& state = *state_;
  StepOutcome outcome;
  for (State::Entry& entry : state.running) {
    const std::size_t i = entry.row_index;
    if (std::exchange(entry.rows, 0) == 0) continue;
    if (i >= plan.rows.size() || plan.rows[i].sequence != entry.sequence.get()) continue;  // another plan's
    RowResult row;
    if (i < result.rows.size()) {
      row = result.rows[i];
    } else {
      row.error = make_error(ErrorCode::internal, "the step has no result for this sequence");
    }
    state.settle(entry, plan.rows[i], std::move(row), now, outcome);
  }
  std::erase_if(state.running, [](const State::Entry& entry) { return entry.sequence == nullptr; });
  return outcome;
}

void Scheduler::State::settle(Entry& entry, PlannedRows planned, RowResult result, TimePoint now,
                              StepOutcome& outcome) {
  Sequence& sequence = *entry.sequence;
  EndedSequence end;
  if (result.mask_time) sequence.mask_time = result.mask_time;
  if (planned.sample) sequence.deferred = result.deferred ? sequence.deferred + 1 : 0;
  if (planned.sample && result.deferred) {
    planned.sample = false;
    --planned.rows;
  }
  if (planned.sample && !result.error) {
    if (!result.token && !result.complete)
      result.error = make_error(ErrorCode::internal, "the step sampled no token for this sequence");
    else if (!result.complete && sequence.mask && !sequence.mask->advance(result.token->token))
      result.error =
          make_error(ErrorCode::internal, "the token that was sampled does not follow the grammar");
  }
  if (result.error) {
    end.error = std::move(result.error);
  } else {
    count_rows(entry, planned);
    sequence.computed += planned.rows - static_cast<std::int32_t>(planned.draft.size());
    StopCause cause = StopCause::token;
    if (planned.sample && !result.complete) cause = take_tokens(entry, planned, result, outcome);
    publish_full_blocks(entry);
    leave_behind(sequence);
    if (!planned.sample) return;

    if (!std::exchange(entry.sampled, true)) sequence.first_token = now;
    end.embedding = std::move(result.embedding);
    end.by_length = cause == StopCause::length;
    end.handed_off = cause == StopCause::none && sequence.request.phase == Phase::prefill;
    if (cause == StopCause::none && !end.handed_off) return;
  }
  sequence.finished = now;
  end.sequence = std::move(entry.sequence);
  outcome.ended.push_back(std::move(end));
}

// What was sampled, and behind it what was sampled from rows of right guesses, as far as the sequence goes
// on.
StopCause Scheduler::State::take_tokens(Entry& entry, const PlannedRows& planned, const RowResult& result,
                                        StepOutcome& outcome) {
  Sequence& sequence = *entry.sequence;
  std::size_t tokens = 1;
  append_token(sequence, result.token->token, block_size);
  StopCause cause = stop_cause(sequence, limits.max_context);
  for (const SampledToken& next : result.further) {
    const bool follows =
        tokens <= planned.draft.size() && planned.draft[tokens - 1] == sequence.tokens.back();
    if (cause != StopCause::none || !follows) break;
    ++sequence.computed;  // the guess's row
    append_token(sequence, next.token, block_size);
    cause = stop_cause(sequence, limits.max_context);
    ++tokens;
  }
  if (const auto guessed = static_cast<std::int32_t>(planned.draft.size()); guessed > 0) {
    entry.draft_length.turned_out(guessed, static_cast<std::int32_t>(tokens) - 1);
    drafted_tokens += planned.draft.size();
    accepted_tokens += tokens - 1;
    count_for_tenant(sequence, static_cast<std::int32_t>(tokens) - 1);
  }
  outcome.sampled.push_back({&sequence, entry.row_index, tokens});
  return cause;
}

// A sampled row is the newest token's: the decode that any engine owes. All others are prefill.
void Scheduler::State::count_rows(Entry& entry, const PlannedRows& planned) {
  prefill_tokens_computed += static_cast<std::uint64_t>(planned.rows) - planned.sampled_rows();
  const std::int32_t again =
      std::clamp(entry.computed_before_preemption - planned.first_position, 0, planned.rows);
  if (planned.sample) count_for_tenant(*entry.sequence, 1);
  entry.sequence->recomputed_tokens += again;
  recomputed_tokens += static_cast<std::uint64_t>(again);
}

void Scheduler::State::publish_full_blocks(Entry& entry) {
  const Sequence& sequence = *entry.sequence;
  const auto size = static_cast<std::size_t>(block_size);
  const std::size_t full = static_cast<std::size_t>(sequence.computed) / size;
  for (std::size_t& i = entry.published; i < full; ++i) {
    const auto tokens = std::span(sequence.tokens).subspan(i * size, size);
    for (std::int32_t group = 0; group < groups.count(); ++group)
      if (const BlockRef& block = sequence.blocks.at(i, group))
        pool.publish(block, sequence.hashes[i], tokens, group);
  }
}

}  // namespace baton
