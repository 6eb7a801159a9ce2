#include "frontend/openai/generation_fields.hpp"

#include <algorithm>
#include <charconv>

#include "frontend/openai/prompt_input.hpp"

namespace baton::frontend {
namespace {

constexpr double kUnbounded = std::numeric_limits<float>::max();

// Known fields whose effect Baton cannot give: ignoring them would answer another question than was asked.
void refuse_unsupported(JsonFields& fields) {
  for (const char* name : {"prompt_logprobs", "use_beam_search", "continue_final_message"}) {
    const Json* value = fields.find(name);
    if (value == nullptr || (value->is_boolean() && !value->get<bool>())) continue;
    fields.fail(name, "'" + std::string(name) + "' is not supported.", ErrorCode::unsupported);
  }
}

void parse_sampling(JsonFields& fields, const ServedModel& model, GenerationFields& out) {
  SamplingParams& sampling = out.sampling;
  const GenerationDefaults& defaults = model.generation;
  sampling.temperature = defaults.temperature.value_or(1.0F);
  sampling.top_p = defaults.top_p.value_or(1.0F);
  sampling.top_k = std::max(0, defaults.top_k.value_or(0));
  sampling.repetition_penalty = defaults.repetition_penalty.value_or(1.0F);
  fields.number("temperature", sampling.temperature, {0, 2});
  fields.number("top_p", sampling.top_p, {0, 1, true});
  fields.number("min_p", sampling.min_p, {0, 1});
  // -1 is how vLLM's clients say "off".
  if (fields.integer("top_k", sampling.top_k, -1)) sampling.top_k = std::max(0, sampling.top_k);
  fields.number("presence_penalty", sampling.presence_penalty, {-2, 2});
  fields.number("frequency_penalty", sampling.frequency_penalty, {-2, 2});
  fields.number("repetition_penalty", sampling.repetition_penalty, {0, kUnbounded, true});
  std::int64_t seed = 0;
  if (fields.integer("seed", seed)) {
    out.has_seed = true;
    sampling.seed = static_cast<std::uint64_t>(seed);
  }
}

void parse_logit_bias(JsonFields& fields, const ServedModel& model, SamplingParams& sampling) {
  const Json* bias = fields.find("logit_bias");
  if (bias == nullptr || fields.error()) return;
  if (!bias->is_object()) {
    fields.fail_type("logit_bias", "an object of token ids and numbers", *bias);
    return;
  }
  for (const auto& [key, value] : bias->items()) {
    TokenId id = -1;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || id < 0 || id >= model.vocab) {
      fields.fail("logit_bias", "Invalid key in 'logit_bias': '" + key + "' is not a token id below " +
                                    std::to_string(model.vocab) + ".");
      return;
    }
    if (!value.is_number()) {
      fields.fail_type("logit_bias." + key, "a number", value);
      return;
    }
    const double amount = value.get<double>();
    if (!(amount >= -100 && amount <= 100)) {
      fields.fail("logit_bias." + key,
                  "Invalid value in 'logit_bias': must be between -100 and 100, got " + value.dump() + ".");
      return;
    }
    sampling.logit_bias.emplace_back(id, static_cast<float>(amount));
  }
}

void parse_stop_strings(JsonFields& fields, GenerationFields& out) {
  const Json* stop = fields.find("stop");
  if (stop == nullptr || fields.error()) return;
  const auto add = [&](const Json& value, const std::string& name) {
    if (!value.is_string()) {
      fields.fail_type(name, "a string", value);
    } else if (value.get_ref<const std::string&>().empty()) {
      fields.fail(name, "Invalid value for 'stop': a stop string must not be empty.");
    } else {
      out.stop.push_back(value.get<std::string>());
    }
  };
  if (stop->is_string()) {
    if (!stop->get_ref<const std::string&>().empty()) add(*stop, "stop");
  } else if (stop->is_array()) {
    if (stop->size() > kMaxStopStrings) {
      fields.fail("stop", "Invalid 'stop': expected at most " + std::to_string(kMaxStopStrings) +
                              " strings, got " + std::to_string(stop->size()) + ".");
      return;
    }
    for (std::size_t i = 0; i < stop->size(); ++i) add((*stop)[i], "stop[" + std::to_string(i) + "]");
  } else {
    fields.fail_type("stop", "a string or an array of strings", *stop);
  }
}

void parse_stop_ids(JsonFields& fields, const ServedModel& model, GenerationFields& out) {
  const Json* ids = fields.find("stop_token_ids");
  if (ids == nullptr || fields.error()) return;
  if (!ids->is_array()) {
    fields.fail_type("stop_token_ids", "an array of token ids", *ids);
    return;
  }
  if (ids->size() > 1024) {
    fields.fail("stop_token_ids", "Invalid 'stop_token_ids': expected at most 1024 ids.");
    return;
  }
  for (std::size_t i = 0; i < ids->size(); ++i) {
    const auto id =
        parse_token_id(fields, "stop_token_ids[" + std::to_string(i) + "]", (*ids)[i], model.vocab);
    if (!id) return;
    out.stop_token_ids.push_back(*id);
  }
}

void parse_lengths(JsonFields& fields, GenerationFields& out) {
  fields.boolean("ignore_eos", out.ignore_eos);
  fields.integer("min_tokens", out.min_tokens, 0);
  std::int32_t tokens = 0;
  // The newer name wins where a client sends both.
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    if (fields.integer(name, tokens, 1)) {
      out.max_tokens = tokens;
      out.max_tokens_field = name;
    }
  }
  if (out.max_tokens && out.min_tokens > *out.max_tokens) {
    fields.fail("min_tokens", "'min_tokens' (" + std::to_string(out.min_tokens) + ") is larger than '" +
                                  out.max_tokens_field + "' (" + std::to_string(*out.max_tokens) + ").");
  }
}

void parse_streaming(JsonFields& fields, GenerationFields& out) {
  fields.boolean("stream", out.stream);
  const Json* options = fields.find("stream_options");
  if (options == nullptr || fields.error()) return;
  if (!options->is_object()) {
    fields.fail_type("stream_options", "an object", *options);
    return;
  }
  if (!out.stream) {
    fields.fail("stream_options", "'stream_options' is only allowed when 'stream' is true.");
    return;
  }
  JsonFields inner(*options, "stream_options.");
  inner.boolean("include_usage", out.include_usage);
  if (inner.error()) fields.fail(inner.error()->field, inner.error()->message);
}

}  // namespace

std::optional<AdapterInfo> check_model(JsonFields& fields, const ServedModel& model) {
  std::string name;
  if (!fields.text("model", name)) return std::nullopt;
  if (std::find(model.names.begin(), model.names.end(), name) != model.names.end()) return std::nullopt;
  const auto adapter = std::ranges::find(model.adapters, name, &AdapterInfo::name);
  if (adapter != model.adapters.end()) return *adapter;
  fields.fail("model", "The model '" + name.substr(0, 200) + "' does not exist: see GET /v1/models.",
              ErrorCode::not_found);
  return std::nullopt;
}

void refuse_transfer_fields(JsonFields& fields) {
  for (const char* name :
       {"kv_transfer_params", "disaggregated_params", "bootstrap_host", "bootstrap_port", "bootstrap_room"}) {
    if (fields.find(name) == nullptr) continue;
    fields.fail(
        name, "'" + std::string(name) + "' is not supported: a client cannot say where KV blocks come from.",
        ErrorCode::unsupported);
  }
}

GenerationFields parse_generation_fields(JsonFields& fields, const ServedModel& model) {
  GenerationFields out;
  out.adapter = check_model(fields, model);
  refuse_unsupported(fields);
  refuse_transfer_fields(fields);
  parse_sampling(fields, model, out);
  parse_logit_bias(fields, model, out.sampling);
  parse_stop_strings(fields, out);
  parse_stop_ids(fields, model, out);
  parse_lengths(fields, out);
  parse_streaming(fields, out);
  fields.integer("n", out.n, 1, kMaxChoices);
  fields.boolean("skip_special_tokens", out.skip_special_tokens);
  fields.text("cache_salt", out.cache_salt);
  fields.integer("priority", out.priority);
  out.format = parse_output_format(fields);
  std::string user;
  fields.text("user", user);
  return out;
}

Result<std::int32_t> resolve_max_tokens(const GenerationFields& fields, std::int32_t prompt_tokens,
                                        std::optional<std::int32_t> fallback, std::int32_t context) {
  const std::string limit =
      "This model's maximum context length is " + std::to_string(context) + " tokens. However, ";
  const std::int32_t room = context - prompt_tokens;
  if (room < 1) {
    return make_error(ErrorCode::too_large, limit + "your prompt has " + std::to_string(prompt_tokens) +
                                                " tokens, which leaves no room for an answer.");
  }
  if (fields.max_tokens && *fields.max_tokens > room) {
    return make_error(ErrorCode::too_large,
                      limit + "you requested " + std::to_string(*fields.max_tokens) +
                          " tokens after a prompt of " + std::to_string(prompt_tokens) +
                          ". Please reduce one of them.",
                      fields.max_tokens_field);
  }
  const std::int32_t tokens = fields.max_tokens.value_or(std::min(room, fallback.value_or(room)));
  if (fields.min_tokens > tokens) {
    return make_error(ErrorCode::invalid_argument,
                      "'min_tokens' (" + std::to_string(fields.min_tokens) + ") is larger than the " +
                          std::to_string(tokens) + " tokens that can be generated.",
                      "min_tokens");
  }
  return tokens;
}

}  // namespace baton::frontend
