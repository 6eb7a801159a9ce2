// A TokenSink that remembers everything and can be waited for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "baton/schedule/service.hpp"

namespace baton::test {

class CollectingSink final : public TokenSink {
 public:
  void on_token(const TokenEvent& event) override {
    {
      std::lock_guard lock(mutex_);
      if (event.index != tokens_.size() || ended_) misordered_ = true;
      tokens_.push_back(event.token.token);
    }
    changed_.notify_all();
  }
  void on_finish(const FinishEvent& event) override {
    {
      std::lock_guard lock(mutex_);
      if (ended_) misordered_ = true;
      finish_ = event;
      ended_ = true;
    }
    changed_.notify_all();
  }
  void on_error(const Error& error) override {
    {
      std::lock_guard lock(mutex_);
      if (ended_) misordered_ = true;
      error_ = error;
      ended_ = true;
    }
    changed_.notify_all();
  }

  // False where it did not happen in time.
  bool wait_end(std::chrono::milliseconds timeout = std::chrono::minutes(2)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return ended_; });
  }
  bool wait_tokens(std::size_t n, std::chrono::milliseconds timeout = std::chrono::minutes(2)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return tokens_.size() >= n || ended_; }) &&
           tokens_.size() >= n;
  }

  std::vector<TokenId> tokens() const {
    std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::optional<FinishEvent> finish() const {
    std::lock_guard lock(mutex_);
    return finish_;
  }
  std::optional<Error> error() const {
    std::lock_guard lock(mutex_);
    return error_;
  }
  bool misordered() const {
    std::lock_guard lock(mutex_);
    return misordered_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenId> tokens_;
  std::optional<FinishEvent> finish_;
  std::optional<Error> error_;
  bool ended_ = false;
  bool misordered_ = false;
};

}  // namespace baton::test
