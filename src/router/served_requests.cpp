#include "router/served_requests.hpp"

#include <utility>

namespace baton {
namespace {

// The engine's results, on their way to the accepting daemon. `refused`: what that is told in the place of
// the engine's error.
class ReturningSink final : public TokenSink {
 public:
  ReturningSink(std::string to, RequestKey key, std::uint32_t generation, ServedRequests::Send send,
                std::function<void()> done, std::optional<Error> refused)
      : to_(std::move(to)),
        key_(key),
        generation_(generation),
        send_(std::move(send)),
        done_(std::move(done)),
        refused_(std::move(refused)) {}

  void on_token(const TokenEvent& event) override { send_(to_, TokensMessage{{event}}); }
  void on_finish(const FinishEvent& event) override {
    send_(to_, FinishMessage{event});
    done_();
  }
  void on_error(const Error& error) override {
    send_(to_, FailMessage{key_, generation_, refused_ ? *refused_ : error});
    done_();
  }

 private:
  const std::string to_;
  const RequestKey key_;
  const std::uint32_t generation_;
  ServedRequests::Send send_;
  std::function<void()> done_;
  const std::optional<Error> refused_;
};

}  // namespace

void ServedRequests::submit(InferenceService& engine, const std::string& from, SubmitMessage message) {
  const RequestKey key = key_of(message.request);
  const std::uint32_t generation = message.request.generation;
  Served& entry = served_[key];  // a decode stage after a prefill stage here, or a newer attempt, takes the
                                 // older one's place
  if (!entry.from.empty() && entry.generation < generation) entry.stop.request_stop();
  entry = {from, generation, std::stop_source{}};
  if (message.request.grammar.empty())
    start(engine, std::move(message.request), entry, std::nullopt);
  else
    compile(engine, std::move(message.request), entry);
}

// What comes meanwhile (a cancel, a newer attempt, the accepting daemon's end) requests the stop, which the
// engine then finds.
void ServedRequests::compile(InferenceService& engine, Request request, const Served& served) {
  if (!grammars_) {
    start(engine, std::move(request), served,
          make_error(ErrorCode::unsupported, "this node cannot compile grammars", "grammar"));
    return;
  }
  const bool urgent = request.phase == Phase::decode;  // elsewhere: its client reads it already
  const auto waiting = std::make_shared<Request>(std::move(request));  // shared: tasks are copied
  auto answer = [this, &engine, waiting, served](GrammarWorker::Compiled compiled) {
    post_([this, &engine, waiting, served, compiled = std::move(compiled)] {
      if (compiled) waiting->compiled_grammar = *compiled;
      waiting->grammar.clear();  // each choice came with a text of its own
      start(engine, std::move(*waiting), served,
            compiled ? std::nullopt : std::optional<Error>(compiled.error()));
    });
  };
  if (!grammars_->compile(waiting->grammar, served.stop.get_token(), std::move(answer), urgent))
    start(engine, std::move(*waiting), served,
          make_error(ErrorCode::overloaded, "too many requests wait for their grammars"));
}

// Where its grammar was refused the engine gets it stopped: so it lets go of the KV cache that was sent
// ahead.
void ServedRequests::start(InferenceService& engine, Request request, const Served& served,
                           const std::optional<Error>& refused) {
  const RequestKey key = key_of(request);
  const std::uint32_t generation = request.generation;
  if (refused) served.stop.request_stop();
  auto done = [this, key, generation] { post_([this, key, generation] { this->done(key, generation); }); };
  auto sink = std::make_shared<ReturningSink>(served.from, key, generation, send_, std::move(done), refused);
  if (auto accepted = engine.submit(std::move(request), served.stop.get_token(), std::move(sink));
      !accepted) {
    send_(served.from, FailMessage{key, generation, refused ? *refused : accepted.error()});
    this->done(key, generation);
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
