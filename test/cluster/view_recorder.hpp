// Watches a Membership, checks what holds for every watcher, and waits for views.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "baton/cluster/membership.hpp"
#include "support/sockets.hpp"

namespace baton::test {

using Addresses = std::vector<std::string>;

class ViewRecorder {
 public:
  Membership::Watcher watcher() {
    return [this](const Addresses& addresses) {
      if (inside_.exchange(true)) overlapped_ = true;
      Addresses sorted = addresses;
      std::sort(sorted.begin(), sorted.end());
      if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) repeated_ = true;
      {
        std::lock_guard lock(mutex_);
        views_.push_back(std::move(sorted));
        changed_.notify_all();
      }
      inside_ = false;
    };
  }
  // The last view becomes this (in any order), and the watcher was called as promised so far.
  bool sees(Addresses expected) {
    std::sort(expected.begin(), expected.end());
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return !views_.empty() && views_.back() == expected; }) &&
           !overlapped_ && !repeated_;
  }
  Addresses last() {
    std::lock_guard lock(mutex_);
    return views_.empty() ? Addresses{"never called"} : views_.back();
  }
  std::size_t calls() {
    std::lock_guard lock(mutex_);
    return views_.size();
  }

 private:
  std::atomic<bool> inside_{false};
  std::atomic<bool> overlapped_{false};
  std::atomic<bool> repeated_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Addresses> views_;
};

inline NodeInfo named(const std::string& name) {
  NodeInfo info;
  info.name = name;
  return info;
}

// What holds for every Membership that will come to know `expected`.
inline void check_membership(std::unique_ptr<Membership> membership, const Addresses& expected) {
  ViewRecorder view;
  membership->watch(view.watcher());
  CHECK(view.calls() >= 1);  // before watch() returns
  CHECK(view.sees(expected));
  CHECK(membership->announce(named("contract"), "127.0.0.1:7000"));
  membership->leave();
  membership->leave();
  membership.reset();
  const std::size_t calls = view.calls();
  std::this_thread::sleep_for(20ms);
  CHECK(view.calls() == calls);
}

}  // namespace baton::test
