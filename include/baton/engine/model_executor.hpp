// ModelExecutor: runs a StepPlan on a Model: rows to a Batch, one forward pass, one sampled token for each
// sequence that wants one.
//
// Engine thread only. Model, Ops, KV memory and clock outlive it.
#pragma once

#include <memory>

#include "baton/base/clock.hpp"
#include "baton/model/model.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton {

std::unique_ptr<Executor> make_model_executor(Model& model, Ops& ops, KvView kv, const Clock& clock);

}  // namespace baton
