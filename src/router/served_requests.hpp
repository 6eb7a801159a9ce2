// ServedRequests: requests that this daemon's engine computes for other daemons, which accepted them.
//
// Router thread only, but for the sinks it makes: those send from the engine's thread straight to the
// accepting daemon.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <unordered_map>

#include "baton/engine/engine.hpp"
#include "baton/peer/messages.hpp"

namespace baton {

class ServedRequests {
 public:
  using Send = std::function<bool(const std::string& node, const Message&)>;
  using Post = std::function<void(std::function<void()>)>;
  ServedRequests(Send send, Post post) : send_(std::move(send)), post_(std::move(post)) {}

  void submit(InferenceService& engine, const std::string& from, SubmitMessage message);
  void cancel(const std::string& from, const CancelMessage& message);
  void peer_down(const std::string& node);  // nobody waits for its requests any more
  std::size_t size() const { return served_.size(); }

 private:
  struct Served {
    std::string from;
    std::uint32_t generation = 0;
    std::stop_source stop;
  };
  void done(const RequestKey& key, std::uint32_t generation);

  Send send_;
  Post post_;
  std::unordered_map<RequestKey, Served, RequestKeyHasher> served_;
};

}  // namespace baton
