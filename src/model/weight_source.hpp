// WeightSource: the one list of tensors that a model family reads, walked twice.
//
// A family describes its weights once, by asking for them in order. The first walk (a survey) checks that
// each tensor is there with the right shape, adds up their bytes and hashes them into a fingerprint; only
// then does the second walk pack them. So a bad checkpoint fails at once, not after minutes of packing. The
// first error sticks; later requests return empty weights.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"
#include "baton/model/model.hpp"
#include "baton/tensor/ops.hpp"
#include "model/checkpoint.hpp"

namespace baton {

class WeightSource {
 public:
  // A projection to ask for: "<name>.weight" of shape [out, in], and "<name>.bias" of [out] where `bias`. An
  // e4m3 weight has "<name>.weight_scale", one element or one for each output, beside it.
  struct Projection {
    std::string name;
    std::int64_t out = 0;
    bool bias = false;
  };

  // `config_hash` starts the fingerprint.
  WeightSource(const Checkpoint& checkpoint, Hash128 config_hash)
      : checkpoint_(checkpoint), fingerprint_(config_hash) {}

  // The survey is over: from here on weights are packed by `ops`.
  void start_packing(Ops& ops, const LoadProgress& progress);

  Linear linear(std::int64_t in, std::span<const Projection> projections);  // outputs side by side
  Linear linear(std::int64_t in, Projection projection) { return linear(in, std::span(&projection, 1)); }
  Linear vector(const std::string& name, std::int64_t size);
  // A layer's experts: "<prefix><index>.<name>.weight", gate and up [ffn, in], down [in, ffn].
  Experts experts(const std::string& prefix, std::int32_t count, std::int64_t in, std::int64_t ffn,
                  const MixtureNames& names);
  // A tensor that would be there only if config.json were wrong about `field`: it is not silently left out.
  void absent(const std::string& name, const std::string& field);

  const std::optional<Error>& error() const { return error_; }
  Hash128 fingerprint() const { return fingerprint_; }
  std::optional<DType> dtype_of(const std::string& name) const;

 private:
  // "<name>.weight_scale" as floats that stay until the next linear() or experts(), into `view`.
  void add_scales(const Projection& wanted, WeightView& view);
  std::optional<WeightView> projection(std::int64_t in, const Projection& wanted);
  void take(const std::string& name);  // counts a tensor: into the fingerprint or into the progress
  template <class T>
  std::optional<T> keep_error(Result<T> result);

  const Checkpoint& checkpoint_;
  std::deque<std::vector<float>> scales_;  // of the views that are being put together
  Hash128 fingerprint_;
  Ops* ops_ = nullptr;
  LoadProgress progress_;
  std::uint64_t bytes_total_ = 0;
  std::uint64_t bytes_done_ = 0;
  std::optional<Error> error_;
};

}  // namespace baton
