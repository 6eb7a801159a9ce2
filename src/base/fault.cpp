#include "baton/base/fault.hpp"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <map>
#include <mutex>
#include <thread>

namespace baton {
namespace {

struct Rule {
  FaultAction action = FaultAction::none;
  std::uint64_t argument = 0;
  std::uint64_t only_hit = 0;  // 0: every hit
  std::uint64_t hits = 0;
};

std::optional<FaultAction> parse_action(std::string_view name) {
  if (name == "hold") return FaultAction::hold;
  if (name == "fail") return FaultAction::fail;
  if (name == "drop") return FaultAction::drop;
  if (name == "corrupt") return FaultAction::corrupt;
  if (name == "kill") return FaultAction::kill;
  return std::nullopt;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Result<std::pair<std::string, Rule>> parse_rule(std::string_view text) {
  const auto bad = [&] {
    return make_error(
        ErrorCode::invalid_argument,
        "fault '" + std::string(text) + "' is not point=hold|fail|drop|corrupt|kill[:argument][@n]", "fault");
  };
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return bad();
  std::string_view rest = text.substr(equals + 1);
  Rule rule;
  if (const auto at = rest.find('@'); at != std::string_view::npos) {
    const auto number = parse_number(rest.substr(at + 1));
    if (!number || *number == 0) return bad();
    rule.only_hit = *number;
    rest = rest.substr(0, at);
  }
  if (const auto colon = rest.find(':'); colon != std::string_view::npos) {
    const auto number = parse_number(rest.substr(colon + 1));
    if (!number) return bad();
    rule.argument = *number;
    rest = rest.substr(0, colon);
  }
  const auto action = parse_action(rest);
  if (!action) return bad();
  rule.action = *action;
  return std::pair{std::string(text.substr(0, equals)), rule};
}

}  // namespace

struct FaultPoints::State {
  std::mutex mutex;
  std::map<std::string, Rule, std::less<>> rules;
};

FaultPoints::FaultPoints() : state_(std::make_unique<State>()) {}
FaultPoints::~FaultPoints() = default;

Result<void> FaultPoints::configure(std::string_view spec) {
  std::map<std::string, Rule, std::less<>> rules;
  while (!spec.empty()) {
    const auto comma = spec.find(',');
    auto rule = parse_rule(spec.substr(0, comma));
    if (!rule) return rule.error();
    rules.insert_or_assign(rule->first, rule->second);
    spec = comma == std::string_view::npos ? std::string_view{} : spec.substr(comma + 1);
  }
  std::lock_guard lock(state_->mutex);
  armed_ = !rules.empty();
  state_->rules = std::move(rules);
  return {};
}

FaultAction FaultPoints::hit(std::string_view point) {
  if (!armed_.load(std::memory_order_relaxed)) return FaultAction::none;
  FaultAction action = FaultAction::none;
  std::uint64_t argument = 0;
  {
    std::lock_guard lock(state_->mutex);
    const auto found = state_->rules.find(point);
    if (found == state_->rules.end()) return FaultAction::none;
    Rule& rule = found->second;
    ++rule.hits;
    if (rule.only_hit != 0 && rule.hits != rule.only_hit) return FaultAction::none;
    action = rule.action;
    argument = rule.argument;
  }
  if (action == FaultAction::hold) std::this_thread::sleep_for(std::chrono::milliseconds(argument));
  if (action == FaultAction::kill) ::kill(::getpid(), SIGKILL);
  return action;
}

}  // namespace baton
