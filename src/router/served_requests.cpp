#include "router/served_requests.hpp"

#include <utility>

namespace baton {
namespace {

// The engine's results, on their way to the accepting daemon.
class ReturningSink final : public TokenSink {
 public:
  ReturningSink(std::string to, RequestKey key, std::uint32_t generation, ServedRequests::Send send,
                std::function<void()> done)
      : to_(std::move(to)),
        key_(key),
        generation_(generation),
        send_(std::move(send)),
        done_(std::move(done)) {}

  void on_token(const TokenEvent& event) override { send_(to_, TokensMessage{{event}}); }
  void on_finish(const FinishEvent& event) override {
    send_(to_, FinishMessage{event});
    done_();
  }
  void on_error(const Error& error) override {
    send_(to_, FailMessage{key_, generation_, error});
    done_();
  }

 private:
  const std::string to_;
  const RequestKey key_;
  const std::uint32_t generation_;
  ServedRequests::Send send_;
  std::function<void()> done_;
};

}  // namespace

void ServedRequests::submit(InferenceService& engine, const std::string& from, SubmitMessage message) {
  const RequestKey key = key_of(message.request);
  const std::uint32_t generation = message.request.generation;
  Served& entry = served_[key];  // a decode stage after a prefill stage here, or a newer attempt, takes the
                                 // older one's place
  if (!entry.from.empty() && entry.generation < generation) entry.stop.request_stop();
  entry = {from, generation, std::stop_source{}};
  auto done = [this, key, generation] { post_([this, key, generation] { this->done(key, generation); }); };
  auto sink = std::make_shared<ReturningSink>(from, key, generation, send_, std::move(done));
  if (auto accepted = engine.submit(std::move(message.request), entry.stop.get_token(), std::move(sink));
      !accepted) {
    send_(from, FailMessage{key, generation, accepted.error()});
    served_.erase(key);
  }
}

void ServedRequests::cancel(const std::string& from, const CancelMessage& message) {
  const auto found = served_.find(message.key);
  if (found == served_.end() || found->second.from != from || found->second.generation > message.generation)
    return;
  found->second.stop.request_stop();
}

void ServedRequests::peer_down(const std::string& node) {
  for (auto& [key, served] : served_)
    if (served.from == node) served.stop.request_stop();
}

void ServedRequests::done(const RequestKey& key, std::uint32_t generation) {
  const auto found = served_.find(key);
  if (found != served_.end() && found->second.generation == generation) served_.erase(found);
}

}  // namespace baton
