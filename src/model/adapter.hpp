// Adapter: a LoRA adapter (arXiv 2106.09685) as PEFT writes it: adapter_config.json and
// adapter_model.safetensors. For a projection W of the model it has A [rank, in] and B [out, rank], and adds
// scale * B A to W; scale is alpha / rank, or alpha / sqrt(rank) (rank-stabilised, arXiv 2312.03732).
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"
#include "baton/model/adapter.hpp"
#include "baton/tensor/ops.hpp"
#include "model/checkpoint.hpp"

namespace baton {

struct AdapterConfig {
  double alpha = 0;
  bool rank_stabilised = false;
};
// What changes the model in other ways (DoRA, biases, whole modules, ...) is refused by the key's name.
Result<AdapterConfig> parse_adapter_config(std::string_view adapter_config_json);

// One of the projections that a Linear has side by side, and what of it a rank of a group has.
struct AdaptedProjection {
  std::string name;      // "model.layers.0.self_attn.q_proj"
  std::int64_t out = 0;  // of the whole
  std::int64_t in = 0;
  std::vector<std::int64_t> outputs;  // those that the Linear has, in its order
  Share inputs;
};

// What an adapter adds to a Linear of several projections: their A one below the other, and of each B the
// outputs that are its own, zeros elsewhere.
struct AdapterMatrices {
  std::vector<float> down;    // [rank, in]
  std::vector<float> up;      // [out, rank]
  std::vector<float> scales;  // [rank]
  AdapterView view() const;   // empty where no projection has a part
  std::int64_t out = 0;
  std::int64_t in = 0;
};

class Adapter {
 public:
  // Errors begin with the adapter's name.
  static Result<Adapter> open(const AdapterSource& source);

  const std::string& name() const { return name_; }
  // Of all that it adds; its name is not part of it.
  Hash128 fingerprint() const { return fingerprint_; }

  // corrupt where a projection has one of its two matrices only, or they do not fit it; unsupported where the
  // ranks of a Linear's come to more than kMostAdapterRank.
  Result<void> check(std::span<const AdaptedProjection> projections) const;
  Result<AdapterMatrices> matrices(std::span<const AdaptedProjection> projections) const;
  // A tensor that belongs to none of these projections, if there is one.
  std::optional<std::string> tensor_outside(const std::set<std::string>& projections) const;

 private:
  struct Part {
    WeightView down, up;
  };

  Adapter(std::string name, AdapterConfig config, Checkpoint tensors);
  Result<std::optional<Part>> part(const AdaptedProjection& projection) const;
  Result<std::vector<std::optional<Part>>> parts(std::span<const AdaptedProjection> projections) const;
  Result<WeightView> matrix(const std::string& tensor) const;  // a float tensor of two dimensions
  float scale(std::int64_t rank) const;

  std::string name_;
  AdapterConfig config_;
  Checkpoint tensors_;
  Hash128 fingerprint_;
};

}  // namespace baton
