#include "router/engine_view.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace baton {
namespace {

constexpr auto kSnapshotWait =
    std::chrono::seconds(5);  // for an answer, before a snapshot is asked for again
constexpr std::size_t kExplainedRoutes = 64;
constexpr double kOutputMemory = 0.05;  // weight of the newest request in the expected output length

// An engine that has made no step yet is taken to be like one that has: its own first guess would compete
// with the others' measurements.
void guess_unmeasured(std::vector<Candidate>& engines) {
  const auto known = std::ranges::find_if(engines, [](const Candidate& c) { return c.profile.measured; });
  if (known == engines.end()) return;
  for (Candidate& engine : engines)
    if (!engine.profile.measured) engine.profile = known->profile;
}

}  // namespace

StatusMessage status_of(const EngineStats& stats) {
  StatusMessage status;
  status.role = parse_role(stats.role).value_or(Role::mixed);
  status.running = static_cast<std::uint32_t>(stats.running);
  status.waiting = static_cast<std::uint32_t>(stats.waiting);
  status.waiting_prefill_tokens = stats.waiting_prefill_tokens;
  status.blocks_total = static_cast<std::uint32_t>(stats.blocks_total);
  status.blocks_in_use = static_cast<std::uint32_t>(stats.blocks_in_use);
  status.kv_tokens = stats.kv_tokens;
  status.max_batch_tokens = static_cast<std::uint32_t>(stats.max_batch_tokens);
  status.prefill_tokens = stats.prefill_tokens;
  status.decode_tokens = stats.decode_tokens;
  status.profile = stats.profile;
  return status;
}

EngineView::EngineView(const RouterOptions& options, AskForSnapshot ask)
    : options_(options), ask_(std::move(ask)), index_(options.index_bytes) {
  indexed_[options.node_name].id = index_.add_node();
}

void EngineView::node_up(const NodeInfo& peer, TimePoint now) {
  node_down(peer.name);
  StatusMessage status;
  status.role = peer.role;
  peers_[peer.name] = Peer{peer, status};
  Indexed& node = indexed_[peer.name];
  node.id = index_.add_node();
  ask(peer.name, node, now);
}

void EngineView::node_down(const std::string& name) {
  peers_.erase(name);
  sent_tokens_.erase(name);
  if (const auto node = indexed_.find(name); node != indexed_.end() && name != options_.node_name) {
    index_.forget(node->second.id);
    indexed_.erase(node);
  }
}

void EngineView::status(const std::string& name, const StatusMessage& status) {
  const auto peer = peers_.find(name);
  if (peer == peers_.end()) return;
  peer->second.status = status;
  sent_tokens_.erase(name);
}

bool EngineView::is_draining(const std::string& peer) const {
  const auto found = peers_.find(peer);
  return found != peers_.end() && found->second.status.draining;
}

void EngineView::apply(const std::string& name, const BlockEventsMessage& events, TimePoint now,
                       Logger& logger) {
  const auto found = indexed_.find(name);
  if (found == indexed_.end()) return;
  Indexed& node = found->second;
  if (events.snapshot) node.asked.reset();
  const BlockIndex::Applied applied = index_.apply(node.id, events);
  if (applied == BlockIndex::Applied::ok) return;
  if (node.asked && now - *node.asked < kSnapshotWait) return;
  logger.info("block index out of step: asking for a snapshot",
              {{"node", name}, {"why", applied == BlockIndex::Applied::gap ? "gap" : "drift"}});
  ask(name, node, now);
}

void EngineView::ask(const std::string& name, Indexed& node, TimePoint now) {
  node.asked = now;
  ask_(name);
}

void EngineView::sent(const Request& request, const Candidate& chosen) {
  const std::size_t held = chosen.held_blocks * static_cast<std::size_t>(options_.block_size);
  sent_tokens_[chosen.node] += request.prompt.size() - std::min(held, request.prompt.size());
}

void EngineView::finished(std::uint32_t output_tokens) {
  expected_output_ += kOutputMemory * (static_cast<double>(output_tokens) - expected_output_);
}

RouteQuery EngineView::query(const Request& request) const {
  return {.prompt_tokens = request.prompt.size() + request.output.size(),
          .max_tokens = request.stop.max_tokens - static_cast<std::int32_t>(request.output.size()),
          .block_size = options_.block_size,
          .expected_tokens = expected_output_};
}

std::vector<Candidate> EngineView::candidates(const Request& request, const EngineStats& own,
                                              const SentByNode& by_node) {
  if (own.steps != std::exchange(own_steps_, own.steps))
    sent_tokens_.erase(options_.node_name);  // the engine has looked at its queue since
  std::vector<std::uint32_t> held;
  index_.match(block_hashes(request.prompt, options_.block_size, options_.hash_key(block_salt(request))),
               held);
  const auto candidate = [&](const std::string& name, const StatusMessage& status) {
    const auto found = by_node.find(name);
    const Sent mine = found == by_node.end() ? Sent{} : found->second;
    const auto sent = sent_tokens_.find(name);
    const NodeId id = indexed_.at(name).id;
    Candidate c;
    c.node = name;
    c.role = status.role;
    c.waiting_prefill_tokens =
        status.waiting_prefill_tokens + (sent == sent_tokens_.end() ? 0 : sent->second);
    c.running = std::max(status.running, mine.running) + mine.coming;
    c.waiting = status.waiting;
    c.held_blocks = id < held.size() ? held[id] : 0;
    c.kv_tokens = status.kv_tokens + mine.coming_tokens;
    c.free_tokens = options_.kv_groups.tokens_in(
        status.blocks_total - std::min(status.blocks_in_use, status.blocks_total), request.prompt.size(),
        options_.block_size);
    c.chunk = static_cast<std::int32_t>(std::clamp<std::uint32_t>(status.max_batch_tokens, 1, 1 << 20));
    if (status.profile.sane()) c.profile = status.profile;
    return c;
  };
  const std::size_t tokens =
      request.prompt.size() + static_cast<std::size_t>(request.embed ? 0 : request.stop.max_tokens);
  const auto has_adapter = [&](const std::vector<Hash128>& adapters) {
    return request.adapter == Hash128{} || std::ranges::find(adapters, request.adapter) != adapters.end();
  };
  const auto holds = [&](std::int32_t context) { return tokens <= static_cast<std::size_t>(context); };
  std::vector<Candidate> all, roomy;
  const bool others =
      std::ranges::any_of(peers_, [](const auto& peer) { return !peer.second.status.draining; });
  if ((!own.device_failed || !others) && has_adapter(options_.adapters)) {
    all.push_back(candidate(options_.node_name, status_of(own)));
    if (holds(options_.max_context)) roomy.push_back(all.back());
  }
  for (const auto& [name, peer] : peers_) {
    if (peer.status.draining || !has_adapter(peer.info.adapters)) continue;
    all.push_back(candidate(name, peer.status));
    if (holds(peer.info.max_context)) roomy.push_back(all.back());
  }
  for (std::vector<Candidate>* engines : {&all, &roomy}) guess_unmeasured(*engines);
  const bool generates =
      std::ranges::any_of(roomy, [](const Candidate& c) { return c.role != Role::prefill; });
  return generates ? roomy : all;
}

nlohmann::json EngineView::explain(const Request& request, const EngineStats& own, const SentByNode& sent) {
  const RouteQuery asked = query(request);
  const std::vector<Candidate> engines = candidates(request, own, sent);
  nlohmann::json out{{"prompt_tokens", asked.prompt_tokens},
                     {"expected_output_tokens", asked.expected_tokens}};
  const auto ms = [](double seconds) { return std::round(seconds * 1e6) / 1e3; };
  for (const Candidate& c : engines)
    out["engines"].push_back(
        {{"node", c.node},
         {"role", to_string(c.role)},
         {"cached_tokens", c.held_blocks * static_cast<std::size_t>(options_.block_size)},
         {"waiting_prefill_tokens", c.waiting_prefill_tokens},
         {"running", c.running},
         {"waiting", c.waiting},
         {"kv_tokens", c.kv_tokens},
         {"free_tokens", c.free_tokens},
         {"prefill_ms_per_1000_tokens", ms(c.profile.prefill_seconds(1000, 0, c.chunk))},
         {"decode_ms_per_step",
          ms(c.profile.decode_seconds(c.running + 1.0, static_cast<double>(c.kv_tokens)))}});
  out["routes"] = nlohmann::json::array();
  for (const Route& route : predicted_routes(asked, engines, kExplainedRoutes))
    out["routes"].push_back({{"prefill", route.prefill_node},
                             {"decode", route.decode_node},
                             {"predicted_ms",
                              {{"queue", ms(route.cost.queue)},
                               {"prefill", ms(route.cost.prefill)},
                               {"ttft", ms(route.cost.ttft())},
                               {"transfer", ms(route.cost.transfer)},
                               {"wait", ms(route.cost.wait)},
                               {"decode", ms(route.cost.decode)},
                               {"slowdown", ms(route.cost.slowdown)},
                               {"total", ms(route.cost.total())}}}});
  return out;
}

}  // namespace baton
