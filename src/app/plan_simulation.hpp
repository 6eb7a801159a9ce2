// The plan's choices run in virtual time by the daemon's own scheduler: what formulas leave out, such as
// prompts that come together because others ended together, is then in the figures.
#pragma once

#include "baton/base/result.hpp"
#include "baton/plan/search.hpp"

namespace baton {

// One replica under a closed loop of `concurrency` requests, `requests` of them, from an empty start: medians
// of latencies, throughput of all. unsupported where both kinds of engines stand on different systems.
Result<Estimate> simulate_choice(const PlanRequest& request, const Choice& choice, int concurrency,
                                 int requests);

// Replaces every choice's formula by its simulation, with fewer requests at a time where the targets ask for
// it, and ranks again. Choices that do not meet them at all are dropped.
void refine_by_simulation(const PlanRequest& request, Plan& plan);

}  // namespace baton
