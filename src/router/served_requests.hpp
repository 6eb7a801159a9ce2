// ServedRequests: requests that this daemon's engine computes for other daemons, which accepted them.
//
// Router thread only, but for the sinks it makes: those send from the engine's thread straight to the
// accepting daemon. A request with a grammar waits until that is compiled here, on a thread of its own; all
// others go to the engine at once.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>

#include "baton/engine/engine.hpp"
#include "baton/peer/messages.hpp"
#include "router/grammar_worker.hpp"

namespace baton {

class ServedRequests {
 public:
  using Send = std::function<bool(const std::string& node, const Message&)>;
  using Post = std::function<void(std::function<void()>)>;
  ServedRequests(Send send, Post post) : send_(std::move(send)), post_(std::move(post)) {}

  // Until then, and after stop_compiling(), a request with a grammar is refused.
  void start_compiling(GrammarCompiler& compiler) { grammars_ = std::make_unique<GrammarWorker>(compiler); }
  void stop_compiling() { grammars_.reset(); }

  // `engine` outlives what is submitted.
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
  void compile(InferenceService& engine, Request request, const Served& served);
  void start(InferenceService& engine, Request request, const Served& served,
             const std::optional<Error>& refused);
  void done(const RequestKey& key, std::uint32_t generation);

  Send send_;
  Post post_;
  std::unordered_map<RequestKey, Served, RequestKeyHasher> served_;
  std::unique_ptr<GrammarWorker> grammars_;
};

}  // namespace baton
