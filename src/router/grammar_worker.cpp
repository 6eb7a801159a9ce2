#include "router/grammar_worker.hpp"

#include <chrono>
#include <exception>
#include <utility>
#include <vector>

namespace baton {
namespace {

constexpr std::size_t kMostWaiting = 256;
constexpr auto kIdleWait = std::chrono::seconds(1);

}  // namespace

GrammarWorker::GrammarWorker(GrammarCompiler& compiler)
    : compiler_(compiler), jobs_(kMostWaiting), thread_([this] { run(); }) {}

GrammarWorker::~GrammarWorker() {
  leaving_ = true;
  jobs_.close();
}

bool GrammarWorker::compile(SharedText grammar, std::stop_token stop, Answer answer, bool urgent) {
  Job job{std::move(grammar), std::move(stop), std::move(answer)};
  return urgent ? jobs_.push_always(std::move(job)) : jobs_.try_push(std::move(job));
}

void GrammarWorker::run() {
  while (!leaving_) {
    const std::vector<Job> batch = jobs_.pop_all(kIdleWait);
    for (const Job& job : batch) {
      if (leaving_) return;
      job.answer(compile(job));
    }
  }
}

GrammarWorker::Compiled GrammarWorker::compile(const Job& job) {
  if (job.stop.stop_requested()) return make_error(ErrorCode::cancelled, "the request was cancelled");
  try {
    auto compiled = compiler_.compile(job.grammar.str());
    if (compiled) return compiled;
    Error error = std::move(compiled).error();
    error.field = "grammar";  // which the accepting daemon knows by its client's name
    return error;
  } catch (const std::exception& failure) {  // no memory, above all; this is the thread's root
    return make_error(ErrorCode::internal, std::string("the grammar was not compiled: ") + failure.what(),
                      "grammar");
  }
}

}  // namespace baton
