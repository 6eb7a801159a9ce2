// OpsGroup: several devices that compute one model together, each a share of every layer (tensor parallelism,
// arXiv 1909.08053). Each rank is an Ops with a thread of its own, which runs the same forward pass as a lone
// one; the ranks meet in all_reduce and gather_columns only.
//
// When a rank cannot go on, the others would wait for it for ever: whoever sees that calls interrupt(). When
// all ranks have settled (Ops::settle), rejoin() makes the group whole again.
#pragma once

#include <cstdint>
#include <memory>

#include "baton/base/result.hpp"
#include "baton/tensor/ops.hpp"

namespace baton {

inline constexpr std::int32_t kMostRanks = 8;

class OpsGroup {
 public:
  virtual ~OpsGroup() = default;
  virtual std::int32_t width() const = 0;
  virtual Ops& rank(std::int32_t index) = 0;
  // From any thread. Who waits for another rank, or would, throws DeviceFailure until rejoin().
  virtual void interrupt() noexcept = 0;
  // Of devices that go on by themselves: whether one waited for another in vain, since rejoin(). Known when
  // all have settled; what the ranks have computed since then means nothing.
  virtual bool gave_up() const noexcept { return false; }
  // While no rank computes.
  virtual void rejoin() noexcept = 0;
};

// On the CPU the threads of `options` are shared out; on GPUs the ranks are the GPUs from options.device on.
// invalid_argument beyond kMostRanks, unsupported names what is missing.
Result<std::unique_ptr<OpsGroup>> make_ops_group(const OpsOptions& options, std::int32_t width);

}  // namespace baton
