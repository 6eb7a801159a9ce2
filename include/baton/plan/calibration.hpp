// From measured forward passes to what an engine reaches of a machine. Pure; the app does the measuring.
#pragma once

#include <string>
#include <vector>

#include "baton/schedule/perf_model.hpp"

namespace baton {

// One forward pass: `sequences` sequences with `rows` rows each behind `context` tokens that were there.
struct MeasuredPass {
  double sequences = 0, rows = 0, context = 0;
  double seconds = 0;
  double deviation = 0;  // standard, of single passes, as a share of `seconds`
};

struct Calibration {
  double flops = 0;             // of long prompts' projections, 1/s
  double memory_bandwidth = 0;  // of streamed weights, bytes/s
  double attention_flops = 0, kv_bandwidth = 0;
  double serial = 0;  // see EngineTraits
  double layer = 0;   // seconds
  double jitter = 0;  // the passes' median deviation
  double worst = 0;   // largest relative error over the passes, with these figures
};
// `model` and `weights` as in EngineSetup; `layer` was measured with a model of almost nothing else. Needs
// passes of one row, of few and of many rows without context, and with context both a prefill and a decode.
Calibration fit_passes(const EngineSetup& setup, double layer, const std::vector<MeasuredPass>& passes);

// The system's file: what was measured are its rates, so the engine reaches all of them. `host`: seconds of a
// token beside its forward pass.
std::string system_file(const std::string& name, const std::string& machine, const Calibration& calibration,
                        double host, double memory_bytes, double link_bandwidth, double link_latency);

StepShape shape_of(const MeasuredPass& pass);
EngineSetup calibrated(EngineSetup setup, const Calibration& calibration);

}  // namespace baton
