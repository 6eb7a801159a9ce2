// ModelExecutor: runs a StepPlan on a Model: rows to a Batch, one forward pass, one sampled token for each
// sequence that wants one.
//
// Engine thread only. Model, Ops and KV memory outlive it.
#pragma once

#include <memory>

#include "baton/model/model.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton {

std::unique_ptr<Executor> make_model_executor(Model& model, Ops& ops, KvView kv);

}  // namespace baton
