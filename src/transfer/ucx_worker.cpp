#include "ucx_worker.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace baton::transfer {

Result<std::unique_ptr<UcxWorker>> UcxWorker::make(UcxContext& context) {
  std::unique_ptr<UcxWorker> made(new UcxWorker);
  made->wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (made->wake_fd_ < 0) return make_error(ErrorCode::io, std::string("eventfd: ") + std::strerror(errno));
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;  // made here, then used by the transfer thread alone
  if (const ucs_status_t status = ucp_worker_create(context.get(), &params, &made->worker_); status != UCS_OK)
    return ucx_error(ErrorCode::unavailable, "UCX worker", status);
  if (const ucs_status_t status = ucp_worker_get_efd(made->worker_, &made->network_fd_); status != UCS_OK)
    return ucx_error(ErrorCode::unavailable, "UCX worker without an event fd", status);
  return made;
}

UcxWorker::~UcxWorker() {
  if (worker_ != nullptr && !leaked_) ucp_worker_destroy(worker_);
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

void UcxWorker::sleep(int milliseconds, const std::function<bool()>& has_work) {
  asleep_ = true;
  // Armed only when every event was progressed; otherwise there is more to do (UCS_ERR_BUSY).
  if (!has_work() && ucp_worker_arm(worker_) == UCS_OK) {
    pollfd fds[2] = {{network_fd_, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
    (void)::poll(fds, 2, milliseconds);
    if ((fds[1].revents & POLLIN) != 0) {
      std::uint64_t count = 0;
      (void)!::read(wake_fd_, &count, sizeof count);
    }
  }
  asleep_ = false;
}

void UcxWorker::wake() {
  if (!asleep_) return;
  const std::uint64_t one = 1;
  (void)!::write(wake_fd_, &one, sizeof one);
}

}  // namespace baton::transfer
