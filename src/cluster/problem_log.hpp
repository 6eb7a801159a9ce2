// Says a lasting problem when it begins, each of its reasons once however they alternate, and its end; not
// every attempt. Not thread-safe: belongs to the thread that makes the attempts.
#pragma once

#include <set>
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
    if (said_.size() >= kMaxReasons || !said_.insert(why).second) return;
    logger_.warn(problem_, {where_, {"why", why}});
  }
  void succeeded() {
    if (said_.empty()) return;
    said_.clear();
    logger_.info(recovery_, {where_});
  }

 private:
  static constexpr std::size_t kMaxReasons = 8;  // what the other side words may differ each time

  Logger& logger_;
  const LogField where_;
  const std::string problem_;
  const std::string recovery_;
  std::set<std::string> said_;  // reasons; empty: no problem
};

}  // namespace baton::cluster
