// What POST /v1/embeddings answers. Pure: values in, text out.
//
// Invariant: every vector that is shown has length 1, or is all zeros; its numbers read back to the same f32.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"

namespace baton::frontend {

struct EmbeddingFormat {
  bool base64 = false;                     // of little-endian f32; else an array of numbers
  std::optional<std::int32_t> dimensions;  // only the first ones (Matryoshka, arXiv 2205.13147)
};

// One vector as JSON. internal where it is shorter than what is asked for, or not finite.
Result<std::string> embedding_json(std::vector<float> values, const EmbeddingFormat& format);

// `embeddings` from embedding_json, in the order of the inputs.
std::string embeddings_body(std::string_view model, std::span<const std::string> embeddings,
                            std::uint64_t prompt_tokens);

}  // namespace baton::frontend
