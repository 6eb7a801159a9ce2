// ActiveRequests: every request inside one engine, from submit to its last event, and the only place that
// talks to its sink.
//
// Invariant: a sink gets tokens in order and then exactly one finish or error; after that the request is
// unknown here. Engine thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <unordered_map>

#include "baton/schedule/scheduler.hpp"
#include "baton/schedule/service.hpp"

namespace baton {

class ActiveRequests {
 public:
  using OnStop = std::function<void()>;
  struct Active {
    std::shared_ptr<TokenSink> sink;  // shared: the client's connection lives as long as either side needs it
    std::uint32_t generation = 0;
    std::optional<Request> parked;          // a decode request that waits for its KV cache
    std::string move_to;                    // where a parked one shall go on, once it has it
    std::optional<FinishEvent> handed_off;  // a prefill that has ended, until its KV cache has a place to go
    HandoffInfo handoff;
    std::unique_ptr<std::stop_callback<OnStop>> on_stop;
  };

  bool empty() const { return active_.empty(); }
  std::size_t size() const { return active_.size(); }
  Active* find(const RequestKey& key) {
    const auto found = active_.find(key);
    return found == active_.end() ? nullptr : &found->second;
  }
  Active& add(const RequestKey& key, Active active) {
    return active_.insert_or_assign(key, std::move(active)).first->second;
  }

  void token(const TokenEvent& event) {
    if (Active* active = find(event.key)) active->sink->on_token(event);
  }
  void finish(const FinishEvent& event) {
    if (auto sink = remove(event.key)) sink->on_finish(event);
  }
  void fail(const RequestKey& key, const Error& error) {
    if (auto sink = remove(key)) sink->on_error(error);
  }
  void fail_all(const Error& error) {
    while (!active_.empty()) fail(active_.begin()->first, error);
  }

 private:
  std::shared_ptr<TokenSink> remove(const RequestKey& key) {
    const auto found = active_.find(key);
    if (found == active_.end()) return nullptr;
    std::shared_ptr<TokenSink> sink = std::move(found->second.sink);
    active_.erase(found);
    return sink;
  }

  std::unordered_map<RequestKey, Active, RequestKeyHasher> active_;
};

// A finished sequence as the event its client sees.
FinishEvent finish_event(const Sequence& sequence, FinishReason reason, const HandoffInfo& handoff);

}  // namespace baton
