// Seeded properties of Scheduler and BlockPool together, with an executor that keeps books on what every KV
// slot holds.
//
// The slot of position p holds a fingerprint of all tokens up to p, made from what the slot of p - 1 holds
// (as attention would) and the token at p. Every row first reads its whole context. So a wrong block, a
// missed write, a block reused too early or a stale match shows as a wrong fingerprint, and since the next
// token is a function of the fingerprint, as a wrong answer. A slot is written once per generation of its
// block: any write into a block that others may read shows as a second one. Each group of blocks has slots of
// its own; of those with a window a row reads what it sees.
#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "baton/schedule/scheduler.hpp"
#include "baton/schedule/stop_rules.hpp"
#include "support/catch.hpp"

namespace baton {
namespace {

constexpr TokenId kVocabulary = 40;
constexpr TokenId kEos = 0;

std::uint64_t extend(std::uint64_t fingerprint, TokenId token) {
  std::uint64_t x = (fingerprint ^ static_cast<std::uint64_t>(token + 1)) * 0x9e3779b97f4a7c15ULL;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9ULL;
  return x ^ x >> 32;
}

// The fake model: the most likely token that is not banned. It repeats itself, so that guesses are often
// right.
TokenId next_token(std::uint64_t fingerprint, const std::vector<TokenId>& banned) {
  auto token = fingerprint % 3 == 0 ? static_cast<TokenId>(fingerprint / 3 % kVocabulary) : 7;
  while (std::ranges::find(banned, token) != banned.end()) token = (token + 1) % kVocabulary;
  return token;
}

// What `request` must answer, computed alone, in one loop, with the stop rules written out again.
struct Answer {
  std::vector<TokenId> output;
  bool by_length = false;
};
Answer lone_run(const Request& request, std::int32_t max_context) {
  Answer answer{.output = request.output};
  std::uint64_t fingerprint = 0;
  std::size_t size = request.prompt.size() + request.output.size();
  for (const TokenId t : request.prompt) fingerprint = extend(fingerprint, t);
  for (const TokenId t : request.output) fingerprint = extend(fingerprint, t);
  for (;;) {
    const auto index = static_cast<std::int32_t>(answer.output.size());
    const bool may_stop = index >= request.stop.min_tokens;
    std::vector<TokenId> stops = request.stop.stop_token_ids;
    if (!request.stop.ignore_eos) stops.push_back(kEos);
    const TokenId token = next_token(fingerprint, may_stop ? std::vector<TokenId>{} : stops);
    answer.output.push_back(token);
    fingerprint = extend(fingerprint, token);
    ++size;
    if (may_stop && std::ranges::find(stops, token) != stops.end()) return answer;
    answer.by_length = index + 1 >= request.stop.max_tokens || size >= static_cast<std::size_t>(max_context);
    if (answer.by_length || request.phase == Phase::prefill) return answer;
  }
}

class BookkeepingExecutor {
 public:
  BookkeepingExecutor(BlockPool& pool, const SchedulerLimits& limits)
      : pool_(pool), limits_(limits), groups_(pool.groups()), blocks_(pool.total()) {}

  StepResult run(const StepPlan& plan) {
    StepResult result;
    for (const PlannedRows& rows : plan.rows) {
      const Sequence& s = *rows.sequence;
      REQUIRE(rows.rows > 0);
      REQUIRE(rows.first_position == s.computed);
      const auto guesses = static_cast<std::int32_t>(rows.draft.size());
      REQUIRE((guesses == 0 || rows.rows == 1 + guesses));
      REQUIRE(rows.first_position + rows.rows <= s.size() + guesses);
      REQUIRE(rows.sample == (rows.first_position + rows.rows == s.size() + guesses));
      REQUIRE(static_cast<std::int32_t>(s.blocks.size()) * pool_.block_size() >= s.computed + rows.rows);
      check_blocks(s, rows.rows, guesses);
      const std::uint64_t last = compute(s, rows.rows - guesses);
      RowResult row;
      if (rows.sample) row.token = SampledToken{.token = next_token(last, banned_tokens(s)), .top = {}};
      if (guesses > 0) try_guesses(rows, last, row);
      result.rows.push_back(std::move(row));
    }
    return result;
  }

  // Computes positions [computed, computed + rows) of `s` into its blocks; the fingerprint of the last one.
  // What comes from elsewhere lacks blocks that no later row sees.
  std::uint64_t compute(const Sequence& s, std::int32_t rows, bool elsewhere = false) {
    std::uint64_t expected = 0, read = 0;
    for (std::int32_t p = 0; p < s.computed; ++p) {
      expected = extend(expected, s.tokens[static_cast<std::size_t>(p)]);
      for (std::int32_t group = 0; group < groups_.count(); ++group) {
        if (group >= groups_.full && p < s.computed + 1 - groups_.window) continue;
        const auto& held = slot(s, p, group);
        REQUIRE(held.has_value());
        REQUIRE(*held == of_group(expected, group));
        read = of_group(*held, group);
      }
    }
    if (groups_.full == 0 && groups_.window == 1) read = expected;  // a row sees nothing but itself
    for (std::int32_t p = s.computed; p < s.computed + rows; ++p) {
      read = extend(read, s.tokens[static_cast<std::size_t>(p)]);
      for (std::int32_t group = 0; group < groups_.count(); ++group) {
        const auto block = static_cast<std::size_t>(p / pool_.block_size());
        if (elsewhere && !s.blocks.at(block, group)) continue;
        auto& held = slot(s, p, group);
        REQUIRE_FALSE(held.has_value());  // else it is written in place
        held = of_group(read, group);
      }
      ++rows_written;
    }
    return read;
  }

  // As far as they are right; what wrong ones write will be written again, and may be nobody's yet.
  void try_guesses(const PlannedRows& rows, std::uint64_t last, RowResult& row) {
    const Sequence& s = *rows.sequence;
    TokenId sampled = row.token->token;
    bool right = true;
    for (std::size_t i = 0; i < rows.draft.size(); ++i) {
      const std::int32_t position = s.size() + static_cast<std::int32_t>(i);
      right = right && sampled == rows.draft[i];
      last = extend(last, rows.draft[i]);
      for (std::int32_t group = 0; group < groups_.count(); ++group) {
        auto& held = slot(s, position, group);
        REQUIRE_FALSE(held.has_value());
        if (right) held = of_group(last, group);
      }
      if (!right) continue;
      ++rows_written;
      sampled = next_token(last, banned_tokens(s, i + 1));
      row.further.push_back({.token = sampled, .top = {}});
    }
  }

  // The newest token's row, of a sequence that is deferred: it will be written again.
  void forget_last(const Sequence& s) {
    for (std::int32_t group = 0; group < groups_.count(); ++group) slot(s, s.size() - 1, group).reset();
    --rows_written;
  }

  std::uint64_t rows_written = 0;

 private:
  struct Block {
    std::uint32_t generation = 0;
    std::vector<std::optional<std::uint64_t>> slots;
  };

  static std::uint64_t of_group(std::uint64_t fingerprint, std::int32_t group) {
    return fingerprint ^ static_cast<std::uint64_t>(group);
  }

  // What no window reaches has been given back, and no more is held than was promised.
  void check_blocks(const Sequence& s, std::int32_t rows, std::int32_t guesses) const {
    const std::int32_t size = pool_.block_size();
    std::size_t pinned = 0;
    for (std::size_t i = 0; i < s.blocks.size(); ++i) {
      for (std::int32_t group = 0; group < groups_.count(); ++group) {
        const bool seen =
            group < groups_.full || static_cast<std::int32_t>(i + 1) * size > s.computed + 1 - groups_.window;
        REQUIRE(bool(s.blocks.at(i, group)) == seen);
        pinned += seen;
      }
    }
    REQUIRE(s.blocks.pinned() == pinned);
    const std::int32_t room = limits_.draft_tokens + guesses;  // what was taken for guesses stays
    REQUIRE(static_cast<std::int64_t>(pinned) <= groups_.most_blocks(s.size() + room, rows + room, size));
  }

  std::optional<std::uint64_t>& slot(const Sequence& s, std::int32_t position, std::int32_t group) {
    const BlockId id = s.blocks.at(static_cast<std::size_t>(position / pool_.block_size()), group).id();
    REQUIRE(id >= 0);
    Block& block = blocks_[static_cast<std::size_t>(id)];
    if (block.generation != pool_.generation(id)) {
      block.generation = pool_.generation(id);
      block.slots.assign(static_cast<std::size_t>(pool_.block_size()), std::nullopt);
    }
    return block.slots[static_cast<std::size_t>(position % pool_.block_size())];
  }

  BlockPool& pool_;
  const SchedulerLimits limits_;
  const KvGroups groups_;
  std::vector<Block> blocks_;
};

// What the seeds together must have exercised, or the properties prove nothing.
struct Coverage {
  std::uint64_t ended = 0, cancelled = 0, expired = 0, errors = 0, too_large = 0, overloaded = 0;
  std::uint64_t preemptions = 0, recomputed = 0, hits = 0, received = 0, received_lost = 0, handed_off = 0;
  std::uint64_t by_stop = 0, by_length = 0, deferred = 0, drafted = 0, accepted = 0;
};

struct Shape {
  bool tiny_pool = false;
  bool accidents = false;  // cancels, deadlines, row errors, foreign pins
  bool deferrals = false;
  bool windows = false;
  bool drafts = false;
};

class Scenario {
 public:
  Scenario(std::uint32_t seed, Shape shape)
      : random_(seed),
        shape_(shape),
        groups_(shape.windows ? random_groups() : KvGroups{}),
        pool_(groups_.count() * (shape.tiny_pool ? between(6, 24) : between(60, 200)), 1 << between(0, 3),
              groups_),
        limits_{.max_sequences = between(1, 9),
                .max_batch_tokens = between(1, 48),
                .max_waiting = between(4, 40),
                .max_context = between(30, 90),
                .draft_tokens = shape.drafts ? between(1, 6) : 0,
                .draft_rows = between(2, 30)},
        scheduler_(limits_, pool_),
        executor_(pool_, limits_) {
    for (int i = 0; i < 3; ++i) prefixes_.push_back(random_tokens(between(1, 40)));
  }

  void run(int requests, Coverage& coverage) {
    coverage_ = &coverage;
    int arrived = 0, idle_steps = 0;
    while (arrived < requests || !alive_.empty()) {
      while (arrived < requests && chance(0.4)) {
        arrive(arrived);
        arrived += 1;
      }
      if (shape_.accidents) accidents();
      idle_steps = step() ? 0 : idle_steps + 1;
      REQUIRE(idle_steps < 200);  // somebody always gets on once foreign pins are gone
    }
    foreign_pins_.clear();
    REQUIRE(scheduler_.running() + scheduler_.waiting() == 0);
    REQUIRE(pool_.in_use() == 0);
    REQUIRE(pool_.free() + pool_.cached() == pool_.total());
    check_counters();
    coverage.preemptions += scheduler_.preemptions();
    coverage.recomputed += scheduler_.recomputed_tokens();
    coverage.hits += scheduler_.prefix_hit_tokens();
    coverage.drafted += scheduler_.drafted_tokens();
    coverage.accepted += scheduler_.accepted_tokens();
  }

 private:
  std::int32_t between(std::int32_t low, std::int32_t high) {
    return low + static_cast<std::int32_t>(random_() % static_cast<std::uint32_t>(high - low + 1));
  }
  bool chance(double p) { return static_cast<double>(random_() % 10000) < p * 10000; }

  KvGroups random_groups() {
    return {.full = between(0, 2), .windowed = between(1, 3), .window = between(1, 30)};
  }

  std::vector<TokenId> random_tokens(std::int32_t n) {
    std::vector<TokenId> tokens;
    while (n-- > 0) tokens.push_back(between(0, kVocabulary - 1));
    return tokens;
  }

  Request random_request(int number) {
    Request r;
    r.id = {7, static_cast<std::uint64_t>(number / 3)};  // up to three choices of one id
    r.choice = static_cast<std::uint32_t>(number % 3);
    if (r.choice > 0 && !last_prompt_.empty() && chance(0.5)) {
      r.prompt = last_prompt_;
    } else {
      if (chance(0.6)) r.prompt = prefixes_[static_cast<std::size_t>(between(0, 2))];
      const auto own = random_tokens(between(r.prompt.empty() ? 1 : 0, 25));
      r.prompt.insert(r.prompt.end(), own.begin(), own.end());
    }
    last_prompt_ = r.prompt;
    r.stop.max_tokens = between(1, 30);
    r.stop.min_tokens = chance(0.3) ? between(0, 10) : 0;
    r.stop.ignore_eos = chance(0.4);
    r.stop.eos_token_ids = {kEos};
    if (chance(0.3)) r.stop.stop_token_ids = {between(0, kVocabulary - 1)};
    r.priority = chance(0.3) ? between(-1, 2) : 0;
    r.arrival = now_;
    if (shape_.accidents && chance(0.15)) r.deadline = now_ + std::chrono::milliseconds(between(1, 60));
    if (chance(0.15)) r.phase = Phase::prefill;
    return r;
  }

  void arrive(int number) {
    Request request = random_request(number);
    if (chance(0.25)) continue_elsewhere_begun(request);
    auto sequence = make_sequence(request, pool_.block_size(), key_, now_);
    if (!request.output.empty() && chance(0.7)) receive_cache(*sequence);
    const bool received = sequence->computed > 0;
    const bool queue_full = scheduler_.waiting() >= static_cast<std::size_t>(limits_.max_waiting);
    const auto admitted = scheduler_.admit(std::move(sequence));
    check_pool();
    if (admitted) {
      REQUIRE(alive_.emplace(key_of(request), request).second);
      coverage_->received += received ? 1 : 0;
    } else if (admitted.error().code == ErrorCode::overloaded) {
      REQUIRE(queue_full);
      ++coverage_->overloaded;
    } else {
      REQUIRE(admitted.error().code == ErrorCode::too_large);
      ++coverage_->too_large;
    }
  }

  // The request has a part of its answer already, as after a handoff or a retry.
  void continue_elsewhere_begun(Request& request) {
    request.phase = Phase::whole;
    Answer whole = lone_run(request, limits_.max_context);
    if (whole.output.size() < 2) return;
    whole.output.resize(
        static_cast<std::size_t>(between(1, static_cast<std::int32_t>(whole.output.size()) - 1)));
    request.output = whole.output;
    request.phase = Phase::decode;
  }

  // What a transfer does: pins what is here, allocates the rest and fills it.
  void receive_cache(Sequence& s) {
    const std::int32_t size = pool_.block_size();
    const bool everything = chance(0.2);
    const std::int32_t computed = everything && s.size() % size == 0 ? s.size() : between(1, s.size() - 1);
    const auto full = static_cast<std::size_t>(computed / size);
    auto held = pool_.match(std::span(s.hashes).first(full), s.tokens);
    s.computed = static_cast<std::int32_t>(held.size()) * size;
    if (!pool_.extend(held, computed)) {
      s.computed = 0;
      return;
    }
    s.blocks = std::move(held);
    executor_.compute(s, computed - s.computed, true);
    executor_.rows_written -= static_cast<std::uint64_t>(computed - s.computed);
    s.computed = computed;
  }

  void accidents() {
    if (!alive_.empty() && chance(0.03)) {
      auto it = alive_.begin();
      std::advance(it, between(0, static_cast<std::int32_t>(alive_.size()) - 1));
      auto sequence = scheduler_.cancel(it->first);
      REQUIRE(sequence != nullptr);
      REQUIRE(scheduler_.cancel(it->first) == nullptr);
      ++coverage_->cancelled;
      retire(*sequence, false);
    }
    if (chance(0.05)) {
      const auto n = static_cast<std::size_t>(between(0, static_cast<std::int32_t>(pool_.total() / 2)));
      foreign_pins_.clear();
      if (auto pins = pool_.allocate(n)) foreign_pins_ = std::move(*pins);
    } else if (chance(0.1)) {
      foreign_pins_.clear();
    }
  }

  bool step() {
    now_ += std::chrono::milliseconds(1);
    StepPlan plan = scheduler_.plan(now_);
    check_pool();
    std::set<const Sequence*> distinct;
    std::int32_t tokens = 0;
    for (const PlannedRows& rows : plan.rows) {
      REQUIRE(distinct.insert(rows.sequence).second);
      tokens += rows.rows;
    }
    REQUIRE(tokens == plan.tokens);
    REQUIRE(plan.tokens <= limits_.max_batch_tokens);
    REQUIRE(scheduler_.running() <= static_cast<std::size_t>(limits_.max_sequences));
    for (const Sequence* s : plan.admitted) REQUIRE(started_.insert(key_of(s->request)).second);
    for (const auto& s : plan.expired) {
      REQUIRE(s->blocks.empty());
      REQUIRE(s->request.deadline <= now_);
      ++coverage_->expired;
      retire(*s, false);
    }
    StepResult result = executor_.run(plan);
    if (shape_.deferrals) defer_some(plan, result);
    if (shape_.accidents && !result.rows.empty() && chance(0.02)) {
      result.rows[static_cast<std::size_t>(between(0, static_cast<std::int32_t>(result.rows.size()) - 1))]
          .error = make_error(ErrorCode::internal, "a row failed");
    }
    const bool progress = !plan.rows.empty() || !plan.expired.empty();
    StepOutcome outcome = scheduler_.commit(plan, result, now_);
    check_pool();
    for (EndedSequence& ended : outcome.ended) settle(ended);
    outcome.ended.clear();
    check_pool();
    return progress;
  }

  void defer_some(const StepPlan& plan, StepResult& result) {
    for (std::size_t i = 0; i < plan.rows.size(); ++i) {
      if (!plan.rows[i].sample || !plan.rows[i].draft.empty() || !chance(0.3)) continue;
      executor_.forget_last(*plan.rows[i].sequence);
      result.rows[i] = {.token = {}, .deferred = true, .error = {}, .mask_time = {}};
      ++coverage_->deferred;
    }
  }

  void settle(EndedSequence& ended) {
    const Sequence& s = *ended.sequence;
    ++coverage_->ended;
    coverage_->errors += ended.error ? 1 : 0;
    coverage_->handed_off += ended.handed_off ? 1 : 0;
    if (!ended.error) {
      (ended.by_length ? coverage_->by_length : coverage_->by_stop) += ended.handed_off ? 0 : 1;
      const Request& asked = alive_.at(key_of(s.request));
      const Answer expected = lone_run(asked, limits_.max_context);
      REQUIRE(s.request.output == expected.output);
      REQUIRE(ended.by_length == expected.by_length);
      REQUIRE(s.computed == s.size() - 1);
      REQUIRE(s.finished >= s.first_token);
      REQUIRE(s.first_token >= s.scheduled);
      REQUIRE(s.scheduled >= s.queued);
    }
    retire(s, !ended.error);
  }

  // Every admitted sequence leaves once: erase says so. What it has is a prefix of its answer.
  void retire(const Sequence& s, bool complete) {
    const auto it = alive_.find(key_of(s.request));
    REQUIRE(it != alive_.end());
    if (!complete) {
      const std::vector<TokenId> answer = lone_run(it->second, limits_.max_context).output;
      REQUIRE(s.request.output.size() <= answer.size());
      REQUIRE(std::equal(s.request.output.begin(), s.request.output.end(), answer.begin()));
    }
    REQUIRE(s.tokens.size() == s.request.prompt.size() + s.request.output.size());
    REQUIRE(s.hashes == block_hashes(s.tokens, pool_.block_size(), key_));
    coverage_->received_lost += it->second.phase == Phase::decode && s.preemptions > 0 ? 1 : 0;
    recomputed_ += static_cast<std::uint64_t>(s.recomputed_tokens);
    alive_.erase(it);
  }

  void check_pool() {
    REQUIRE(pool_.free() + pool_.cached() + pool_.in_use() == pool_.total());
    for (const BlockEvent& event : pool_.take_events()) {
      if (event.kind == BlockEvent::Kind::stored) {
        REQUIRE(index_.insert(event.hash).second);
      } else {
        REQUIRE(index_.erase(event.hash) == 1);
      }
    }
    REQUIRE(index_.size() == pool_.published().size());
  }

  void check_counters() {
    REQUIRE(scheduler_.recomputed_tokens() == recomputed_);
    REQUIRE(scheduler_.prefill_tokens_computed() <= executor_.rows_written);
    REQUIRE(scheduler_.prefix_hit_tokens() <= scheduler_.prefix_queried_tokens());
  }

  std::mt19937 random_;
  Shape shape_;
  KvGroups groups_;
  BlockPool pool_;
  SchedulerLimits limits_;
  Scheduler scheduler_;
  BookkeepingExecutor executor_;
  BlockHashKey key_ = make_block_hash_key("secret", {1, 2}, "f32", "");
  TimePoint now_{};
  std::vector<std::vector<TokenId>> prefixes_;
  std::vector<TokenId> last_prompt_;
  std::map<RequestKey, Request> alive_;
  std::set<RequestKey> started_;
  std::set<BlockHash> index_;
  std::vector<BlockRef> foreign_pins_;
  std::uint64_t recomputed_ = 0;
  Coverage* coverage_ = nullptr;
};

TEST_CASE("under random load every sequence ends once, with the answer of its lone run, and no block leaks") {
  Coverage coverage;
  for (std::uint32_t seed = 0; seed < 1200; ++seed) {
    const Shape shape{.tiny_pool = seed % 2 == 0,
                      .accidents = seed % 3 == 0,
                      .deferrals = seed % 5 == 0,
                      .windows = seed >= 600 && seed % 4 < 2,
                      .drafts = seed >= 900 || seed % 7 == 0};
    INFO("seed " << seed);
    Scenario(seed, shape).run(40, coverage);
  }
  CHECK(coverage.ended > 5000);
  CHECK(coverage.by_stop > 100);
  CHECK(coverage.by_length > 100);
  CHECK(coverage.cancelled > 100);
  CHECK(coverage.expired > 100);
  CHECK(coverage.errors > 50);
  CHECK(coverage.too_large > 100);
  CHECK(coverage.overloaded > 100);
  CHECK(coverage.preemptions > 500);
  CHECK(coverage.recomputed > 500);
  CHECK(coverage.hits > 5000);
  CHECK(coverage.received > 500);
  CHECK(coverage.received_lost > 20);
  CHECK(coverage.handed_off > 100);
  CHECK(coverage.deferred > 1000);
  CHECK(coverage.drafted > 1000);
  CHECK(coverage.accepted > 300);
  CHECK(coverage.accepted < coverage.drafted);
}

}  // namespace
}  // namespace baton
