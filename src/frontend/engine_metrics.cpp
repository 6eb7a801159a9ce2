#include "frontend/engine_metrics.hpp"

namespace baton::frontend {
namespace {

constexpr const char* kBlocks = "baton_kv_blocks";
constexpr const char* kBlocksHelp = "KV-cache blocks by state";

struct Row {
  const char* name;
  const char* help;
  std::uint64_t EngineStats::*field;
};

using S = EngineStats;
constexpr Row kTotals[] = {
    {"baton_engine_steps_total", "Steps computed", &S::steps},
    {"baton_engine_failed_steps_total", "Steps that failed on the device", &S::failed_steps},
    {"baton_engine_prefill_tokens_total", "Prompt tokens computed", &S::prefill_tokens},
    {"baton_engine_decode_tokens_total", "Output tokens computed", &S::decode_tokens},
    {"baton_engine_drafted_tokens_total", "Guesses at output tokens computed (--draft-tokens)",
     &S::drafted_tokens},
    {"baton_engine_accepted_tokens_total", "Of these, those that became output", &S::accepted_tokens},
    {"baton_engine_recomputed_tokens_total", "Tokens computed again after a preemption or a lost transfer",
     &S::recomputed_tokens},
    {"baton_engine_preemptions_total", "Sequences preempted for lack of blocks", &S::preemptions},
    {"baton_engine_prefix_queried_tokens_total", "Prompt tokens looked up in the prefix cache",
     &S::prefix_queried_tokens},
    {"baton_engine_prefix_hit_tokens_total", "Prompt tokens found in the prefix cache",
     &S::prefix_hit_tokens},
    {"baton_transfer_blocks_sent_total", "KV blocks sent to peers", &S::blocks_sent},
    {"baton_transfer_blocks_received_total", "KV blocks received from peers and verified",
     &S::blocks_received},
    {"baton_transfer_sent_bytes_total", "KV bytes sent to peers", &S::bytes_sent},
    {"baton_transfer_received_bytes_total", "KV bytes received from peers", &S::bytes_received},
    {"baton_transfer_blocks_resent_total", "KV blocks sent again after a failed digest or a loss",
     &S::blocks_resent},
    {"baton_transfer_blocks_corrupt_total", "KV blocks whose digest did not match", &S::blocks_corrupt},
    {"baton_transfer_failures_total", "Transfers given up", &S::transfers_failed},
};
constexpr Row kVllmTotals[] = {
    {"vllm:num_preemptions_total", "Sequences preempted", &S::preemptions},
    {"vllm:spec_decode_num_draft_tokens_total", "Guesses at output tokens computed", &S::drafted_tokens},
    {"vllm:spec_decode_num_accepted_tokens_total", "Of these, those that became output", &S::accepted_tokens},
    {"vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache",
     &S::prefix_queried_tokens},
    {"vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache", &S::prefix_hit_tokens},
};
constexpr Row kLevels[] = {
    {"baton_engine_running_requests", "Sequences in the running batch", &S::running},
    {"baton_engine_waiting_requests", "Sequences waiting for blocks or a place", &S::waiting},
    {"baton_engine_largest_batch", "Most sequences in one step so far", &S::largest_batch},
    {"baton_transfer_in_flight", "Transfers under way", &S::transfers_in_flight},
};
constexpr Row kVllmLevels[] = {
    {"vllm:num_requests_running", "Sequences in the running batch", &S::running},
    {"vllm:num_requests_waiting", "Sequences waiting", &S::waiting},
};

Labels vllm(const std::string& model) { return {{"engine", "0"}, {"model_name", model}}; }

}  // namespace

EngineMetrics::EngineMetrics(MetricsRegistry& registry, const std::string& model)
    : cache_usage_(registry.gauge("vllm:kv_cache_usage_perc", "Blocks in use, 1 is all", vllm(model))),
      blocks_in_use_(registry.gauge(kBlocks, kBlocksHelp, {{"state", "in_use"}})),
      blocks_cached_(registry.gauge(kBlocks, kBlocksHelp, {{"state", "cached"}})),
      blocks_free_(registry.gauge(kBlocks, kBlocksHelp, {{"state", "free"}})) {
  for (const Row& row : kTotals) totals_.push_back({&registry.counter(row.name, row.help), row.field});
  for (const Row& row : kVllmTotals) {
    totals_.push_back({&registry.counter(row.name, row.help, vllm(model)), row.field});
  }
  for (const Row& row : kLevels) levels_.push_back({&registry.gauge(row.name, row.help), row.field});
  for (const Row& row : kVllmLevels) {
    levels_.push_back({&registry.gauge(row.name, row.help, vllm(model)), row.field});
  }
  for (const char* role : {"mixed", "prefill", "decode"}) {
    roles_.emplace_back(role, &registry.gauge("baton_engine_role", "1 for the role that this engine has now",
                                              {{"role", role}}));
  }
}

void EngineMetrics::update(const EngineStats& stats) {
  std::lock_guard lock(mutex_);
  for (const Total& total : totals_) {
    const double growth = static_cast<double>(stats.*total.field) - total.counter->value();
    if (growth > 0) total.counter->add(growth);
  }
  for (const Level& level : levels_) level.gauge->set(static_cast<double>(stats.*level.field));
  const std::uint64_t taken = stats.blocks_in_use + stats.blocks_cached;
  blocks_in_use_.set(static_cast<double>(stats.blocks_in_use));
  blocks_cached_.set(static_cast<double>(stats.blocks_cached));
  blocks_free_.set(static_cast<double>(stats.blocks_total > taken ? stats.blocks_total - taken : 0));
  cache_usage_.set(stats.blocks_total == 0
                       ? 0.0
                       : static_cast<double>(stats.blocks_in_use) / static_cast<double>(stats.blocks_total));
  for (auto& [role, gauge] : roles_) gauge->set(role == stats.role ? 1 : 0);
}

}  // namespace baton::frontend
