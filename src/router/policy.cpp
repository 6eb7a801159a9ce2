#include "baton/router/policy.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <tuple>

namespace baton {
namespace {

constexpr std::array<std::string_view, 4> kNames{"kv", "round_robin", "least_loaded", "random"};
constexpr double kReuse =
    0.25;  // how often a cached block is hit again before it is evicted: production traces
constexpr std::size_t kShortlist = 8;  // of each phase, before pairs are looked at

using Candidates = std::span<const Candidate>;
using Choices = std::vector<const Candidate*>;

Choices prefillers(Candidates candidates) {
  Choices found;
  for (const Candidate& c : candidates)
    if (c.role != Role::decode) found.push_back(&c);
  for (const Candidate& c : candidates)
    if (found.empty() || found.front()->role == Role::decode) found.push_back(&c);
  return found;
}

Choices decoders(Candidates candidates, const std::string* avoid = nullptr) {
  Choices found;
  for (const Candidate& c : candidates)
    if (c.role != Role::prefill && (avoid == nullptr || c.node != *avoid)) found.push_back(&c);
  return found;
}

Error nobody(const char* phase) {
  return make_error(ErrorCode::unavailable, std::string("no ") + phase + "engine is reachable");
}

// What of the prompt must be computed; its last token always is.
double uncached_tokens(const RouteQuery& query, const Candidate& c) {
  const double held = static_cast<double>(c.held_blocks) * query.block_size;
  const double prompt = static_cast<double>(query.prompt_tokens);
  return prompt - std::min(held, std::max(prompt - 1, 0.0));
}

double expected_output(const RouteQuery& query) {
  return std::clamp(query.expected_tokens, 1.0, std::max<double>(query.max_tokens, 1));
}

// Prefill on an engine that decodes, too: each of its steps carries their rows as well.
double prefill_time(const Candidate& c, double tokens, double cached) {
  const double steps = std::max(1.0, tokens / std::max<double>(c.chunk, 1));
  return c.profile.prefill_seconds(tokens, cached, c.chunk) +
         steps * c.profile.kv_token * static_cast<double>(c.kv_tokens);
}

void add_prefill(RouteCost& cost, const RouteQuery& query, const Candidate& c) {
  const double tokens = uncached_tokens(query, c), cached = static_cast<double>(query.prompt_tokens) - tokens;
  const auto waiting = static_cast<double>(c.waiting_prefill_tokens);
  if (waiting > 0) cost.queue += prefill_time(c, waiting, 0);
  const double own = prefill_time(c, tokens, cached);
  cost.prefill += own;
  if (c.role != Role::prefill) cost.slowdown += own * c.running;  // they get a row in each of its long steps
}

void add_decode(RouteCost& cost, const RouteQuery& query, const Candidate& c) {
  const double running = c.running, context = static_cast<double>(c.kv_tokens),
               prompt = static_cast<double>(query.prompt_tokens);
  const double output = expected_output(query);
  const double before = running > 0 ? c.profile.decode_seconds(running, context) : 0;
  const double after = c.profile.decode_seconds(running + 1, context + prompt + output / 2);
  cost.decode += output * after;
  // The others have half of their output before them, on average.
  cost.slowdown += running * std::max(0.0, after - before) * output / 2;
  // Room comes as requests end: one of `running` in each output / running steps, with its context.
  const double missing = prompt - static_cast<double>(c.free_tokens);
  double leaving = c.waiting;
  if (missing > 0 && running > 0) leaving += std::max(1.0, missing / std::max(1.0, context / running));
  if (running > 0) cost.wait += leaving * output * after / running;
}

// Its first steps there carry chunks of the prompts that wait there.
void add_stall(RouteCost& cost, const RouteQuery& query, const Candidate& c) {
  const auto waiting = static_cast<double>(c.waiting_prefill_tokens);
  if (waiting <= 0) return;
  const double steps = waiting / std::max<double>(c.chunk, 1);
  cost.wait += prefill_time(c, waiting, 0) * std::min(1.0, expected_output(query) / steps);
}

void add_transfer(RouteCost& cost, const RouteQuery& query, const Candidate& prefill,
                  const Candidate& decode) {
  const auto prompt = static_cast<double>(query.prompt_tokens);
  const double moved =
      decode.profile.tokens_sent(static_cast<double>(decode.held_blocks) * query.block_size, prompt, prompt);
  const double last = std::min<double>(moved, prefill.chunk);  // leaves when its chunk is done
  // Whoever receives has measured its links.
  const double before = decode.profile.link_token * (moved - last);
  cost.transfer += std::max(0.0, before - cost.prefill) + decode.profile.transfer_seconds(last);
  // Two engines hold the prompt afterwards: the copy takes the place of cached blocks that others would have
  // hit.
  if (decode.role != Role::decode) cost.slowdown += kReuse * decode.profile.token * moved;
}

// An engine's part of the cost of any route through it, computed once for all of them.
struct Priced {
  const Candidate* engine = nullptr;
  RouteCost part;
  double total = 0;
};

RouteCost operator+(const RouteCost& a, const RouteCost& b) {
  return {a.queue + b.queue, a.prefill + b.prefill, a.transfer + b.transfer,
          a.wait + b.wait,   a.decode + b.decode,   a.slowdown + b.slowdown};
}

// The name breaks ties, so that all daemons agree.
bool is_cheaper(const Priced& a, const Priced& b) {
  return a.total != b.total ? a.total < b.total : a.engine->node < b.engine->node;
}

// The cheapest `keep` engines by the part that `add(cost, query, engine)` computes, in order. Most engines
// are dearer than all of these: one comparison each.
template <class Add>
std::vector<Priced> price(const RouteQuery& query, const Choices& engines, std::size_t keep, const Add& add) {
  std::vector<Priced> cheapest;
  cheapest.reserve(std::min(keep, engines.size()) + 1);
  for (const Candidate* engine : engines) {
    Priced priced{engine, {}, 0};
    add(priced.part, query, *engine);
    priced.total = priced.part.total();
    if (cheapest.size() == keep && !is_cheaper(priced, cheapest.back())) continue;
    cheapest.insert(std::ranges::upper_bound(
                        cheapest, priced, [](const Priced& a, const Priced& b) { return is_cheaper(a, b); }),
                    priced);
    if (cheapest.size() > keep) cheapest.pop_back();
  }
  return cheapest;
}

void add_generation(RouteCost& cost, const RouteQuery& query, const Candidate& c) {
  add_decode(cost, query, c);
  add_stall(cost, query, c);
}

struct PricedRoute {
  const Candidate* prefill = nullptr;
  const Candidate* decode = nullptr;
  RouteCost cost;
  double total = 0;
  Route route() const { return {prefill->node, decode->node, cost}; }
};

bool is_cheaper(const PricedRoute& a, const PricedRoute& b) {
  if (a.total != b.total) return a.total < b.total;
  return std::tie(a.prefill->node, a.decode->node) < std::tie(b.prefill->node, b.decode->node);
}

// Both phases on one engine, where that may generate, and each pair.
template <class Use>
void for_each_route(const RouteQuery& query, const std::vector<Priced>& first,
                    const std::vector<Priced>& second, const Use& use) {
  const bool one_phase = query.max_tokens <= 1;
  for (const Priced& prefill : first) {
    const Candidate& computes = *prefill.engine;
    if (computes.role != Role::prefill || one_phase) {
      RouteCost cost = prefill.part;
      if (!one_phase) add_decode(cost, query, computes);
      use(PricedRoute{&computes, &computes, cost, cost.total()});
    }
    if (one_phase || computes.role == Role::decode) continue;
    for (const Priced& decode : second) {
      if (decode.engine == prefill.engine) continue;
      RouteCost cost = prefill.part + decode.part;
      add_transfer(cost, query, computes, *decode.engine);
      use(PricedRoute{&computes, decode.engine, cost, cost.total()});
    }
  }
}

class KvPolicy final : public RoutingPolicy {
 public:
  Result<Route> choose(const RouteQuery& query, Candidates candidates) override {
    const Choices first = prefillers(candidates);
    if (first.empty()) return nobody("");
    const bool one_engine = query.max_tokens <= 1;
    const Choices second = one_engine ? Choices{} : decoders(candidates);
    if (second.empty() && !one_engine) return nobody("decode ");
    std::optional<PricedRoute> best;
    for_each_route(query, price(query, first, kShortlist, add_prefill),
                   price(query, second, kShortlist, add_generation), [&](const PricedRoute& route) {
                     if (!best || is_cheaper(route, *best)) best = route;
                   });
    return best->route();
  }

  Result<std::string> choose_decode(const RouteQuery& query, Candidates candidates,
                                    const std::string& avoid) override {
    const Choices able = decoders(candidates, &avoid);
    if (able.empty()) return nobody("decode ");
    // It computes again what it does not hold, so both phases count.
    const auto whole = [](RouteCost& cost, const RouteQuery& q, const Candidate& c) {
      add_prefill(cost, q, c);
      add_decode(cost, q, c);
    };
    return price(query, able, 1, whole).front().engine->node;
  }
};

// The policies for comparison differ in how they pick one of several engines for a phase.
class SimplePolicy : public RoutingPolicy {
 public:
  Result<Route> choose(const RouteQuery& query, Candidates candidates) final {
    const Choices first = prefillers(candidates);
    if (first.empty()) return nobody("");
    const Candidate& prefill = pick(first, 0);
    if (prefill.role != Role::prefill || query.max_tokens <= 1) return Route{prefill.node, prefill.node, {}};
    auto decode = choose_decode(query, candidates, prefill.node);
    if (!decode) return decode.error();
    return Route{prefill.node, *decode, {}};
  }

  Result<std::string> choose_decode(const RouteQuery&, Candidates candidates,
                                    const std::string& avoid) final {
    const Choices able = decoders(candidates, &avoid);
    if (able.empty()) return nobody("decode ");
    return pick(able, 1).node;
  }

 private:
  virtual const Candidate& pick(const Choices& choices, std::size_t phase) = 0;
};

class RoundRobin final : public SimplePolicy {
  const Candidate& pick(const Choices& choices, std::size_t phase) override {
    return *choices[turn_[phase]++ % choices.size()];
  }
  std::array<std::size_t, 2> turn_{};
};

class Random final : public SimplePolicy {
 public:
  explicit Random(std::uint64_t seed) : dice_(seed) {}

 private:
  const Candidate& pick(const Choices& choices, std::size_t) override {
    return *choices[std::uniform_int_distribution<std::size_t>(0, choices.size() - 1)(dice_)];
  }
  std::mt19937_64 dice_;
};

class LeastLoaded final : public SimplePolicy {
  const Candidate& pick(const Choices& choices, std::size_t) override {
    return **std::ranges::min_element(
        choices, {}, [](const Candidate* c) { return std::tuple(c->running + c->waiting, c->node); });
  }
};

}  // namespace

std::vector<Route> predicted_routes(const RouteQuery& query, Candidates candidates, std::size_t limit) {
  std::vector<PricedRoute> priced;
  const std::size_t all = candidates.size();
  for_each_route(query, price(query, prefillers(candidates), all, add_prefill),
                 price(query, decoders(candidates), all, add_generation),
                 [&](const PricedRoute& route) { priced.push_back(route); });
  std::ranges::sort(priced, [](const PricedRoute& a, const PricedRoute& b) { return is_cheaper(a, b); });
  std::vector<Route> routes;
  for (const PricedRoute& route : priced)
    if (routes.size() < limit) routes.push_back(route.route());
  return routes;
}

std::span<const std::string_view> policy_names() { return kNames; }

std::unique_ptr<RoutingPolicy> make_policy(std::string_view name, std::uint64_t seed) {
  if (name == "kv") return std::make_unique<KvPolicy>();
  if (name == "round_robin") return std::make_unique<RoundRobin>();
  if (name == "least_loaded") return std::make_unique<LeastLoaded>();
  if (name == "random") return std::make_unique<Random>(seed);
  return nullptr;
}

}  // namespace baton
