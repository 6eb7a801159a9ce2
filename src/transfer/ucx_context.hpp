// A UCX context set up as Baton wants it: settings, the registered pool, and how this machine's devices shape
// the defaults. docs/decisions/0003-ucx-wireup.md gives the reasons.
#pragma once

#include <ucp/api/ucp.h>

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
  // The pool's registration where it holds all of `bytes`; else null.
  ucp_mem_h registration_of(std::span<const std::byte> bytes) const;
  // Something of this context could not be ended cleanly: the destructor leaves it alone.
  void leak() { leaked_ = true; }

 private:
  UcxContext() = default;
  ucp_context_h context_ = nullptr;
  ucp_mem_h pool_ = nullptr;
  std::span<const std::byte> pool_bytes_;
  bool leaked_ = false;
};

Error ucx_error(ErrorCode code, const std::string& what, ucs_status_t status);

}  // namespace baton::transfer
