// Admission: who may enter, and who starts.
//
// admit() refuses what could never run even alone. A plan then starts waiting sequences in turn (priority,
// resumed ones first, then age) while rows, seats and blocks last. The first that does not fit stops the
// line, so that a large one is not overtaken for ever; one whose next block a running prefill is computing
// right now only steps aside until that block is published, so that equal prompts are computed once.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "schedule/scheduler_state.hpp"

namespace baton {

Result<void> Scheduler::admit(std::unique_ptr<Sequence> sequence) {
  State& state = *state_;
  if (auto admissible = state.check_admissible(*sequence); !admissible) return admissible;
  State::Entry entry{.sequence = std::move(sequence),
                     .serial = state.next_serial++,
                     .draft_length = DraftLength(state.limits.draft_tokens)};
  extend_hashes(*entry.sequence, state.block_size);
  state.adopt_received_cache(entry);
  state.welcome(entry.sequence->request.tenant);
  if (!entry.has_blocks())
    entry.cached_at_entry =
        static_cast<std::int32_t>(state.pool.match_length(entry.sequence->hashes, entry.sequence->tokens)) *
        state.block_size;
  state.enqueue(std::move(entry));
  return {};
}

Result<void> Scheduler::State::check_admissible(const Sequence& sequence) const {
  const std::int32_t size = sequence.size();
  const auto generated = static_cast<std::int32_t>(sequence.request.output.size());
  const std::int64_t still_to_come = std::int64_t{sequence.request.stop.max_tokens} - generated;
  if (sequence.request.compiled_grammar && !sequence.mask)
    return make_error(ErrorCode::internal, "the output so far does not follow its grammar", "grammar");
  if (size == 0) return make_error(ErrorCode::invalid_argument, "the prompt is empty", "prompt");
  if (still_to_come <= 0) {
    return make_error(ErrorCode::invalid_argument, "max_tokens leaves nothing to generate", "max_tokens");
  }
  const std::int32_t room = sequence.request.embed ? 0 : 1;  // for the first token of the answer
  if (limits.max_context > 0 && std::int64_t{size} + room > limits.max_context) {
    return make_error(ErrorCode::too_large,
                      "the prompt has " + std::to_string(size) + " tokens; the context holds " +
                          std::to_string(limits.max_context) + (room > 0 ? ", the answer included" : ""),
                      "prompt");
  }
  // The last token is only sampled, never computed.
  std::int64_t longest = size + still_to_come - 1;
  if (limits.max_context > 0) longest = std::min<std::int64_t>(longest, limits.max_context - room);
  const std::int64_t needed =
      groups.most_blocks(longest, std::min<std::int64_t>(longest, limits.max_batch_tokens), block_size);
  if (needed > static_cast<std::int64_t>(pool.total())) {
    return make_error(ErrorCode::too_large,
                      "prompt and max_tokens need " + std::to_string(needed) + " KV blocks; " +
                          std::to_string(pool.total()) + " are available",
                      "max_tokens");
  }
  if (waiting.size() >= static_cast<std::size_t>(std::max(limits.max_waiting, 0))) {
    return make_error(ErrorCode::overloaded,
                      "the queue is full (" + std::to_string(waiting.size()) + " requests wait)");
  }
  return {};
}

// A sequence that brings KV cache goes on where it ends. At least the newest token is computed here, for its
// logits, and never in place in a full block, which others may be reading: such a block is given up.
void Scheduler::State::adopt_received_cache(Entry& entry) {
  Sequence& sequence = *entry.sequence;
  const std::int32_t size = sequence.size();
  const auto covered = static_cast<std::int32_t>(sequence.blocks.size()) * block_size;
  sequence.computed = std::min({sequence.computed, covered, size});
  if (sequence.computed == size) {
    sequence.computed = size % block_size == 0 ? size - block_size : size - 1;
    sequence.blocks.truncate(blocks_for(sequence.computed));
  }
  if (sequence.computed == 0 || !has_what_it_sees(sequence)) {
    sequence.computed = 0;
    sequence.blocks.clear();
    return;
  }
  entry.resumed = true;
  publish_full_blocks(entry);
  leave_behind(sequence);
}

// A shorter text than was sent may see more of what lies before it.
bool Scheduler::State::has_what_it_sees(const Sequence& sequence) const {
  if (sequence.blocks.groups() != groups) return false;
  for (std::size_t i = first_seen_block(sequence); i < blocks_for(sequence.computed); ++i)
    for (std::int32_t group = groups.full; group < groups.count(); ++group)
      if (!sequence.blocks.at(i, group)) return false;
  return true;
}

bool Scheduler::State::is_active(const std::string& tenant) const {
  const auto is_theirs = [&](const Entry& entry) {
    return entry.sequence != nullptr && entry.sequence->request.tenant == tenant;
  };
  return std::ranges::any_of(running, is_theirs) || std::ranges::any_of(waiting, is_theirs);
}

void Scheduler::State::count_for_tenant(const Sequence& sequence, std::int32_t tokens) {
  const auto tenant = tenants.find(sequence.request.tenant);
  if (tenant != tenants.end()) tenant->second += static_cast<std::uint64_t>(std::max(tokens, 0));
}

// By what the tenants have had so far. With one tenant the queue is in order already.
void Scheduler::State::order_waiting() {
  if (tenants.size() < 2) return;
  for (Entry& entry : waiting) entry.tenant_tokens = tenants[entry.sequence->request.tenant];
  std::ranges::stable_sort(waiting, goes_before);
}

// Those that are not here any more are forgotten, so that names of tenants do not pile up.
void Scheduler::State::welcome(const std::string& tenant) {
  if (is_active(tenant)) return;
  std::erase_if(tenants, [&](const auto& known) { return known.first != tenant && !is_active(known.first); });
  std::optional<std::uint64_t> least;
  for (const auto& [name, tokens] : tenants)
    if (name != tenant) least = std::min(least.value_or(tokens), tokens);
  std::uint64_t& had = tenants[tenant];
  had = std::max(had, least.value_or(0));
}

void Scheduler::State::enqueue(Entry entry) {
  if (tenants.size() > 1) entry.tenant_tokens = tenants[entry.sequence->request.tenant];
  const auto position = std::ranges::upper_bound(waiting, entry, goes_before);
  waiting.insert(position, std::move(entry));
}

// What the running ones still need for the text they have, and a block each to grow into: starting one more
// must not mean preempting it again at once.
std::size_t Scheduler::State::reserved_blocks() const {
  std::size_t reserved = 0;
  for (const Entry& entry : running) reserved += missing_at_most(entry) + growth();
  return reserved;
}

// Decodes that come with their KV cache, as far as they are first in line: a client waits for their next
// token, and a row each is all they take. They must not wait for a prefill that fills every step.
void Scheduler::State::start_received(TimePoint now, StepPlan& plan) {
  const auto is_next = [&] {
    return !waiting.empty() && waiting.front().has_blocks() && !waiting.front().sequence->in_prefill() &&
           budget > 0 && running.size() < static_cast<std::size_t>(limits.max_sequences);
  };
  while (is_next() && take_blocks(waiting.front(), reserved_blocks())) {
    Entry starting = std::move(waiting.front());
    waiting.erase(waiting.begin());
    start(std::move(starting), now, plan);
  }
}

void Scheduler::State::admit_waiting(TimePoint now, StepPlan& plan) {
  std::size_t reserved = reserved_blocks();
  order_waiting();
  for (std::size_t turn = 0; turn < waiting.size() && budget > 0 &&
                             running.size() < static_cast<std::size_t>(limits.max_sequences);) {
    Entry& candidate = waiting[turn];
    if (waits_for_running_prefill(candidate)) {
      ++turn;
      continue;
    }
    if (!take_blocks(candidate, reserved)) break;
    reserved += missing_at_most(candidate) + growth();
    Entry starting = std::move(candidate);
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(turn));
    start(std::move(starting), now, plan);
    order_waiting();
  }
}

// A running sequence is about to publish the very block that the candidate would compute next. It is enough
// to compare one hash: a chain's equal link means equal text before it. If that sequence is preempted or
// leaves, nothing is waited for any more.
bool Scheduler::State::waits_for_running_prefill(const Entry& candidate) const {
  const Sequence& waiter = *candidate.sequence;
  if (candidate.has_blocks()) return false;
  const auto usable = static_cast<std::size_t>((waiter.size() - 1) / block_size);
  return std::ranges::any_of(running, [&](const Entry& entry) {
    const Sequence& runner = *entry.sequence;
    const auto next = static_cast<std::size_t>(runner.computed / block_size);
    return next < usable && next < runner.hashes.size() && runner.hashes[next] == waiter.hashes[next] &&
           !pool.contains(waiter.hashes[next]);
  });
}

// The cached prefix, then fresh blocks for the first chunk. All or nothing: only where its whole known text
// fits beside what is reserved. Alone it always may: then those that wait with received KV cache give way.
bool Scheduler::State::take_blocks(Entry& candidate, std::size_t reserved) {
  Sequence& sequence = *candidate.sequence;
  const bool brought_cache = candidate.has_blocks();
  if (!brought_cache) {
    // The newest token must be computed for its logits, and not in place in a published block: a match never
    // covers the whole text.
    const auto usable = static_cast<std::size_t>((sequence.size() - 1) / block_size);
    sequence.blocks = pool.match(std::span(sequence.hashes).first(usable), sequence.tokens);
    candidate.published = sequence.blocks.size();
    sequence.computed = static_cast<std::int32_t>(candidate.published) * block_size;
  }
  const std::int32_t rows = std::min(budget, sequence.size() - sequence.computed);
  const std::size_t now_needed = missing_blocks(candidate, sequence.computed + rows);
  const std::size_t whole = missing_at_most(candidate);
  const bool fits = running.empty() ? make_room(whole, candidate) : whole + reserved <= pool.available();
  auto fresh = fits ? pool.allocate(now_needed) : make_error(ErrorCode::out_of_memory, "does not fit yet");
  if (!fresh) {
    if (!brought_cache) {
      sequence.blocks.clear();
      sequence.computed = 0;
    }
    return false;
  }
  sequence.blocks.append(*std::move(fresh));
  candidate.rows = rows;
  budget -= rows;
  if (candidate.started || brought_cache) return true;  // only a first look-up says something about the cache
  sequence.cached_tokens = std::min(sequence.computed, sequence.prompt_size());
  prefix_queried_tokens += static_cast<std::uint64_t>(sequence.size());
  prefix_hit_tokens += static_cast<std::uint64_t>(sequence.computed);
  return true;
}

void Scheduler::State::start(Entry entry, TimePoint now, StepPlan& plan) {
  if (!entry.started) {
    entry.started = true;
    count_for_tenant(*entry.sequence, entry.sequence->size() - entry.sequence->computed);
    entry.sequence->scheduled = now;
    plan.admitted.push_back(entry.sequence.get());
  }
  const auto position = std::ranges::upper_bound(running, entry, ranks_above);
  running.insert(position, std::move(entry));
}

}  // namespace baton
