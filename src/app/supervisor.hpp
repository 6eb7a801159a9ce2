// The process above several daemons (`baton serve --devices`): starts one for each device, starts those again
// that die, passes signals on, and ends when they have.
//
// It serves nothing, computes nothing and has one thread, so there is little that it could die of; when it
// does, its daemons die with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/log.hpp"

namespace baton {

// How long a daemon that died is left alone: 1 s, then twice as long each time up to 30 s, from the beginning
// where it had run for a minute.
class RestartPause {
 public:
  Duration next(Duration ran);

 private:
  Duration pause_ = std::chrono::seconds(1);
};

struct SupervisedDaemon {
  std::string device;  // with the HTTP port, what the log calls it
  std::int32_t port = 0;
  std::vector<std::string> arguments;  // of this program
};

// Exit status of `baton serve` for one that ran and said itself that it cannot: what it is told is wrong (2),
// or the model, a port, a device or memory is not to be had (1). Its own errors have others.
bool cannot_serve(int exit_status);

// Returns the exit status: 0 once all have drained after SIGTERM or SIGINT; 130 on a second one; that of a
// daemon whose very first start says that it cannot serve, which would only say so again and again.
//
// The first daemon drains before the others: it is the one that clients know, and its requests need them.
// What has not ended `drain_timeout` and a few seconds after the signal is killed, and the status is 1.
int supervise(const std::vector<SupervisedDaemon>& daemons, Duration drain_timeout, const Clock& clock,
              Logger& logger);

}  // namespace baton
