// WeightSource: the one list of tensors that a model family reads, walked twice.
//
// A family describes its weights once, by asking for them in order. The first walk (a survey) checks that
// each tensor is there with the right shape, adds up their bytes and hashes them into a fingerprint; only
// then does the second walk pack them. So a bad checkpoint fails at once, not after minutes of packing. The
// first error sticks; later requests return empty weights.
//
// A rank of a group packs its share of a weight: of the outputs, or of the inputs, whose products are then
// the ranks' to add up. What is asked for is always the whole, and so is what is checked and hashed.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"
#include "baton/model/model.hpp"
#include "baton/tensor/ops.hpp"
#include "model/adapter.hpp"
#include "model/checkpoint.hpp"
#include "model/stacked_experts.hpp"

namespace baton {

// How a weight is shared out over a group's ranks.
enum class Split {
  none,     // each rank has all of it
  outputs,  // share_of() the outputs of each projection
  inputs,   // share_of() the inputs; rank 0 has the biases
};

// What becomes of a vector's elements: each is (value + offset) * factor.
struct VectorChange {
  float factor = 1.0F;
  float offset = 0.0F;
  std::span<const std::int32_t> order = {};  // the order that they are to be in; empty: as they are
};

class WeightSource {
 public:
  static constexpr const char* kEmbeddings = "model.embed_tokens.weight";
  // A projection to ask for: "<name>.weight" of shape [out, in], and "<name>.bias" of [out] where `bias`. An
  // e4m3 weight has its scales beside it: "<name>.weight_scale", one element or one for each output; or,
  // where the checkpoint has them for blocks, "<name>.weight_scale_inv". A packed one has other tensors
  // instead (packed_weights.hpp).
  struct Projection {
    std::string name;
    std::int64_t out = 0;
    bool bias = false;
    bool keeps_type = false;  // is never quantised, and no adapter changes it
    // Of a tensor that holds several projections: its outputs [first, first + out) of `of`; 0: all are its
    // own.
    std::int64_t first = 0;
    std::int64_t of = 0;
    // The order that the outputs of each head are to be in (rope.hpp); empty: as they are.
    std::vector<std::int32_t> head_order = {};

    std::int64_t tensor_outputs() const { return of > 0 ? of : out; }
  };

  // `config_hash` starts the fingerprint, which is the same for all ranks.
  WeightSource(const Checkpoint& checkpoint, Hash128 config_hash, const ModelConfig& config, GroupPlace place,
               Quantization quantization, std::span<const Adapter> adapters = {})
      : checkpoint_(checkpoint),
        blocks_(config.fp8_blocks),
        packed_(config.packed),
        place_(place),
        quantization_(quantization),
        adapters_(adapters),
        fingerprint_(config_hash) {}

  // The survey is over: from here on weights are packed by `ops`.
  void start_packing(Ops& ops, const LoadProgress& progress);

  Linear linear(std::int64_t in, std::span<const Projection> projections,
                Split split = Split::none);  // outputs side by side
  Linear linear(std::int64_t in, Projection projection, Split split = Split::none) {
    return linear(in, std::span(&projection, 1), split);
  }
  // One that was asked for already, packed once more: it counts once.
  Linear linear_again(std::int64_t in, const Projection& projection, Split split);
  Linear vector(const std::string& name, std::int64_t size, VectorChange change = {},
                Split split = Split::none);
  // A layer's experts: "<prefix><index>.<name>.weight", gate and up [ffn, in], down [in, ffn]. Each rank has
  // its share of every expert's ffn.
  Experts experts(const std::string& prefix, std::int32_t count, std::int64_t in, std::int64_t ffn,
                  const MixtureNames& names);
  // Likewise of "<prefix><gate>" and "<prefix><down>", which hold all experts (MixtureNames): [experts, in,
  // 2 * ffn] and [experts, ffn, in], or in MXFP4 (stacked_experts.hpp).
  Experts experts_of_one_tensor(const std::string& prefix, std::int32_t count, std::int64_t in,
                                std::int64_t ffn, const MixtureNames& names);
  // A tensor that would be there only if config.json were wrong about `field`: it is not silently left out.
  void absent(const std::string& name, const std::string& field);
  void absent_packed(const std::string& name, const std::string& field);  // a projection's

  // After the survey: every tensor of every adapter must have been for a projection that was asked for.
  void no_adapter_left_over();

  const std::optional<Error>& error() const { return error_; }
  Hash128 fingerprint() const { return fingerprint_; }
  std::optional<DType> dtype_of(const std::string& name) const;

 private:
  using Shape = std::vector<std::int64_t>;

  // "<name>.weight_scale" as floats that stay until the next linear() or experts(), into `view`.
  void add_scales(const Projection& wanted, WeightView& view);
  // The weight of blocks with scales of their own, as long, in the type of the embeddings.
  void expand_blocks(const Projection& wanted, WeightView& view);
  std::string scales_of(const std::string& weight) const {
    return weight + (blocks_.out > 0 ? "_scale_inv" : "_scale");
  }
  std::optional<std::vector<float>> read_scales(const std::string& name,
                                                const std::function<bool(const Shape&)>& allowed,
                                                const std::string& wanted);
  bool is_packed(const std::string& name) const;
  std::optional<WeightView> whole_projection(std::int64_t in, const Projection& wanted);
  // Of a packed one the outputs `rows`, in the type of the embeddings.
  std::optional<WeightView> unpacked_projection(std::int64_t in, const Projection& wanted, Share rows);
  // `expanded`: the weight's type is not the checkpoint's choice, the bias follows it.
  void add_bias(const Projection& wanted, bool expanded, WeightView& view);
  void no_bias_but_zeros(const std::string& name, std::int64_t out);
  std::optional<WeightView> projection(std::int64_t in, const Projection& wanted, Split split);
  WeightView quantised(const WeightView& view);
  Share outputs_of(const Projection& wanted, Split split) const;  // of its tensor, that this rank has
  WeightView share_of_outputs(const WeightView& whole, Share mine) const;
  WeightView in_order(const WeightView& view, std::span<const std::int32_t> head_order);
  WeightView share_of_inputs(const WeightView& whole);
  WeightView stacked(const StackedExperts::Stack& stack, std::int64_t expert,
                     StackedExperts::Outputs outputs);
  Linear pack(std::int64_t in, std::span<const Projection> projections, Split split);
  // The Linear of these projections with what the adapters add to it; the survey only looks.
  Linear adapted(const Linear& packed, std::int64_t in, std::span<const Projection> projections, Split split);
  std::vector<std::string> tensors_of(const Projection& wanted) const;
  std::byte* room_for(std::int64_t elements, DType dtype);  // in expanded_
  bool is_rounded(const Projection& wanted) const;          // to e4m3, when it is loaded
  void take(const Projection& wanted);
  void take(const std::string& name);  // counts a tensor: into the fingerprint or into the progress
  template <class T>
  std::optional<T> keep_error(Result<T> result);

  const Checkpoint& checkpoint_;
  const Fp8Blocks blocks_;
  const PackedWeights packed_;
  const GroupPlace place_;
  const Quantization quantization_;
  const std::span<const Adapter> adapters_;
  std::set<std::string> adapted_;                      // projections that adapters may change
  std::deque<std::vector<float>> scales_;              // of the views that are being put together
  std::deque<std::unique_ptr<std::byte[]>> expanded_;  // likewise, of copies that differ from the checkpoint
  Hash128 fingerprint_;
  Ops* ops_ = nullptr;
  LoadProgress progress_;
  std::uint64_t bytes_total_ = 0;
  std::uint64_t bytes_done_ = 0;
  std::optional<Error> error_;
};

}  // namespace baton
