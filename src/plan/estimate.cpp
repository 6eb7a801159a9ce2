#include "baton/plan/estimate.hpp"

#include <algorithm>
#include <cmath>

namespace baton {
namespace {

constexpr double kUsable = 0.9;   // of memory: what engines take by default
constexpr double kReserve = 2e9;  // activations, graphs, the runtime; at most kReserveShare of memory
constexpr double kReserveShare = 0.025;
constexpr double kMeanOutput =
    0.75;  // of the output that the requests of a full engine hold, admission included
// Rates of the two halves never match for long: what each can do, times these.
constexpr double kPrefillShare = 0.9, kDecodeShare = 0.92;
// Half of (variation of arrivals)^2 + (variation of service)^2, in Kingman's formula: Poisson arrivals, equal
// prompts.
constexpr double kVariation = 0.5;

// What a pipeline loses to stages that wait for each other, for each stage beyond the first. Assumed.
constexpr double kBubble = 0.05;

double bubbles(const Split& split) { return 1 + kBubble * (split.pipeline - 1); }

double reserve(const SystemSpec& system) { return std::min(kReserve, kReserveShare * system.memory_bytes); }

StepShape prefill_step(const Workload& load, double prompts) {
  const double rows = load.input - load.prefix;
  const double pairs = rows * load.prefix + rows * rows / 2;
  return {prompts * rows, prompts, prompts * pairs, prompts * load.prefix, prompts};
}

StepShape decode_step(const Workload& load, double sequences) {
  const double kv = sequences * (load.input + load.output / 2);
  return {sequences, sequences, kv, kv, sequences};
}

std::vector<Operation> operations(const StepCost& prefill, const StepCost& decode) {
  return {{"projections, FFN, output head", prefill.dense, decode.dense},
          {"routed experts", prefill.experts, decode.experts},
          {"attention", prefill.attention, decode.attention},
          {"collectives", prefill.exchange, decode.exchange},
          {"sampling, host", prefill.sequences, decode.sequences},
          {"launches, latencies", prefill.fixed, decode.fixed}};
}

// Time from arrival to the prefill's start in an idle engine, and what its first step costs once.
double first_time(const EngineSetup& e) {
  const Efficiency& reached = e.profile.efficiency;
  const EngineTraits& traits = e.profile.traits;
  const double experts = e.model.expert_layers, dense = e.model.layers - experts;
  return reached.base * (1 + (traits.expert_base - 1) * experts / e.model.layers) +
         traits.first_layers * reached.layer * (dense + traits.expert_layer * experts);
}

}  // namespace

Memory memory_needed(const EngineSetup& setup, const Workload& load, double requests) {
  Memory memory;
  const double groups = setup.split.data, usable = kUsable * setup.system.memory_bytes;
  const double tokens = load.input + load.output;
  const double each = setup.kv_bytes_per_token() * tokens + setup.state_bytes(tokens);
  memory.weights = setup.weight_bytes();
  memory.other = reserve(setup.system);
  memory.kv = each * std::ceil(requests / groups);
  memory.total = memory.weights + memory.kv + memory.other;
  const double room = usable - memory.weights - memory.other;
  memory.kv_requests = each > 0 ? std::max(0.0, std::floor(room / each)) * groups : requests;
  memory.fits = memory.total <= usable;
  return memory;
}

Estimate estimate_aggregated(const EngineSetup& setup, const Workload& load, double concurrency) {
  const Efficiency& reached = setup.profile.efficiency;
  const PerfProfile cost = make_perf_profile(setup);
  const double groups = setup.split.data, output = std::max(1.0, load.output);
  // A pipeline's stages each work on a part of the requests at a time.
  const double wanted = std::max(1.0, concurrency / groups / setup.split.pipeline);
  const double room = kUsable * setup.system.memory_bytes - setup.weight_bytes() - reserve(setup.system);
  const double tokens = load.input + kMeanOutput * output;
  const double each = setup.kv_bytes_per_token() * tokens + setup.state_bytes(tokens);
  const double fitting = each > 0 ? std::max(1.0, room / each / setup.split.pipeline) : wanted;
  const double running = std::min(wanted, fitting);

  const StepCost decode = cost.step_cost(decode_step(load, running * groups));
  const StepCost prefill = cost.step_cost(prefill_step(load, groups));
  Estimate e;
  // While one request decodes, each of the others is prefilled once.
  e.tpot = (decode.total() + reached.mixing * std::max(0.0, running - 1) / output * prefill.total()) *
           bubbles(setup.split);
  // Prompts that came together queue for each other; what finds no memory waits for a whole request to end.
  const double queue = 1 + reached.queue * (std::pow(running, setup.profile.traits.crowd) - 1);
  const double wait = (wanted / running - 1 + reached.slots / running) * output * e.tpot;
  e.ttft =
      first_time(setup) + prefill.total() * queue + wait + setup.profile.traits.first_steps * decode.total();
  e.latency = e.ttft + (output - 1) * e.tpot;
  e.concurrency = concurrency;
  e.gpus = setup.split.gpus();
  e.requests_per_second = concurrency / e.latency;
  e.tokens_per_gpu = e.requests_per_second * output / e.gpus;
  e.tokens_per_user = 1 / e.tpot;
  e.prefill_memory = e.decode_memory = memory_needed(setup, load, concurrency);
  e.operations = operations(prefill, decode);
  return e;
}

Estimate estimate_disaggregated(const Disaggregated& d, const Workload& load) {
  const PerfProfile prefill_cost = make_perf_profile(d.prefill), decode_cost = make_perf_profile(d.decode);
  const double output = std::max(1.0, load.output), prefill_groups = d.prefill.split.data;
  const double prompts = std::max(d.prefill_batch, 1.0) * prefill_groups;
  const StepCost prefill = prefill_cost.step_cost(prefill_step(load, prompts));
  // A pipeline's stages each work on a part of the requests, and on prompts one after the other.
  const double stages = d.prefill.split.pipeline;
  const StepCost decode = decode_cost.step_cost(decode_step(load, d.decode_batch / d.decode.split.pipeline));

  Estimate e;
  e.tpot = decode.total() * bubbles(d.decode.split);
  e.concurrency = d.decode_workers * d.decode_batch;
  e.kv_per_prompt = d.prefill.kv_transfer_bytes() * load.input;
  // Requests a second that each stage can do: prefill, links on both sides, decode.
  const double prefill_most =
      d.prefill_workers * prompts * stages / (prefill.total() * bubbles(d.prefill.split));
  const double prefill_rate = kPrefillShare * prefill_most;
  const double decode_rate = kDecodeShare * d.decode_workers * d.decode_batch / (output * e.tpot);
  const double sending = prefill_cost.link_token * prefill_cost.tokens_sent(0, load.input, load.input),
               receiving = decode_cost.link_token * decode_cost.tokens_sent(0, load.input, load.input);
  const double link_rate = kPrefillShare * std::min(d.prefill_workers / std::max(sending, 1e-12),
                                                    d.decode_workers / std::max(receiving, 1e-12));
  const double rate = std::min({prefill_rate, decode_rate, link_rate});
  e.requests_per_second = rate;
  e.link_utilised = std::max(rate * sending / d.prefill_workers, rate * receiving / d.decode_workers);
  e.prefill_utilised = std::min(0.98, rate / prefill_most);
  e.decode_utilised = rate * output * e.tpot / (d.decode_workers * d.decode_batch);

  // Blocks leave as layers and chunks are done: what the link cannot carry meanwhile is waited for.
  const double bytes_time = std::max(sending, receiving);
  const double link_queue = kVariation * e.link_utilised / (1 - std::min(0.98, e.link_utilised)) * bytes_time;
  e.transfer =
      d.prefill.system.link_latency + std::max(bytes_time - prefill.total(), 0.1 * bytes_time) + link_queue;
  const double busy = kVariation * e.prefill_utilised / (1 - e.prefill_utilised);
  e.ttft = (first_time(d.prefill) + prefill.total()) * (1 + busy) + e.transfer;
  // The closed loop: whom a slower stage keeps out of the decode engines waits before it.
  if (rate < decode_rate) e.ttft = std::max(e.ttft, e.concurrency / rate - (output - 1) * e.tpot);
  e.latency = e.ttft + (output - 1) * e.tpot;
  e.gpus = d.prefill_workers * d.prefill.split.gpus() + d.decode_workers * d.decode.split.gpus();
  e.tokens_per_gpu = rate * output / e.gpus;
  e.tokens_per_user = 1 / e.tpot;
  e.prefill_memory = memory_needed(d.prefill, {load.input, 1, load.prefix}, 2 * prompts);  // one batch leaves
  e.decode_memory = memory_needed(d.decode, load, d.decode_batch);
  e.operations = operations(prefill, decode);
  return e;
}

}  // namespace baton
