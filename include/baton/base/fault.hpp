// Named points at which a test or an operator's drill makes something go wrong. Off (one relaxed load) unless
// configured.
//
// A spec is "point=action[:argument][@n][%p]", comma-separated, e.g.
// "engine.prefill=hold:5000,transfer.send=corrupt@3,transfer.send=drop%1.5". Actions: hold (milliseconds: a
// delay, or a stall where it is long), fail, drop, corrupt, truncate, kill. "@n" fires on the n-th hit only,
// "%p" on p percent of them, drawn from the seed "seed=N" (1). A point may have several rules: the first that
// fires counts. Points are named where they are: grep for `faults`.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton {

enum class FaultAction : std::uint8_t { none, hold, fail, drop, corrupt, truncate, kill };

class FaultPoints {
 public:
  FaultPoints();
  ~FaultPoints();
  // Replaces all points. invalid_argument names the bad part. Thread-safe.
  Result<void> configure(std::string_view spec);
  // What to do here. `hold` has already slept and `kill` has already ended the process when this returns.
  FaultAction hit(std::string_view point);

 private:
  struct State;
  std::atomic<bool> armed_{false};
  std::unique_ptr<State> state_;
};

}  // namespace baton
