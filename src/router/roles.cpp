// Who has which role: an operator's orders, and those of the RoleController where `--roles auto` is on.
//
// One daemon gives the orders: of those that take part, the one with the smallest name that is here. All of
// them keep measuring, so that the next one goes on at once where the first is gone.
#include <algorithm>
#include <ctime>
#include <utility>

#include "router/router_state.hpp"

namespace baton {
namespace {

constexpr auto kControlPeriod = std::chrono::seconds(1);
constexpr std::size_t kRememberedChanges = 32;

EngineReading reading_of(const std::string& node, const StatusMessage& status, const RouterOptions& options) {
  EngineReading r;
  r.node = node;
  r.role = status.role;
  r.prefill_tokens = status.prefill_tokens;
  r.decode_tokens = status.decode_tokens;
  r.waiting_prefill_tokens = status.waiting_prefill_tokens;
  r.running = status.running;
  r.kv_tokens = status.kv_tokens;
  r.kv_blocks = status.blocks_total;
  r.kv_groups = options.kv_groups;
  r.block_size = options.block_size;
  r.chunk = static_cast<std::int32_t>(std::clamp<std::uint32_t>(status.max_batch_tokens, 1, 1 << 20));
  if (status.profile.sane()) r.profile = status.profile;
  return r;
}

}  // namespace

std::vector<EngineReading> Router::State::readings() const {
  std::vector<EngineReading> all{reading_of(options.node_name, own_status(), options)};
  for (const auto& [name, peer] : engines.peers())
    if (peer.status.auto_roles && !peer.status.draining)
      all.push_back(reading_of(name, peer.status, options));
  return all;
}

void Router::State::control_roles(TimePoint now) {
  if (!controller || draining || now - controlled < kControlPeriod) return;
  controlled = now;
  const std::vector<EngineReading> all = readings();
  const auto move = controller->observe(all, to_seconds(now.time_since_epoch()));
  const bool leads =
      std::ranges::all_of(all, [&](const EngineReading& e) { return options.node_name <= e.node; });
  if (!move || !leads) return;
  if (auto given = give_role(move->node, move->to); !given) {
    parts.logger->warn("a role could not be given", {{"node", move->node}, {"why", given.error().message}});
    return;
  }
  note_role(*move);
}

void Router::State::note_role(const RoleMove& move) {
  parts.logger->info(
      "role moved",
      {{"node", move.node}, {"from", to_string(move.from)}, {"to", to_string(move.to)}, {"why", move.why}});
  std::lock_guard lock(view_mutex);
  changes.push_front({{"time", std::time(nullptr)},
                      {"node", move.node},
                      {"from", to_string(move.from)},
                      {"to", to_string(move.to)},
                      {"why", move.why}});
  if (changes.size() > kRememberedChanges) changes.pop_back();
}

Result<void> Router::State::give_role(const std::string& node, Role role) {
  if (node == options.node_name) {
    parts.logger->info("this engine's role changes", {{"role", to_string(role)}});
    parts.engine->set_role(role);
    tell_status();
    return {};
  }
  if (!send(node, SetRoleMessage{role}))
    return make_error(ErrorCode::unavailable, "node " + node + " is not connected");
  return {};
}

}  // namespace baton
