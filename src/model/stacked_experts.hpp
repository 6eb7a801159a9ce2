// StackedExperts: a layer's experts where each projection of all of them is one tensor (gpt-oss), in floats
// or in MXFP4 (OCP Microscaling Formats 1.0: e2m1 values, one power of two for each 32 of them):
//
//                 floats                       MXFP4
//   gate and up   <gate> [experts, in, 2 ffn]  <gate>_blocks [experts, 2 ffn, in / 32, 16], _scales without
//   the 16 down          <down> [experts, ffn, in]    <down>_blocks [experts, in, ffn / 32, 16], _scales
//   likewise biases        <gate>_bias [experts, 2 ffn], <down>_bias [experts, in]
//
// Of gates and ups, output 2 i is gate i, output 2 i + 1 up i. A byte holds two values, the first in its low
// half; a scale is 2^(byte - 127).
//
// Nothing of a tensor is read before its type and its whole shape are what they must be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "model/checkpoint.hpp"

namespace baton {

class StackedExperts {
 public:
  struct Size {
    std::int64_t experts = 0, in = 0, ffn = 0;
  };
  // Some outputs of one projection: first, first + step, ...
  struct Outputs {
    std::int64_t first = 0, step = 1, count = 0;
  };

  // One projection of all experts.
  class Stack {
   public:
    std::int64_t out() const { return out_; }
    std::int64_t in() const { return in_; }
    // The type that its values are exact in: its own, of MXFP4 bf16.
    DType type() const { return type_; }
    // Rows of in() values of an expert's outputs. Any thread, several at once.
    void weight(std::int64_t expert, Outputs outputs, DType to, std::byte* rows) const;
    void bias(std::int64_t expert, Outputs outputs, DType to, std::byte* values) const;

   private:
    friend class StackedExperts;
    void read_floats(std::int64_t expert, Outputs outputs, std::span<float> rows) const;
    void read_codes(std::int64_t expert, Outputs outputs, std::span<float> rows) const;

    std::int64_t out_ = 0, in_ = 0;
    DType type_ = DType::bf16, bias_type_ = DType::bf16;
    const std::byte* values_ = nullptr;     // floats [experts, in, out], or blocks
    const std::uint8_t* scales_ = nullptr;  // of blocks, or null
    const std::byte* biases_ = nullptr;     // [experts, out]
  };

  // Errors name the tensor.
  static Result<StackedExperts> open(const Checkpoint& checkpoint, const std::string& gate_up,
                                     const std::string& down, Size size);

  const Stack& gate_up() const { return gate_up_; }
  const Stack& down() const { return down_; }
  const std::vector<std::string>& tensors() const { return tensors_; }  // that were read

 private:
  Result<Stack> open_stack(const Checkpoint& checkpoint, const std::string& name, std::int64_t experts,
                           std::int64_t out, std::int64_t in);
  Result<const Checkpoint::TensorRef*> tensor(const Checkpoint& checkpoint, const std::string& name,
                                              const std::vector<std::int64_t>& shape, bool codes);

  Stack gate_up_, down_;
  std::vector<std::string> tensors_;
};

}  // namespace baton
