// Mixture of experts: which experts a row goes to, rows in order of expert, the experts' matrix products, and
// the sum over a row's experts. A layer is
//
//   moe_route    router logits -> experts and weights of every row
//   moe_permute  -> slots: the rows' choices in order of expert, then of row
//   moe_matmul   gate_up of slots, with rows gathered from x
//   gate_mul     (rows.hpp) over all slots
//   moe_matmul   down of slots
//   moe_combine  slots -> rows
//
// Everything is computed from device memory in grids that depend on the number of rows only. A row's result
// depends on that row alone, bit for bit: products are summed in one order of K, experts in the order of the
// row's choices.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element.hpp"
#include "kernels/cuda/rows.hpp"

namespace baton::cuda {

inline constexpr std::int32_t kMaxExperts = 512;
inline constexpr std::int32_t kMaxChoices = 32;  // experts of a row

enum class MoeScores : std::uint8_t { softmax, sigmoid };

struct MoeRoute {
  ConstRows logits;             // [rows, experts], experts <= kMaxExperts
  const float* bias = nullptr;  // [experts], added for the choice only (DeepSeek V3), or null
  MoeScores scores = MoeScores::softmax;
  std::int32_t choices = 1;  // experts of a row, <= kMaxChoices
  // Choices are limited to the best `kept_groups` of `groups` groups of consecutive experts (<= 32). A
  // group's score is its largest one, or with a bias the sum of its two largest (DeepSeek V2 and V3).
  std::int32_t groups = 1;
  std::int32_t kept_groups = 1;
  bool renormalise = true;  // weights of a row add up to `factor`
  float factor = 1.0F;
  std::int32_t* experts = nullptr;  // written, [rows, choices], best first; ties go to the lower id
  float* weights = nullptr;         // written, [rows, choices]
};
cudaError_t moe_route(const MoeRoute& args, cudaStream_t stream);

struct MoePermute {
  const std::int32_t* experts = nullptr;  // [rows * choices]
  std::int32_t entries = 0;               // rows * choices
  std::int32_t first_expert = 0;          // of those that are here; others' choices get no slot
  std::int32_t expert_count = 0;
  std::int32_t* offsets =
      nullptr;  // written, [expert_count + 1]: expert e has slots [offsets[e], offsets[e + 1])
  std::int32_t* entry_of = nullptr;  // written, [entries]: of each slot
  std::int32_t* slot_of = nullptr;   // written, [entries]: -1 where the expert is not here
};
cudaError_t moe_permute(const MoePermute& args, cudaStream_t stream);

struct MoeMatmul {
  ConstRows x;  // with entry_of: [rows, in], row entry / choices; else [entries, in], row slot
  const std::int32_t* offsets = nullptr;   // of moe_permute
  const std::int32_t* entry_of = nullptr;  // likewise, or null
  std::int32_t choices = 1;
  std::int32_t entries = 0;
  std::int32_t expert_count = 0;
  const void* weight = nullptr;         // [experts, out, in], contiguous
  Element weight_type = Element::bf16;  // x's element, or e4m3; with f32 rows any
  const float* scale = nullptr;         // [experts, out], or null: one
  const void* bias = nullptr;           // [experts, out], of x's element, or null: none
  Rows y;  // [entries, out], x's element; slots that no entry has are not written
};
// Tensor cores where x is f16 or bf16 and everything is a multiple of 16 bytes; else a slow kernel.
cudaError_t moe_matmul(const MoeMatmul& args, cudaStream_t stream);

struct MoeCombine {
  ConstRows x;                            // [entries, cols], of slots
  const std::int32_t* slot_of = nullptr;  // [rows * choices]
  const float* weights = nullptr;         // [rows, choices]
  std::int32_t choices = 1;
  Rows y;                   // [rows, cols], x's element
  bool accumulate = false;  // y += (shared experts, residual), else y =
};
cudaError_t moe_combine(const MoeCombine& args, cudaStream_t stream);

}  // namespace baton::cuda
