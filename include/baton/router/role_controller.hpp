// RoleController: which engine should have which role, so that the TTFT and ITL targets hold. `--roles auto`.
//
// It measures demand (prompt tokens to compute and output tokens, each second), predicts by the engines' own
// PerfProfiles what every split into prefill and decode engines would give, and all engines mixed, and moves
// engines, one at a time, when another split is clearly better and the present one is not good enough. So it
// does not flap: it acts on means over half a minute, leaves well alone, and rests between two changes of
// mind. Pure: readings and the time are given; the simulator asks the same object.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "baton/schedule/perf_model.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton {

struct RoleTargets {
  double ttft = 2;     // seconds
  double itl = 0.025;  // seconds
};

// One engine at one moment. Totals are since its start and may fall back to zero (a new life).
struct EngineReading {
  std::string node;
  Role role = Role::mixed;
  std::uint64_t prefill_tokens = 0, decode_tokens = 0;  // computed so far
  std::uint64_t waiting_prefill_tokens = 0;
  std::uint64_t running = 0;
  std::uint64_t kv_tokens = 0;  // contexts of the running requests, added up
  std::uint64_t kv_blocks = 0;
  KvGroups kv_groups = {};
  std::int32_t block_size = 16;
  std::int32_t chunk = 512;  // rows of a step
  PerfProfile profile;

  // The share of its KV memory that so many requests of so many tokens each take; 0: not known.
  double kv_used(double requests, double context) const;
};

struct RoleMove {
  std::string node;
  Role from = Role::mixed, to = Role::mixed;
  std::string why;
};

class RoleController {
 public:
  explicit RoleController(const RoleTargets& targets) : targets_(targets) {}
  // Every second or so, with all engines that take part; `now` in seconds. At most one move, which the caller
  // carries out: the next readings show it.
  std::optional<RoleMove> observe(std::span<const EngineReading> engines, double now);

  // How the cluster's engines are divided. Nobody in prefill or decode: all are mixed.
  struct Split {
    std::size_t prefill = 0, decode = 0;
    bool operator==(const Split&) const = default;
  };
  // What a split would give at the measured demand.
  struct Outlook {
    double ttft = 0, itl = 0;  // seconds
    double kv = 0;             // share of the decoding engines' KV memory
    double score = 0;          // the worst of them by its target: at most 1 is good
  };

 private:
  struct Demand {
    double prefill = 0, decode = 0;  // tokens each second
    double context = 1;              // tokens of a running request
  };
  void measure(std::span<const EngineReading> engines, double now);
  void remember(double now);
  // `engines` engines like `typical`.
  Outlook predict(const Split& split, const EngineReading& typical, std::size_t engines,
                  const Demand& demand) const;
  Outlook predict_mixed(const EngineReading& typical, double engines, const Demand& demand) const;
  Outlook predict_split(const EngineReading& typical, double prefill, double decode,
                        const Demand& demand) const;
  // What a split costs now and would have cost lately: a split that serves both beats one that must change
  // again.
  double cost(const Split& split, const EngineReading& typical, std::size_t engines, double now) const;
  Outlook judged(Outlook outlook) const;
  std::optional<Split> better(std::span<const EngineReading> engines, double now);
  std::optional<RoleMove> towards(const Split& goal, std::span<const EngineReading> engines) const;

  const RoleTargets targets_;
  struct Totals {
    std::uint64_t prefill = 0, decode = 0, waiting = 0;
  };
  std::map<std::string, Totals> last_;
  std::optional<double> last_time_;
  double observed_ = 0;  // seconds of demand measured
  Demand demand_;
  struct Past {
    double time = 0;
    Demand demand;
  };
  std::deque<Past> past_;
  std::optional<Split> goal_;
  std::string why_;
  double rest_until_ = 0;
};

}  // namespace baton
