// A ucp_worker that can be waited on: progress until nothing moves, then sleep on its event fd and ours.
//
// Everything but wake() belongs to one thread. Invariant of sleeping: a wake() after the caller's last look
// at its queue ends the sleep at once.
#pragma once

#include <ucp/api/ucp.h>

#include <atomic>
#include <functional>
#include <memory>

#include "ucx_context.hpp"

namespace baton::transfer {

class UcxWorker {
 public:
  static Result<std::unique_ptr<UcxWorker>> make(UcxContext& context);
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  ucp_worker_h get() const { return worker_; }
  unsigned progress() { return ucp_worker_progress(worker_); }
  // Returns when the network has something, after wake(), or after `milliseconds`; at once if `has_work` says
  // so after the worker was announced asleep.
  void sleep(int milliseconds, const std::function<bool()>& has_work);
  void wake();  // from any thread
  // It cannot be destroyed cleanly: the destructor leaves it alone.
  void leak() { leaked_ = true; }

 private:
  UcxWorker() = default;
  ucp_worker_h worker_ = nullptr;
  int network_fd_ = -1;  // owned by the worker
  int wake_fd_ = -1;
  std::atomic<bool> asleep_{false};
  bool leaked_ = false;
};

}  // namespace baton::transfer
