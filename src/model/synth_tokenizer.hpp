// The tokenizer of a synthetic checkpoint: byte-level BPE whose merges are generated, so that any vocabulary
// size can be filled consistently and English text still compresses to about two bytes a token.
#pragma once

#include <cstdint>
#include <string>

namespace baton {

// Ids: the 256 bytes, then the merged tokens, then <|endoftext|>, <|im_start|>, <|im_end|>.
inline constexpr std::int32_t kSynthMinVocab = 256 + 3;
inline constexpr std::int32_t kSynthMaxVocab = 4'000'000;

struct SynthTokenizer {
  std::string tokenizer_json;
  std::string tokenizer_config_json;  // with a ChatML template
  std::int32_t bos = 0;               // <|endoftext|>
  std::int32_t eos = 0;               // <|im_end|>
};

SynthTokenizer make_synth_tokenizer(std::int32_t vocab, std::int32_t max_positions);

}  // namespace baton
