#include "engine/device_sampling.hpp"

#include <map>

#include "baton/schedule/stop_rules.hpp"

namespace baton {

RowSampling row_sampling(const Sequence& sequence) {
  const Request& request = sequence.request;
  const SamplingParams& params = request.sampling;
  RowSampling row;
  row.temperature = params.temperature;
  row.top_p = params.top_p;
  row.min_p = params.min_p;
  row.top_k = params.top_k;
  row.presence_penalty = params.presence_penalty;
  row.frequency_penalty = params.frequency_penalty;
  row.repetition_penalty = params.repetition_penalty;
  row.choice = request.choice;
  row.seed = params.seed;
  row.output_index = request.output.size();
  row.logprobs = params.logprobs;
  row.bias = params.logit_bias;
  if (params.presence_penalty != 0 || params.frequency_penalty != 0 || params.repetition_penalty != 1) {
    std::map<std::int32_t, std::int32_t> counts;
    for (const TokenId token : request.prompt) counts.try_emplace(token, 0);
    for (const TokenId token : request.output) ++counts[token];
    row.counts.assign(counts.begin(), counts.end());
  }
  row.banned = banned_tokens(sequence);
  return row;
}

}  // namespace baton
