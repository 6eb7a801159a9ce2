// GrammarWorker: compiles the grammars of requests that other daemons send here, on a thread of its own.
// Compiling may take 100 ms and more: the router's thread and the engine's have other requests to look after.
//
// Invariant: whatever was taken is answered once, in order, unless the worker goes first.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>
#include <thread>

#include "baton/base/channel.hpp"
#include "baton/base/result.hpp"
#include "baton/base/shared_text.hpp"
#include "baton/base/token_mask.hpp"

namespace baton {

class GrammarWorker {
 public:
  using Compiled = Result<std::shared_ptr<const TokenGrammar>>;
  using Answer = std::function<void(Compiled)>;  // on the worker's thread; must not block

  // `compiler` outlives it.
  explicit GrammarWorker(GrammarCompiler& compiler);
  ~GrammarWorker();  // finishes what it is compiling; what waits is dropped without an answer

  // What was stopped before its turn is answered `cancelled`, and costs nothing. False: too many wait; an
  // `urgent` one is taken all the same.
  bool compile(SharedText grammar, std::stop_token stop, Answer answer, bool urgent);

 private:
  struct Job {
    SharedText grammar;
    std::stop_token stop;
    Answer answer;
  };
  void run();
  Compiled compile(const Job& job);

  GrammarCompiler& compiler_;
  Channel<Job> jobs_;
  std::atomic<bool> leaving_{false};
  std::jthread thread_;
};

}  // namespace baton
