#include "baton/plan/calibration.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

namespace baton {
namespace {

constexpr double kMostJitter = 0.3;
constexpr int kFitRounds = 10;  // steps from a factor of 4 to one of 1.003

// Squared relative errors, the sum.
double error_of(const EngineSetup& setup, const Calibration& c, const std::vector<MeasuredPass>& passes) {
  const PerfProfile profile = make_perf_profile(calibrated(setup, c));
  double sum = 0;
  for (const MeasuredPass& pass : passes) {
    const double error = std::log(profile.step_seconds(shape_of(pass)) / pass.seconds);
    sum += error * error;
  }
  return sum;
}

}  // namespace

StepShape shape_of(const MeasuredPass& p) {
  const double rows = p.sequences * p.rows;
  return {rows, p.sequences, rows * p.context + p.sequences * p.rows * (p.rows + 1) / 2,
          p.sequences * (p.context + p.rows), p.sequences};
}

EngineSetup calibrated(EngineSetup setup, const Calibration& c) {
  setup.system.flops_bf16 = c.flops;
  setup.system.memory_bandwidth = c.memory_bandwidth;
  setup.profile.efficiency.memory = setup.profile.efficiency.matmul = 1;
  setup.profile.efficiency.attention = c.attention_flops / c.flops;
  setup.profile.efficiency.layer = c.layer;
  EngineTraits& traits = setup.profile.traits;
  traits.step = traits.sequence = 0;
  traits.serial = c.serial;
  traits.kv_memory = c.kv_bandwidth / c.memory_bandwidth;
  return setup;
}

// Coordinate descent on five logarithms: few unknowns, each seen by passes of its own.
Calibration fit_passes(const EngineSetup& setup, double layer, const std::vector<MeasuredPass>& passes) {
  Calibration c{1e11, 1e10, 5e10, 1e10, 0.5, layer};
  std::vector<double> deviations;
  deviations.reserve(passes.size());
  for (const MeasuredPass& pass : passes) deviations.push_back(pass.deviation);
  std::ranges::sort(deviations);
  if (!deviations.empty()) c.jitter = std::min(deviations[deviations.size() / 2], kMostJitter);
  double best = error_of(setup, c, passes);
  double factor = 4;
  for (int round = 0; round < kFitRounds; ++round, factor = std::sqrt(factor)) {
    for (bool better = true; better;) {
      better = false;
      for (double Calibration::*figure :
           {&Calibration::flops, &Calibration::memory_bandwidth, &Calibration::attention_flops,
            &Calibration::kv_bandwidth, &Calibration::serial}) {
        for (const double by : {factor, 1 / factor}) {
          Calibration changed = c;
          changed.*figure = std::max(changed.*figure * by, 1e-3);
          if (figure == &Calibration::serial) changed.serial = std::min(changed.serial, 1.5);
          if (const double error = error_of(setup, changed, passes); error < best * (1 - 1e-6)) {
            best = error;
            c = changed;
            better = true;
          }
        }
      }
    }
  }
  const PerfProfile profile = make_perf_profile(calibrated(setup, c));
  for (const MeasuredPass& pass : passes)
    c.worst = std::max(c.worst, std::abs(profile.step_seconds(shape_of(pass)) / pass.seconds - 1));
  return c;
}

std::string system_file(const std::string& name, const std::string& machine, const Calibration& c,
                        double host, double memory_bytes, double link_bandwidth, double link_latency) {
  const auto rounded = [](double value) {
    return value > 0 ? std::round(value * 1e4 / std::pow(10, std::floor(std::log10(value)))) *
                           std::pow(10, std::floor(std::log10(value))) / 1e4
                     : 0;
  };
  nlohmann::ordered_json file;
  file["name"] = name;
  file["provenance"] = "measured by baton plan --calibrate: " + machine;
  file["matmul_flops"] = {{"bf16", rounded(c.flops)}};
  file["memory_bandwidth"] = rounded(c.memory_bandwidth);
  file["memory_bytes"] = memory_bytes;
  file["link_bandwidth"] = rounded(link_bandwidth);
  file["link_latency"] = link_latency;
  file["jitter"] = rounded(c.jitter);
  // What the kernels reached is what the rates above are. The first token of a request waits for a step of
  // the others, and prompts rarely for each other: requests that end one by one are followed by requests that
  // begin one by one.
  file["baton"] = {{"provenance", "measured by baton plan --calibrate"},
                   {"memory", 1},
                   {"matmul", 1},
                   {"attention", rounded(c.attention_flops / c.flops)},
                   {"layer", rounded(c.layer)},
                   {"sequence", rounded(host)},
                   {"serial", rounded(c.serial)},
                   {"kv_memory", rounded(c.kv_bandwidth / c.memory_bandwidth)},
                   {"link", 1},
                   {"mixing", 1},
                   {"base", 2e-3},
                   {"queue", 0.02},
                   {"first_steps", 1}};
  return file.dump(2) + "\n";
}

}  // namespace baton
