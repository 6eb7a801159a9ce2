// The cluster-wide block index at its working size: block operations a second, memory, decisions, a snapshot.
// Not a test: nothing here passes or fails; each figure stands beside its goal.
//
//   index_bench [--entries 2300000] [--engines 256] [--operations 20000000] [--decisions 200000] [--seed 1]
//   [--cpu-clock 1]
//
// Entries: every engine holds one of 16 system prompts (8 blocks) and random chains. Operations: events of
// 128 blocks each of engines in random order, half of them store a fresh chain, half remove the engine's
// oldest. Decisions: prompts of 128 blocks; a third are a chain that one engine holds, a third a system
// prompt that many hold and then something new, a third new altogether. For perspective: how many independent
// loads a second this machine does at random in as much memory as the index takes, and one by one (each
// load's address is in the one before).
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "baton/router/block_index.hpp"
#include "baton/router/policy.hpp"

namespace baton {
namespace {

constexpr std::size_t kBlocks = 128;  // of an event, and of a prompt
constexpr std::size_t kSystemPrompts = 16;
constexpr std::size_t kSystemBlocks = 8;

struct Arguments {
  std::size_t entries = 2'300'000, engines = 256, decisions = 200'000, operations = 20'000'000, seed = 1;
};

clockid_t clock_id = CLOCK_MONOTONIC;

double seconds() {
  timespec now{};
  ::clock_gettime(clock_id, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::size_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (name == "--entries") arguments.entries = value;
    if (name == "--engines") arguments.engines = value;
    if (name == "--decisions") arguments.decisions = value;
    if (name == "--operations") arguments.operations = value;
    if (name == "--seed") arguments.seed = value;
    if (name == "--cpu-clock" && value != 0) clock_id = CLOCK_THREAD_CPUTIME_ID;
  }
  return arguments;
}

using Chain = std::vector<BlockHash>;

class Cluster {
 public:
  explicit Cluster(const Arguments& arguments) : arguments_(arguments), random_(arguments.seed) {
    for (Chain& prompt : system_prompts_) prompt = fresh(kSystemBlocks);
    engines_.resize(arguments.engines);
  }

  // Every engine's chains, until `entries` are resident.
  void fill(BlockIndex& index) {
    for (std::size_t i = 0; i < engines_.size(); ++i) {
      engines_[i].id = index.add_node();
      publish(index, engines_[i], system_prompts_[i % kSystemPrompts], {});
    }
    while (index.size() + kBlocks <= arguments_.entries) store(index, any_engine());
  }

  // Operations a second of each batch, without the time that making them up takes.
  std::vector<double> churn(BlockIndex& index) {
    struct Step {
      Engine* engine;
      BlockEventsMessage message;
    };
    std::vector<double> rates;
    constexpr std::size_t kBatch = 64;  // events: still cached when they are applied, as after decoding
    for (std::size_t done = 0; done < arguments_.operations; done += kBatch * kBlocks) {
      std::vector<Step> steps;
      for (std::size_t i = 0; i < kBatch / 2; ++i) {
        Engine& grows = any_engine();
        grows.chains.push_back(fresh(kBlocks));
        steps.push_back({&grows, message(grows, grows.chains.back(), {})});
        Engine* shrinks = &any_engine();
        while (shrinks->chains.empty()) shrinks = &any_engine();
        steps.push_back({shrinks, message(*shrinks, {}, shrinks->chains.front())});
        shrinks->chains.pop_front();
      }
      const double begin = seconds();
      for (const Step& step : steps) apply(index, *step.engine, step.message);
      rates.push_back(static_cast<double>(kBatch * kBlocks) / (seconds() - begin));
    }
    return rates;
  }

  Chain prompt() {
    const std::size_t kind = random_() % 3;
    if (kind == 0) {
      Engine* engine = &any_engine();
      while (engine->chains.empty()) engine = &any_engine();
      return engine->chains[random_() % engine->chains.size()];
    }
    Chain chain = fresh(kBlocks);
    if (kind == 1) std::ranges::copy(system_prompts_[random_() % kSystemPrompts], chain.begin());
    return chain;
  }

  NodeId node(std::size_t i) const { return engines_[i].id; }

 private:
  struct Engine {
    NodeId id = kNoNode;
    std::uint64_t sequence = 0;
    BlockSetDigest digest;
    std::deque<Chain> chains;
  };

  Chain fresh(std::size_t blocks) {
    Chain chain(blocks);
    for (BlockHash& hash : chain) hash = {random_(), random_()};
    return chain;
  }
  Engine& any_engine() { return engines_[random_() % engines_.size()]; }

  static BlockEventsMessage message(Engine& engine, const Chain& stored, const Chain& removed) {
    for (const BlockHash& hash : stored) engine.digest.add(hash);
    for (const BlockHash& hash : removed) engine.digest.remove(hash);
    return {++engine.sequence, false, stored, removed, engine.digest};
  }
  static void apply(BlockIndex& index, Engine& engine, const BlockEventsMessage& events) {
    if (index.apply(engine.id, events) == BlockIndex::Applied::ok) return;
    std::fprintf(stderr, "the index is out of step\n");
    std::exit(1);
  }
  static void publish(BlockIndex& index, Engine& engine, const Chain& stored, const Chain& removed) {
    apply(index, engine, message(engine, stored, removed));
  }
  void store(BlockIndex& index, Engine& engine) {
    engine.chains.push_back(fresh(kBlocks));
    publish(index, engine, engine.chains.back(), {});
  }

  const Arguments arguments_;
  std::mt19937_64 random_;
  std::vector<Chain> system_prompts_ = std::vector<Chain>(kSystemPrompts);
  std::vector<Engine> engines_;
};

struct Percentiles {
  double median = 0, p99 = 0, most = 0;
};
Percentiles percentiles(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values[values.size() * 99 / 100], values.back()};
}

// From the prompt's hashes to how much each engine holds; with `choose`, on to the policy's choice among all.
Percentiles decisions(const BlockIndex& index, Cluster& cluster, const Arguments& arguments, bool choose) {
  std::vector<Candidate> candidates(arguments.engines);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    candidates[i].node = "engine-" + std::to_string(i);
    candidates[i].waiting_prefill_tokens = i * 7919 % 1000;
    candidates[i].running = static_cast<std::uint32_t>(i * 31 % 16);
    candidates[i].kv_tokens = std::uint64_t{candidates[i].running} * 2000;
    candidates[i].free_tokens = 100000;
    PerfProfile& profile = candidates[i].profile;
    profile.step = 1e-4, profile.weights = 4e-3, profile.token = 2e-5, profile.logits = 1e-6,
    profile.pair = 1e-9;
    profile.kv_token = 3e-8, profile.link_token = 3e-6, profile.link_latency = 1e-3, profile.measured = true;
  }
  const auto policy = make_policy("kv");
  std::vector<std::uint32_t> held;
  std::vector<double> microseconds;
  std::size_t hits = 0;
  for (std::size_t done = 0; done < arguments.decisions; ++done) {
    const Chain prompt = cluster.prompt();
    const double begin = seconds();
    index.match(prompt, held);
    for (std::size_t i = 0; i < candidates.size(); ++i) candidates[i].held_blocks = held[cluster.node(i)];
    if (choose)
      hits += policy->choose(RouteQuery{.prompt_tokens = kBlocks * 16, .max_tokens = 100}, candidates)
                  .has_value();
    else
      hits += std::ranges::max(candidates, {}, &Candidate::held_blocks).held_blocks > 0;
    microseconds.push_back((seconds() - begin) * 1e6);
  }
  if (hits < arguments.decisions / 3) std::fprintf(stderr, "fewer hits than prompts that are held\n");
  return percentiles(std::move(microseconds));
}

double snapshot_seconds(std::size_t entries, std::uint64_t seed) {
  BlockIndex index;
  std::mt19937_64 random(seed);
  const NodeId node = index.add_node();
  double taken = 0;
  for (int round = 0; round < 2; ++round) {  // the second replaces the first: that is what counts
    BlockEventsMessage snapshot;
    snapshot.snapshot = true;
    snapshot.stored.resize(entries);
    for (BlockHash& hash : snapshot.stored) {
      hash = {random(), random()};
      snapshot.digest.add(hash);
    }
    const double begin = seconds();
    if (index.apply(node, snapshot) != BlockIndex::Applied::ok) std::exit(1);
    taken = seconds() - begin;
  }
  if (index.size() != entries) std::fprintf(stderr, "the snapshot does not fit\n");
  return taken;
}

// Loads a second, independent and dependent, at random places of `bytes`.
std::pair<double, double> random_loads(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  constexpr std::size_t kLine = 64 / sizeof(std::uint32_t);
  const std::size_t lines = bytes / 64;
  std::vector<std::uint32_t> order(lines), memory(lines * kLine);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), random);
  for (std::size_t i = 0; i < lines; ++i) memory[order[i] * kLine] = order[(i + 1) % lines];
  std::uint32_t sum = 0;
  double begin = seconds();
  for (int round = 0; round < 4; ++round)
    for (const std::uint32_t line : order) sum += memory[line * kLine];
  const double independent = 4.0 * static_cast<double>(lines) / (seconds() - begin);
  begin = seconds();
  std::uint32_t at = sum % static_cast<std::uint32_t>(lines);
  for (std::size_t i = 0; i < lines; ++i) at = memory[at * kLine];
  const double dependent = static_cast<double>(lines) / (seconds() - begin);
  if (at == 0xffffffff) std::puts("");  // keeps the loops
  return {independent, dependent};
}

void run(const Arguments& arguments) {
  Cluster cluster(arguments);
  BlockIndex index;
  cluster.fill(index);
  const Percentiles operations = percentiles(cluster.churn(index));
  const double bytes = static_cast<double>(index.memory_bytes()) / static_cast<double>(index.size());
  const Percentiles match = decisions(index, cluster, arguments, false);
  const Percentiles chosen = decisions(index, cluster, arguments, true);

  const double snapshot = snapshot_seconds(arguments.entries, arguments.seed);
  const auto [independent, dependent] = random_loads(index.memory_bytes(), arguments.seed);

  std::printf("%zu entries of %zu engines, %.1f MB\n\n", index.size(), arguments.engines,
              static_cast<double>(index.memory_bytes()) / 1e6);
  std::printf("| | measured | goal |\n|---|---|---|\n");
  std::printf("| block operations, median of batches, million/s | %.1f | >= 10 |\n", operations.median / 1e6);
  std::printf("| block operations, best batch, million/s | %.1f | |\n", operations.most / 1e6);
  std::printf("| bytes an entry | %.1f | <= 40 |\n", bytes);
  std::printf("| decision, median, us | %.1f | |\n", match.median);
  std::printf("| decision, p99, us | %.1f | < 50 |\n", match.p99);
  std::printf("| decision with the policy kv, median, us | %.1f | |\n", chosen.median);
  std::printf("| decision with the policy kv, p99, us | %.1f | < 50 |\n", chosen.p99);
  std::printf("| snapshot of %zu replaced, s | %.3f | < 1 |\n", arguments.entries, snapshot);
  std::printf("| this machine: independent random loads, million/s | %.1f | |\n", independent / 1e6);
  std::printf("| this machine: dependent random loads, million/s | %.1f | |\n", dependent / 1e6);
}

}  // namespace
}  // namespace baton

int main(int argc, char** argv) {
  baton::run(baton::parse(argc, argv));
  return 0;
}
