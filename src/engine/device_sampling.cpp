#include "engine/device_sampling.hpp"

#include "baton/schedule/stop_rules.hpp"

namespace baton {

RowSampling row_sampling(const Sequence& sequence, std::span<const std::uint32_t> mask, std::size_t ahead) {
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
  row.output_index = request.output.size() + ahead;
  row.logprobs = params.logprobs;
  row.bias = params.logit_bias;
  row.counts = sequence.counts;
  row.banned = banned_tokens(sequence, ahead);
  row.mask = mask;
  return row;
}

}  // namespace baton
