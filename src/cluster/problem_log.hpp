// Says a lasting problem once, not at every attempt: when it begins, when it becomes another one, and when it
// is over. Not thread-safe: belongs to the thread that makes the attempts.
#pragma once

#include <string>
#include <utility>

#include "baton/base/log.hpp"

namespace baton::cluster {

class ProblemLog {
 public:
  // `where`: which of several, e.g. {"name", "baton.svc"}.
  ProblemLog(Logger& logger, LogField where, std::string problem, std::string recovery)
      : logger_(logger),
        where_(std::move(where)),
        problem_(std::move(problem)),
        recovery_(std::move(recovery)) {}

  void failed(const std::string& why) {
    if (why == why_) return;
    why_ = why;
    logger_.warn(problem_, {where_, {"why", why}});
  }
  void succeeded() {
    if (why_.empty()) return;
    why_.clear();
    logger_.info(recovery_, {where_});
  }

 private:
  Logger& logger_;
  const LogField where_;
  const std::string problem_;
  const std::string recovery_;
  std::string why_;  // empty: no problem
};

}  // namespace baton::cluster
