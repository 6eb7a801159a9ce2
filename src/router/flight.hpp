// Flight: one request that this daemon accepted, while engines work on it. Whichever engine computes now
// reports to it, and it passes on to the client only what the client has not seen: the next output index of
// the current attempt. So a repeated, late or superseded engine can add nothing.
//
// token() runs on the computing engine's thread (or the router's, for a remote one) and goes straight to the
// client; what ends a stage goes to the router thread. The mutex guards the state that both sides read; it is
// held while the client's sink is called, which keeps its events in order (a sink never calls back).
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "baton/base/clock.hpp"
#include "baton/schedule/service.hpp"

namespace baton {

class Flight {
 public:
  // An attempt's end, for the router thread.
  using OnFinish = std::function<void(const FinishEvent&)>;
  using OnError = std::function<void(const RequestKey&, std::uint32_t generation, const Error&)>;
  Flight(Request request, std::shared_ptr<TokenSink> client, const Clock& clock, OnFinish on_finish,
         OnError on_error);

  void token(const TokenEvent& event);
  void finish(const FinishEvent& event) const { on_finish_(event); }
  void fail(std::uint32_t of_generation, const Error& error) const { on_error_(key_, of_generation, error); }

  // The next stage or attempt: what an engine needs to go on from here.
  Request begin(Phase phase, const std::string& prefill_node, const std::string& decode_node,
                bool new_attempt);
  void routed(const RouteEvent& route);
  // The client's last event; later ones are ignored.
  void deliver(FinishEvent event);
  void deliver_error(const Error& error);

  RequestKey key() const { return key_; }
  TimePoint arrival() const { return arrival_; }
  std::uint32_t generation() const;
  Request request() const;
  std::size_t output_size() const;
  Phase phase() const;
  // When the client got its first token; nothing before that.
  std::optional<TimePoint> first_token() const;

  const std::size_t prompt_tokens;

  // Router thread only.
  std::string node;            // computes now
  std::string planned_decode;  // where the current prefill hands over to
  bool moving = false;         // its engine drains and was asked to hand it over
  std::uint32_t attempts = 0;  // since it last made progress
  std::size_t output_at_attempt = 0;
  std::string avoid;             // the engine that was stuck or failed with it
  std::size_t stage_output = 0;  // tokens when the current stage began
  std::size_t last_output = 0;   // tokens when it was last looked at, and since when they are so many
  TimePoint last_progress{};
  std::stop_source stop;               // of the current stage on the local engine
  std::optional<FinishEvent> prefill;  // what the prefill stage reported
  std::unique_ptr<std::stop_callback<std::function<void()>>> on_client_stop;

 private:
  const RequestKey key_;
  const TimePoint arrival_;
  mutable std::mutex mutex_;
  Request request_;
  const Clock& clock_;
  std::optional<TimePoint> first_token_;
  std::shared_ptr<TokenSink> client_;  // null once it has had its last event
  OnFinish on_finish_;
  OnError on_error_;
};

// The local engine's way to report: one for each stage, so that a late error counts against the attempt that
// it belongs to.
class StageSink final : public TokenSink {
 public:
  // Shared: the engine may still report when the router has given the flight up.
  StageSink(std::shared_ptr<Flight> flight, std::uint32_t generation)
      : flight_(std::move(flight)), generation_(generation) {}
  void on_token(const TokenEvent& event) override { flight_->token(event); }
  void on_finish(const FinishEvent& event) override { flight_->finish(event); }
  void on_error(const Error& error) override { flight_->fail(generation_, error); }

 private:
  const std::shared_ptr<Flight> flight_;
  const std::uint32_t generation_;
};

}  // namespace baton
