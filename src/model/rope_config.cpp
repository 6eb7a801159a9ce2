#include "model/rope_config.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/rope.hpp"

namespace baton {
namespace {

constexpr NumberRange kTheta{1, 1e15, true};

void read_yarn(JsonReader& rope, std::int32_t max_positions, RopeScaling& scaling) {
  constexpr NumberRange kBeta{0, 1e6, true};
  const double implied = static_cast<double>(max_positions) / scaling.original_max_positions;
  scaling.factor = rope.number("factor", {1, 1e4}, std::max(implied, 1.0));
  scaling.beta_fast = rope.number("beta_fast", kBeta, 32.0);
  scaling.beta_slow = rope.number("beta_slow", kBeta, 1.0);
  if (scaling.beta_fast < scaling.beta_slow)
    rope.fail(ErrorCode::invalid_argument, "beta_fast", "must not be below beta_slow");
  scaling.truncate = rope.boolean("truncate", true);
  scaling.attention_factor = rope.optional_number("attention_factor", {0, 1e4, true});
  scaling.mscale = rope.number("mscale", {0, 1e4}, 0.0);
  scaling.mscale_all_dim = rope.number("mscale_all_dim", {0, 1e4}, 0.0);
}

void read_llama3(JsonReader& rope, RopeScaling& scaling) {
  constexpr NumberRange kFrequencyFactor{0, 1e6, true};
  scaling.factor = rope.number("factor", {1, 1e4});
  scaling.low_freq_factor = rope.number("low_freq_factor", kFrequencyFactor);
  scaling.high_freq_factor = rope.number("high_freq_factor", kFrequencyFactor);
  if (!rope.error() && scaling.high_freq_factor <= scaling.low_freq_factor)
    rope.fail(ErrorCode::invalid_argument, "high_freq_factor", "must be above low_freq_factor");
}

// A divisor for each rotated pair: those for short contexts, or those for contexts beyond the original
// length.
void read_longrope(JsonReader& rope, std::int32_t pairs, std::int32_t max_positions, std::int32_t max_context,
                   RopeScaling& scaling) {
  if (scaling.original_max_positions < 2)
    rope.fail(ErrorCode::invalid_argument, "original_max_position_embeddings", "must be at least 2");
  const double implied = static_cast<double>(max_positions) / scaling.original_max_positions;
  scaling.factor = rope.number("factor", {0, 1e4, true}, implied);
  scaling.attention_factor = rope.optional_number("attention_factor", {0, 1e4, true});
  const std::int32_t longest = max_context > 0 ? std::min(max_context, max_positions) : max_positions;
  const char* const key = longest > scaling.original_max_positions ? "long_factor" : "short_factor";
  const nlohmann::json* list = rope.find(key);
  const auto is_divisor = [](const nlohmann::json& v) { return v.is_number() && v > 0.0 && v < 1e6; };
  if (!list || !list->is_array() || list->size() != static_cast<std::size_t>(pairs) ||
      !std::all_of(list->begin(), list->end(), is_divisor)) {
    rope.fail(ErrorCode::invalid_argument, key,
              "must be a list of " + std::to_string(pairs) + " numbers above 0");
    return;
  }
  for (const nlohmann::json& divisor : *list) scaling.divisors.push_back(divisor.get<float>());
}

// One of the two spellings: `rope_scaling` (with rope_theta beside it) or `rope_parameters` (with it inside).
void read_rope_object(JsonReader& rope, std::int32_t pairs, std::int32_t max_positions,
                      std::int32_t max_context, RopeScaling& scaling) {
  scaling.theta = rope.number("rope_theta", kTheta, scaling.theta);
  const std::string_view type_key = rope.find("rope_type") ? "rope_type" : "type";
  const std::string type = rope.text(type_key, "default");
  scaling.original_max_positions =
      rope.integer("original_max_position_embeddings", kPositionsRange,
                   scaling.original_max_positions ? scaling.original_max_positions : max_positions);
  if (type == "default") {
    scaling.type = RopeType::none;
  } else if (type == "linear" || type == "dynamic") {
    scaling.type = type == "linear" ? RopeType::linear : RopeType::dynamic;
    scaling.factor = rope.number("factor", {1, 1e4});
  } else if (type == "yarn") {
    scaling.type = RopeType::yarn;
    read_yarn(rope, max_positions, scaling);
  } else if (type == "llama3") {
    scaling.type = RopeType::llama3;
    read_llama3(rope, scaling);
  } else if (type == "longrope" || type == "su") {
    scaling.type = RopeType::longrope;
    read_longrope(rope, pairs, max_positions, max_context, scaling);
  } else {
    rope.fail(ErrorCode::unsupported, type_key,
              "is '" + type + "'; supported: default, linear, dynamic, yarn, llama3, longrope");
  }
}

// How much of a head is rotated; the key stands beside rope_parameters or in it.
std::int32_t read_rotary_dim(JsonReader& config, const Family& family, std::int32_t head_dim) {
  const char* const key = "partial_rotary_factor";
  double share = config.number(key, {0, 1, true}, 1.0);
  for (const char* const outer : {"rope_scaling", "rope_parameters"}) {
    const nlohmann::json* object = config.find(outer);
    if (!object || !object->is_object()) continue;
    JsonReader rope(*object, config.file(), std::string(outer) + ".");
    share = rope.number(key, {0, 1, true}, share);
    config.adopt(rope.error());
  }
  const auto rotary = static_cast<std::int32_t>(head_dim * share);
  if (rotary == head_dim) return head_dim;
  if (!family.partial_rotary)
    config.fail(ErrorCode::unsupported, key, "must be 1");
  else if (rotary < 2 || rotary % 2 != 0)
    config.fail(ErrorCode::invalid_argument, key,
                "gives " + std::to_string(rotary) + " rotated elements of a head, must be an even number");
  return std::max(rotary / 2 * 2, 2);
}

// What is to be read: `rope_scaling`, `rope_parameters` or, where it has one for each kind of layer, that of
// `layers`.
struct RopeObject {
  const nlohmann::json* object = nullptr;
  std::string path;
};

RopeObject find_rope(const JsonReader& config, const char* layers) {
  const std::string key = config.find("rope_scaling") ? "rope_scaling" : "rope_parameters";
  RopeObject found{config.find(key), key};
  if (!found.object || !found.object->is_object()) return found;
  const auto inner = found.object->find(layers);
  if (inner == found.object->end()) return found;
  return {&*inner, key + '.' + layers};
}

RopeTable read_table(JsonReader& config, const Family& family, const RopeObject& found, double theta,
                     std::int32_t max_context, const ModelConfig& model) {
  RopeScaling scaling;
  scaling.theta = theta;
  scaling.length_is_scaled = family.gemma;
  const std::int32_t positions = model.max_positions;
  scaling.original_max_positions =
      config.integer("original_max_position_embeddings", kPositionsRange, positions);
  if (found.object != nullptr) {
    if (!found.object->is_object()) {
      config.fail(ErrorCode::invalid_argument, found.path, "must be an object");
      return {};
    }
    JsonReader rope(*found.object, config.file(), found.path + ".");
    read_rope_object(rope, model.rotary_dim / 2, positions, max_context, scaling);
    config.adopt(rope.error());
  }
  if (config.error()) return {};
  if (scaling.type == RopeType::dynamic && model.rotary_dim <= 2)
    config.fail(ErrorCode::unsupported, found.path, "of type dynamic needs a head_dim above 2");
  if (scaled_context_length(scaling, positions) > static_cast<double>(kPositionsRange.maximum))
    config.fail(ErrorCode::invalid_argument, found.path,
                "stretches the context beyond " + std::to_string(kPositionsRange.maximum) + " positions");
  if (config.error()) return {};
  return make_rope_table(scaling, model.rotary_dim, positions, model.head_dim);
}

}  // namespace

void read_rope(JsonReader& config, const Family& family, std::int32_t max_context, ModelConfig& model) {
  model.rotary_dim = read_rotary_dim(config, family, model.head_dim);
  model.max_positions = config.integer("max_position_embeddings", kPositionsRange, 2048);
  const double theta = config.number("rope_theta", kTheta, RopeScaling{}.theta);
  model.rope = read_table(config, family, find_rope(config, "full_attention"), theta, max_context, model);
  if (family.gemma && !config.error()) {
    const double local = config.number("rope_local_base_freq", kTheta, RopeScaling{}.theta);
    RopeObject found = find_rope(config, "sliding_attention");
    if (!found.path.ends_with("sliding_attention")) found.object = nullptr;  // what it says is of the others
    model.window_rope = read_table(config, family, found, local, max_context, model);
    model.window_rope.max_positions = model.rope.max_positions;
  }
  if (!config.error()) model.max_positions = model.rope.max_positions;
}

}  // namespace baton
