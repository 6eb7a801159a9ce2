#include "app/signals.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>

namespace baton {

sigset_t signal_set(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

void block_signals(const sigset_t& signals) { ::pthread_sigmask(SIG_BLOCK, &signals, nullptr); }

int wait_signal(const sigset_t& signals, Duration timeout) {
  timeout = std::max(timeout, Duration(0));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timespec wait{static_cast<time_t>(seconds.count()), static_cast<long>((timeout - seconds).count())};
  return std::max(0, ::sigtimedwait(&signals, nullptr, &wait));
}

}  // namespace baton
