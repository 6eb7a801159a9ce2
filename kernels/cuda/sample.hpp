// Sampling on the device: logits stay, only token ids (and log probabilities where asked for) come back. The
// same tokens as the CPU's Sampler (baton/model/sampler.hpp) for the same f32 logits, bit for bit: the same
// order of operations, the same noise, the same IEEE arithmetic, and integer sums for top_p. Log
// probabilities agree to about 1e-6: they are summed in another order.
//
// A launch's shape depends on rows, vocab and stages only; everything about a row is read from device memory,
// so a recorded graph serves any parameters within its stages. Logits of rows with a logit_bias, penalties,
// bans or a mask are changed in place.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace baton::cuda {

// One row's entries of the three lists below are entries [first, first + count).
struct EntryRange {
  std::int32_t first = 0;
  std::int32_t count = 0;
};

// Sorted by token; those of one token in the order in which they are to be added.
struct TokenBias {
  std::int32_t token = 0;
  float bias = 0.0F;
  float raw = 0.0F;  // written: the logit as the model gave it
};

// A token of the prompt or the output, once.
struct TokenCount {
  std::int32_t token = 0;
  std::int32_t in_output = 0;  // occurrences; 0: in the prompt only
  float raw = 0.0F;            // written
};

struct BannedToken {
  std::int32_t token = 0;
  float raw = 0.0F;  // written
};

// SamplingParams of one row; the fields mean what they mean there.
struct SampleRow {
  float temperature = 0.0F;  // <= 0: greedy
  float top_p = 1.0F;
  float min_p = 0.0F;
  std::int32_t top_k = 0;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  float repetition_penalty = 1.0F;
  std::uint32_t choice = 0;
  std::uint64_t seed = 0;
  std::uint64_t output_index = 0;  // tokens generated so far
  std::int32_t logprobs = -1;      // -1: none; n: of the chosen token and the n most likely ones
  std::int32_t mask = -1;          // which of the masks allows tokens; -1: all are allowed
  EntryRange bias;
  EntryRange counts;
  EntryRange banned;
};

// What the rows of a launch may ask for. Kernels that none can need are not launched; a row that asks for
// more is sampled without it (without `draw`: greedily).
struct SampleStages {
  bool draw = true;     // temperature > 0
  bool filters = true;  // top_k, top_p (min_p needs no stage)
  bool logprobs = false;
};

inline constexpr std::int32_t kMaxTopLogprobs = 64;

struct SampleArgs {
  float* logits = nullptr;         // [rows, vocab]
  std::int64_t stride = 0;         // elements from one row to the next
  std::int32_t rows = 0;           // <= max_rows
  std::int32_t vocab = 0;          // < 2^18 where top_p is used, < 2^24 otherwise
  const SampleRow* row = nullptr;  // [rows]
  TokenBias* bias = nullptr;       // all rows' entries, one row after the other; likewise below
  TokenCount* counts = nullptr;
  BannedToken* banned = nullptr;
  const std::uint32_t* masks =
      nullptr;                   // [masks][mask_stride], bit t % 32 of word t / 32: token t is allowed
  std::int64_t mask_stride = 0;  // words

  std::int32_t* tokens = nullptr;      // [rows]
  float* logprobs = nullptr;           // [rows], of the chosen token
  std::int32_t* top_tokens = nullptr;  // [rows, kMaxTopLogprobs], most likely first
  float* top_logprobs = nullptr;       // [rows, kMaxTopLogprobs]

  // sample_workspace_bytes(max_rows, vocab), 256-byte aligned; zero before the first launch, left as the next
  // one needs it by every launch. Launches that share it run one after the other.
  void* workspace = nullptr;
  std::int32_t max_rows = 0;
};

std::size_t sample_workspace_bytes(std::int32_t max_rows, std::int32_t vocab);

cudaError_t sample(const SampleArgs& args, const SampleStages& stages, cudaStream_t stream);

}  // namespace baton::cuda
