#include "baton/base/fault.hpp"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace baton {
namespace {

struct Rule {
  FaultAction action = FaultAction::none;
  std::uint64_t argument = 0;
  std::uint64_t only_hit = 0;  // 0: every hit
  double share = 1;            // of the hits
  std::uint64_t hits = 0;
};

std::optional<FaultAction> parse_action(std::string_view name) {
  if (name == "hold") return FaultAction::hold;
  if (name == "fail") return FaultAction::fail;
  if (name == "drop") return FaultAction::drop;
  if (name == "corrupt") return FaultAction::corrupt;
  if (name == "truncate") return FaultAction::truncate;
  if (name == "kill") return FaultAction::kill;
  return std::nullopt;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<double> parse_percent(std::string_view text) {
  double percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc() || end != text.data() + text.size() || !(percent >= 0 && percent <= 100))
    return std::nullopt;
  return percent;
}

// Cuts `text` at the mark; what stood behind it.
std::optional<std::string_view> cut(std::string_view& text, char mark) {
  const auto at = text.find(mark);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view tail = text.substr(at + 1);
  text = text.substr(0, at);
  return tail;
}

Result<std::pair<std::string, Rule>> parse_rule(std::string_view text) {
  const auto bad = [&] {
    return make_error(ErrorCode::invalid_argument,
                      "fault '" + std::string(text) +
                          "' is not point=hold|fail|drop|corrupt|truncate|kill[:argument][@n][%p]",
                      "fault");
  };
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return bad();
  std::string_view rest = text.substr(equals + 1);
  Rule rule;
  if (const auto tail = cut(rest, '%')) {
    const auto percent = parse_percent(*tail);
    if (!percent) return bad();
    rule.share = *percent / 100;
  }
  if (const auto tail = cut(rest, '@')) {
    const auto number = parse_number(*tail);
    if (!number || *number == 0) return bad();
    rule.only_hit = *number;
  }
  if (const auto tail = cut(rest, ':')) {
    const auto number = parse_number(*tail);
    if (!number) return bad();
    rule.argument = *number;
  }
  const auto action = parse_action(rest);
  if (!action) return bad();
  rule.action = *action;
  return std::pair{std::string(text.substr(0, equals)), rule};
}

using Rules = std::map<std::string, std::vector<Rule>, std::less<>>;

}  // namespace

struct FaultPoints::State {
  std::mutex mutex;
  Rules rules;
  std::mt19937_64 dice;
};

FaultPoints::FaultPoints() : state_(std::make_unique<State>()) {}
FaultPoints::~FaultPoints() = default;

Result<void> FaultPoints::configure(std::string_view spec) {
  Rules rules;
  std::uint64_t seed = 1;
  while (!spec.empty()) {
    const auto comma = spec.find(',');
    const std::string_view part = spec.substr(0, comma);
    if (part.starts_with("seed=")) {
      const auto number = parse_number(part.substr(5));
      if (!number) return make_error(ErrorCode::invalid_argument, "seed= needs a number", "fault");
      seed = *number;
    } else {
      auto rule = parse_rule(part);
      if (!rule) return rule.error();
      rules[rule->first].push_back(rule->second);
    }
    spec = comma == std::string_view::npos ? std::string_view{} : spec.substr(comma + 1);
  }
  std::lock_guard lock(state_->mutex);
  armed_ = !rules.empty();
  state_->rules = std::move(rules);
  state_->dice.seed(seed);
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
    for (Rule& rule : found->second) {
      ++rule.hits;
      if (action != FaultAction::none || (rule.only_hit != 0 && rule.hits != rule.only_hit)) continue;
      if (rule.share < 1 && std::uniform_real_distribution<>()(state_->dice) >= rule.share) continue;
      action = rule.action;
      argument = rule.argument;
    }
  }
  if (action == FaultAction::hold) std::this_thread::sleep_for(std::chrono::milliseconds(argument));
  if (action == FaultAction::kill) ::kill(::getpid(), SIGKILL);
  return action;
}

}  // namespace baton
