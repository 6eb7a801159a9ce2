// spin: how threads that compute together wait for each other at first.
#pragma once

#include <chrono>

namespace baton {

// Until done() or 50 microseconds are over; whether it was done().
template <class Done>
bool spin(Done&& done) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() < limit);
  return false;
}

}  // namespace baton
