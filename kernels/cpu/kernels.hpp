// The CPU kernels' only entrance: a table of function pointers per instruction set.
//
// Every kernel is written once, as a template over a small vector type (vector.hpp), and compiled three times
// with different flags; which table is used is decided at run time. Raw pointers only, no state, no threads,
// no allocation: the caller (src/tensor) splits the work and lends the scratch. Invariant, in every kernel:
// what is computed for a row depends on that row alone, in one fixed order (docs/decisions/0001-sameness.md).
#pragma once

#include <cstddef>
#include <cstdint>

namespace baton::kernels {

// e4m3 is fp8, finite up to 448; e4m3_finite the same where no element is NaN, which goes faster.
enum class Element : std::uint8_t { f32, f16, bf16, e4m3, e4m3_finite };

constexpr std::size_t bytes_of(Element type) {
  return type == Element::f32 ? 4 : type == Element::e4m3 || type == Element::e4m3_finite ? 1 : 2;
}

// A packed weight is cut into groups of `Kernels::group` outputs; one group lies as [in][group], so that
// lanes run along the outputs and a product with one row reads memory strictly forwards.
struct PackArgs {
  void* group;                // of one group, [in][group]
  std::int64_t first_column;  // within the group
  std::int64_t columns;
  const void* rows;  // source, [columns, in] row-major, any alignment
  std::int64_t in;
  Element type;
};

struct GemmArgs {
  const float* x;  // [rows, in], `x_stride` apart
  std::int64_t x_stride;
  std::int64_t rows;
  const void* weight;  // packed groups
  Element type;
  std::int64_t in;
  std::int64_t out;
  const float* scale;  // [groups * group] or null: what each output's sum is multiplied with
  const float* bias;   // [groups * group] or null
  float* y;            // [rows, out], `y_stride` apart
  std::int64_t y_stride;
};

struct RowRange {
  std::int64_t first;
  std::int64_t last;  // one past
};

struct EmbedArgs {
  const void* weight;  // packed groups
  Element type;
  std::int64_t in;
  std::int64_t token;
  float* y;  // [in]
};

struct RopeArgs {
  float* row;  // [heads * head_dim], rotated in place
  std::int64_t heads;
  std::int64_t head_dim;
  const float* cosine;  // [head_dim / 2]
  const float* sine;    // [head_dim / 2]
};

// What a gate does: Activation of include/baton/tensor/ops.hpp.
enum class Gate : std::uint8_t { silu, gelu, clamped_silu };
inline constexpr float kGeluCubed = 0.044715F;
inline constexpr float kGeluSlope = 1.5957691216F;  // 2 sqrt(2 / pi)
inline constexpr float kClampedLimit = 7.0F;
inline constexpr float kClampedSlope = 1.702F;

// Keys per attention split. Splits start at multiples of this absolute position, whatever the batch.
inline constexpr std::int64_t kAttentionSplit = 128;

// One KV head's view of one sequence's blocks.
struct KvPieces {
  const std::byte* base;    // block 0
  std::size_t block_bytes;  // from one block to the next
  std::size_t k_offset;     // of [token][head_dim] within a block
  std::size_t v_offset;
  const std::int32_t* block_table;  // of this sequence
  std::int32_t block_size;          // tokens
  Element type;
};

// Query rows at consecutive positions, with the `heads` query heads that share one KV head. Row i of the
// `rows * heads` scored together is head i % heads at position first_position + i / heads.
struct AttentionArgs {
  const float* q;  // [rows, heads * head_dim], `q_stride` apart
  std::int64_t q_stride;
  std::int64_t rows;
  std::int64_t heads;
  std::int64_t head_dim;
  std::int64_t first_position;
  std::int64_t window;  // positions that a row sees at most, its own included
  float scale;
  KvPieces kv;
};

// What a split contributes to one (row, head): its maximum, its sum of exponentials, and its weighted sum of
// V. In memory: partial_floats(head_dim) floats, [max, sum, padding..., V sum].
struct Kernels {
  const char* name;
  std::int64_t group;        // outputs per packed group
  std::int64_t direct_rows;  // gemm_direct takes at most this many rows
  std::int64_t tile_rows;    // gemm_blocked likes ranges that are a multiple of this

  void (*pack)(const PackArgs&);
  void (*embed)(const EmbedArgs&);

  // Few rows: one group, straight from the packed weight.
  void (*gemm_direct)(const GemmArgs&, std::int64_t group);
  // Many rows: x is first copied into blocks of K (gemm_block_floats in all), then one group at a time.
  std::size_t (*gemm_block_floats)(std::int64_t rows, std::int64_t in);
  std::size_t (*gemm_scratch_floats)();
  void (*gemm_block)(const GemmArgs&, RowRange rows, float* blocks);
  void (*gemm_blocked)(const GemmArgs&, std::int64_t group, RowRange rows, const float* blocks,
                       float* scratch);

  void (*rms_norm)(const float* x, const float* weight, std::int64_t cols, float epsilon, float* y);
  void (*add)(float* x, const float* y, float factor, std::int64_t cols);
  void (*gate_mul)(Gate activation, const float* gate, const float* up, std::int64_t cols, float* y);
  void (*rope)(const RopeArgs&);
  void (*store)(const float* x, std::int64_t count, Element type, void* out);

  std::size_t (*attention_partial_floats)(std::int64_t head_dim);  // one (row, head)
  std::size_t (*attention_scratch_floats)(std::int64_t head_dim);
  // Partials of one split, [rows * heads] of them. A row that sees nothing of the split has sum 0.
  void (*attention_split)(const AttentionArgs&, std::int64_t split, float* partials, float* scratch);
  // Folds the next split's partials into the running ones (whose sum 0 means: none so far), `count` of them.
  void (*attention_merge)(float* running, const float* next, std::int64_t count, std::int64_t head_dim);
  // out = V sum / sum of one partial; `sink`: a score without a value that counts in the sum, or null.
  void (*attention_finish)(const float* running, std::int64_t head_dim, const float* sink, float* out);
};

const Kernels& portable_kernels();
#if BATON_X86
const Kernels& avx2_kernels();    // needs avx2, fma, f16c
const Kernels& avx512_kernels();  // needs avx512f, bw, vl, dq besides
#endif

}  // namespace baton::kernels
