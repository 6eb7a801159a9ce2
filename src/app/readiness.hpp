// Readiness: a daemon is ready once a request of its own has gone the whole way that a client's would:
// routed, prefilled, handed over where it goes to two engines, decoded. Not before, whatever is connected.
//
// Each look at it may start the next probe; one that fails is tried again. Thread-safe.
#pragma once

#include <functional>
#include <memory>

#include "baton/base/clock.hpp"
#include "baton/base/log.hpp"
#include "baton/schedule/service.hpp"

namespace baton {

class Readiness {
 public:
  // `reachable`: whether there is an engine for each phase at all. All outlive *this.
  Readiness(InferenceService& service, std::function<bool()> reachable, const Clock& clock, Logger& logger);
  bool ready();

 private:
  struct Probe;
  InferenceService& service_;
  std::function<bool()> reachable_;
  const Clock& clock_;
  Logger& logger_;
  std::shared_ptr<Probe> probe_;  // shared with the service, which reports to it
};

}  // namespace baton
