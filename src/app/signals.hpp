// Signals as things to wait for: blocked in every thread, and taken by whoever waits.
#pragma once

#include <csignal>
#include <initializer_list>

#include "baton/base/clock.hpp"

namespace baton {

constexpr int kStoppedAtOnce = 130;  // exit status after a second SIGTERM or SIGINT

sigset_t signal_set(std::initializer_list<int> signals);

// In this thread and those that it starts later.
void block_signals(const sigset_t& signals);

// One of them, waited for at most so long; 0: none came.
int wait_signal(const sigset_t& signals, Duration timeout);

}  // namespace baton
