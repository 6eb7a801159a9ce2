// A UCX context set up as Baton wants it: settings, the registered pool, and how this machine's devices shape
// the defaults. docs/decisions/0003-ucx-wireup.md gives the reasons.
#pragma once

#include <ucp/api/ucp.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "baton/base/result.hpp"
#include "baton/transfer/ucx_transport.hpp"

namespace baton::transfer {

class UcxContext {
 public:
  static Result<std::unique_ptr<UcxContext>> make(const UcxOptions& options, Logger& logger);
  ~UcxContext();
  UcxContext(const UcxContext&) = delete;
  UcxContext& operator=(const UcxContext&) = delete;

  ucp_context_h get() const { return context_; }
  // Larger parts travel by rendezvous, smaller ones as one eager message.
  std::size_t eager_bytes() const { return rendezvous_ ? kSmallBytes : kEagerPartBytes; }
  // The largest part that is worth sending: without rendezvous, one eager message.
  std::size_t part_limit() const { return rendezvous_ ? SIZE_MAX : kEagerPartBytes; }
  // Tells UCX of the pool's registration and kind of memory where it holds all of `bytes`.
  void describe(std::span<const std::byte> bytes, ucp_request_param_t& param) const;
  bool pool_is_on_gpu() const { return on_gpu_; }  // and UCX reaches it
  bool on_gpu(std::span<const std::byte> bytes) const { return on_gpu_ && in_pool(bytes); }
  // Something of this context could not be ended cleanly: the destructor leaves it alone.
  void leak() { leaked_ = true; }

 private:
  UcxContext() = default;
  void register_pool(const UcxOptions& options, Logger& logger);
  bool in_pool(std::span<const std::byte> bytes) const;
  static constexpr std::size_t kSmallBytes = 8 << 10;        // one copy is cheaper than a round trip
  static constexpr std::size_t kEagerPartBytes = 256 << 10;  // fits TCP_RX_SEG_SIZE with its headers
  ucp_context_h context_ = nullptr;
  bool rendezvous_ = false;
  ucp_mem_h pool_ = nullptr;
  std::span<const std::byte> pool_bytes_;
  bool on_gpu_ = false;
  bool leaked_ = false;
};

Error ucx_error(ErrorCode code, const std::string& what, ucs_status_t status);

}  // namespace baton::transfer
