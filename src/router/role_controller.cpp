#include "baton/router/role_controller.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace baton {
namespace {

constexpr double kWindow = 30;     // seconds over which demand is averaged
constexpr double kWarmUp = 5;      // of demand, before anything is decided
constexpr double kPast = 300;      // seconds of demand that are remembered,
constexpr double kPastEvery = 10;  // one reading each
constexpr double kFade = 120;      // seconds after which a reading weighs 1/e
constexpr double kPastWeight = 1.0 / 3;
constexpr double kPastWorst = 5;     // a score beyond it was no worse
constexpr double kHeadroom = 1.25;   // of a split that is chosen, over the demand
constexpr double kRest = 10;         // after a change of mind was carried out
constexpr double kGoodEnough = 0.7;  // a score below it is left alone
constexpr double kGain = 0.85;       // another split must be better by this factor
constexpr double kFull = 0.95;       // a queue that is fuller than this grows without end
constexpr double kNever = 1e4;       // seconds
constexpr double kKvShare = 0.85;    // of the KV memory that running requests should take at most

using Readings = std::span<const EngineReading>;

// By the largest: one engine may just have started.
const EngineReading& typical_of(Readings engines) {
  return *std::ranges::max_element(engines, {}, [](const EngineReading& e) { return e.profile.measured; });
}

RoleController::Split split_of(Readings engines) {
  RoleController::Split split;
  for (const EngineReading& e : engines) {
    split.prefill += e.role == Role::prefill ? 1 : 0;
    split.decode += e.role == Role::decode ? 1 : 0;
  }
  return split;
}

// Mean time in a queue whose server is busy for `share` of the time: the service time and what is before it.
// Beyond kFull it grows with the excess, so that worse stays worse.
double queued(double service, double share) {
  if (share < kFull) return service / (1 - share);
  return service / (1 - kFull) * (1 + 20 * (share - kFull));
}

std::string describe(const RoleController::Split& split, std::size_t all) {
  if (split.prefill + split.decode == 0) return std::to_string(all) + " mixed";
  return std::to_string(split.prefill) + " prefill + " + std::to_string(split.decode) + " decode";
}

}  // namespace

std::optional<RoleMove> RoleController::observe(Readings engines, double now) {
  if (engines.size() < 2) return std::nullopt;
  measure(engines, now);
  if (observed_ < kWarmUp) return std::nullopt;
  if (!goal_) goal_ = better(engines, now);
  if (!goal_) return std::nullopt;
  auto move = towards(*goal_, engines);
  if (!move) {
    goal_.reset();
    rest_until_ = now + kRest;
  }
  return move;
}

// What arrives is what was computed and what now waits besides. So demand shows where engines cannot keep up,
// too.
void RoleController::measure(Readings engines, double now) {
  double prefill = 0, decode = 0, running = 0, context = 0;
  std::map<std::string, Totals> totals;
  for (const EngineReading& e : engines) {
    const Totals is{e.prefill_tokens, e.decode_tokens, e.waiting_prefill_tokens};
    totals[e.node] = is;
    running += static_cast<double>(e.running);
    context += static_cast<double>(e.kv_tokens);
    const auto was = last_.find(e.node);
    if (was == last_.end() || is.prefill < was->second.prefill || is.decode < was->second.decode) continue;
    prefill += static_cast<double>(is.prefill - was->second.prefill) + static_cast<double>(is.waiting) -
               static_cast<double>(was->second.waiting);
    decode += static_cast<double>(is.decode - was->second.decode);
  }
  last_ = std::move(totals);
  const double seconds = last_time_ ? now - *last_time_ : 0;
  last_time_ = now;
  if (seconds <= 0) return;
  observed_ += seconds;
  const double weight = 1 - std::exp(-seconds / std::min(kWindow, observed_));
  demand_.prefill += weight * (std::max(0.0, prefill / seconds) - demand_.prefill);
  demand_.decode += weight * (decode / seconds - demand_.decode);
  if (running > 0) demand_.context += weight * (context / running - demand_.context);
  remember(now);
}

void RoleController::remember(double now) {
  if (!past_.empty() && now - past_.back().time < kPastEvery) return;
  past_.push_back({now, demand_});
  while (now - past_.front().time > kPast) past_.pop_front();
}

double RoleController::cost(const Split& split, const EngineReading& typical, std::size_t engines,
                            double now) const {
  const auto score = [&](Demand demand) {
    demand.prefill *= kHeadroom;
    demand.decode *= kHeadroom;
    return std::max(predict(split, typical, engines, demand).score, kGoodEnough);
  };
  double sum = 0, weights = 0;  // at least one reading: demand has been measured
  for (const Past& past : past_) {
    const double weight = std::exp((past.time - now) / kFade);
    sum += weight * std::min(score(past.demand), kPastWorst);
    weights += weight;
  }
  return (1 - kPastWeight) * score(demand_) + kPastWeight * sum / weights;
}

std::optional<RoleController::Split> RoleController::better(Readings engines, double now) {
  if (now < rest_until_) return std::nullopt;
  const Split present = split_of(engines);
  const bool pure =
      present.prefill + present.decode == 0 || present.prefill + present.decode == engines.size();
  const EngineReading& typical = typical_of(engines);
  const std::size_t all = engines.size();
  const Outlook as_is = predict(present, typical, all, demand_);
  if (pure && as_is.score < kGoodEnough) return std::nullopt;
  const double costs = cost(present, typical, all, now);
  Split best = present;
  double least = costs;
  for (std::size_t prefill = 0; prefill < all; ++prefill) {
    const Split split = prefill == 0 ? Split{} : Split{prefill, all - prefill};
    const double there = cost(split, typical, all, now);
    if (there >= least) continue;
    best = split;
    least = there;
  }
  if (best == present || (pure && least > kGain * costs)) return std::nullopt;
  const Outlook outlook = predict(best, typical, all, demand_);
  std::array<char, 240> text{};
  std::snprintf(
      text.data(), text.size(),
      "%s instead of %s: predicted TTFT %.0f ms instead of %.0f, ITL %.1f ms instead of %.1f, at %.0f "
      "prompt and %.0f output tokens/s",
      describe(best, all).c_str(), describe(present, all).c_str(), outlook.ttft * 1e3, as_is.ttft * 1e3,
      outlook.itl * 1e3, as_is.itl * 1e3, demand_.prefill, demand_.decode);
  why_ = text.data();
  return best;
}

// One engine that has a role too many, the least busy one, to a role that lacks one.
std::optional<RoleMove> RoleController::towards(const Split& goal, Readings engines) const {
  const auto count = [&](Role role) {
    return static_cast<std::size_t>(std::ranges::count(engines, role, &EngineReading::role));
  };
  const auto wanted = [&](Role role) {
    if (role == Role::prefill) return goal.prefill;
    if (role == Role::decode) return goal.decode;
    return engines.size() - std::min(engines.size(), goal.prefill + goal.decode);
  };
  // Decode first: a prefill engine without anybody to hand over to serves nobody.
  for (const Role to : {Role::mixed, Role::decode, Role::prefill}) {
    if (count(to) >= wanted(to)) continue;
    const EngineReading* chosen = nullptr;
    for (const EngineReading& e : engines) {
      if (count(e.role) <= wanted(e.role)) continue;
      if (chosen == nullptr || e.running + (e.waiting_prefill_tokens > 0 ? 1U : 0U) <
                                   chosen->running + (chosen->waiting_prefill_tokens > 0 ? 1U : 0U))
        chosen = &e;
    }
    if (chosen != nullptr) return RoleMove{chosen->node, chosen->role, to, why_};
  }
  return std::nullopt;
}

RoleController::Outlook RoleController::judged(Outlook outlook) const {
  outlook.score = std::max({outlook.ttft / targets_.ttft, outlook.itl / targets_.itl, outlook.kv / kKvShare});
  return outlook;
}

RoleController::Outlook RoleController::predict(const Split& split, const EngineReading& typical,
                                                std::size_t engines, const Demand& demand) const {
  const auto n = static_cast<double>(engines);
  if (split.prefill == engines) {  // the decode engines are gone: nobody generates
    Outlook nothing;
    nothing.ttft = nothing.itl = kNever;
    return judged(nothing);
  }
  if (split.prefill == 0 || split.decode == 0) return predict_mixed(typical, n, demand);
  // Whoever is mixed in between counts for both.
  const double mixed = n - static_cast<double>(split.prefill + split.decode);
  return predict_split(typical, static_cast<double>(split.prefill) + mixed / 2,
                       static_cast<double>(split.decode) + mixed / 2, demand);
}

// Every engine alternates between steps with a chunk of some prompt and steps of decodes alone.
RoleController::Outlook RoleController::predict_mixed(const EngineReading& e, double engines,
                                                      const Demand& demand) const {
  const double chunk = std::max<double>(e.chunk, 1);
  const double alone = e.profile.prefill_seconds(chunk, demand.context / 2, chunk);
  const double chunks = demand.prefill / engines / chunk;  // each second
  Outlook out;
  double running = 0, share = 0;
  out.itl = e.profile.decode_seconds(1, demand.context);
  for (int i = 0; i < 20; ++i) {  // longer steps, more that run at once, longer steps
    running = demand.decode * out.itl / engines;
    const double with_chunk = alone + e.profile.kv_token * running * demand.context;
    const double pure = e.profile.decode_seconds(std::max(running, 1.0), running * demand.context);
    share = chunks * with_chunk;
    const double steps = share < 1 ? chunks + (1 - share) / pure : 1 / with_chunk;
    out.itl += 0.5 * (1 / steps - out.itl);
    out.itl = std::min(out.itl, 100 * targets_.itl);
  }
  const double own = demand.context / chunk * (alone + e.profile.kv_token * running * demand.context);
  out.ttft = queued(own, share);
  out.kv = e.kv_used(running, demand.context);
  return judged(out);
}

double EngineReading::kv_used(double requests, double context) const {
  const auto length = static_cast<std::uint64_t>(std::max(context, 1.0));
  const auto room = static_cast<double>(kv_groups.tokens_in(kv_blocks, length, block_size));
  return room > 0 ? requests * context / room : 0;
}

RoleController::Outlook RoleController::predict_split(const EngineReading& e, double prefill, double decode,
                                                      const Demand& demand) const {
  const double chunk = std::max<double>(e.chunk, 1);
  const double alone = e.profile.prefill_seconds(chunk, demand.context / 2, chunk);
  Outlook out;
  out.ttft = queued(demand.context / chunk * alone, demand.prefill / prefill * alone / chunk);
  double running = 0;
  out.itl = e.profile.decode_seconds(1, demand.context);
  for (int i = 0; i < 20; ++i) {
    running = demand.decode * out.itl / decode;
    const double step = e.profile.decode_seconds(std::max(running, 1.0), running * demand.context);
    out.itl = std::min(out.itl + 0.5 * (step - out.itl), 100 * targets_.itl);
  }
  out.kv = e.kv_used(running, demand.context);
  return judged(out);
}

}  // namespace baton
