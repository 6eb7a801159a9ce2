// PackedProjection: a projection whose weights are integers of 4 or 8 bits in words of 32, as AWQ, GPTQ and
// compressed-tensors lay them out, and what they stand for:
//
//   weight[output, input] = (code[output, input] - zero[output, group]) * scale[output, group]
//
//                 codes                            zeros                        scales           inputs'
//                 groups
//   AWQ           qweight [in, out/8] (1)          qzeros [groups, out/8] (1)   scales [groups, out]
//   GPTQ          qweight [in*bits/32, out]        qzeros [groups, out*bits/32] scales [groups, out] g_idx
//   [in] (2) compressed    weight_packed [out, in*bits/32]  weight_zero_point (3)        weight_scale [out,
//   groups]
//                                                                               weight_g_idx [in] (2)
//
// Words hold their codes from the lowest bits up: (1) of the outputs 0, 2, 4, 6, 1, 3, 5, 7 of eight. (2) If
// there is none, inputs are in order. (3) [out*bits/32, groups], or, as older versions wrote it, I8 of [out,
// groups]. Codes and zeros are there shifted by half their range, and there are no zeros where they are
// symmetric. compressed-tensors rounds up where words are not full, and weight_shape says [out, in].
//
// Nothing of a tensor is read before its type and its whole shape are what they must be, and no index out of
// a tensor is used before it is known to be in range.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/model/config.hpp"
#include "model/checkpoint.hpp"

namespace baton {

// The tensor that has the codes of "<name>".
std::string codes_of(const std::string& name, PackedWeights::Kind kind);
// All tensors that "<name>" is read from.
std::vector<std::string> packed_tensors(const Checkpoint& checkpoint, const std::string& name,
                                        const PackedWeights& packed);

class PackedProjection {
 public:
  struct Size {
    std::int64_t out = 0;
    std::int64_t in = 0;
  };

  // Reads scales, zeros and groups; the codes stay where they are. Errors name the tensor, or the key of
  // config.json that it contradicts.
  static Result<PackedProjection> open(const Checkpoint& checkpoint, const std::string& name,
                                       const PackedWeights& packed, Size size);

  // The outputs [first, last) as rows of `in` values of a float type. Any thread, several at once.
  void expand(std::int64_t first, std::int64_t last, DType to, std::byte* rows) const;

 private:
  using Shape = std::vector<std::int64_t>;
  struct Tile;  // codes of some outputs and some inputs

  PackedProjection(const Checkpoint& checkpoint, const std::string& name, const PackedWeights& packed,
                   Size size);

  Result<std::span<const std::byte>> tensor(const std::string& name, std::string_view dtype,
                                            const Shape& shape) const;
  Result<void> read_codes();
  Result<void> read_scales();
  Result<void> read_zeros();
  Result<void> read_compressed_zeros();
  Result<void> read_groups();

  void read_tile(Tile& tile) const;
  void read_awq_tile(Tile& tile) const;
  void read_gptq_tile(Tile& tile) const;
  void read_compressed_tile(Tile& tile) const;
  void values_of(Tile& tile, std::int64_t output, const float* scale, const float* zero,
                 std::span<float> values) const;
  std::int64_t at(std::int64_t output, std::int64_t group) const {  // of scales and zeros
    return by_output_ ? output * groups_ + group : group * size_.out + output;
  }

  const Checkpoint* checkpoint_;
  std::string name_;
  PackedWeights packed_;
  Size size_;
  std::int64_t per_word_;
  std::int64_t group_;   // inputs
  std::int64_t groups_;  // of an output
  bool by_output_;       // scales and zeros are [out, groups], not [groups, out]
  std::span<const std::byte> codes_;
  std::vector<float> scales_, zeros_;
  std::vector<std::int32_t> input_groups_;  // [in], empty where inputs are in order
};

}  // namespace baton
