// Text to token ids and back, exactly as Hugging Face tokenizers does it from the same tokenizer.json.
//
// A Tokenizer is immutable after loading and safe to share between threads. Supported: byte-level BPE (Llama
// 3, Qwen 2, GPT-2 kind) and SentencePiece-style BPE with byte fallback (Llama 2 kind), with their
// normalizers, pre-tokenizers, post-processors and decoders.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/base/token.hpp"

namespace baton {

struct EncodeOptions {
  bool add_special_tokens = true;  // what the post-processor adds, e.g. BOS
};

// Decoding one id at a time (detokenizer.hpp wraps it). Pieces are whole characters; pushed and finished
// pieces together are what Tokenizer::decode gives for all ids. One per output; the Tokenizer must outlive
// it.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  virtual std::string push(TokenId id) = 0;
  // What was pushed so far is a prompt: what is still held back of it will not be returned, but for the
  // beginning of an incomplete character.
  virtual void forget_prompt() = 0;
  virtual std::string finish() = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // `text` may hold any bytes; invalid UTF-8 is replaced by U+FFFD first. Special tokens in the text are
  // recognised, as in HF.
  virtual std::vector<TokenId> encode(std::string_view text, EncodeOptions options = {}) const = 0;
  // Ids outside the vocabulary are skipped. The result is valid UTF-8 (incomplete sequences become U+FFFD).
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const = 0;

  // Every id that is pushed is text. Without an override: its token_bytes, made valid UTF-8.
  virtual std::unique_ptr<DecodeStream> decode_stream() const;

  virtual std::size_t vocab_size() const = 0;  // one more than the largest id, added tokens included
  virtual std::optional<TokenId> token_to_id(std::string_view token) const = 0;
  virtual std::string_view id_to_token(
      TokenId id) const = 0;  // the vocabulary's spelling; empty outside the vocabulary
  virtual bool is_special(TokenId id) const = 0;
  // The raw bytes that this token contributes in the middle of a text (for logprobs' `bytes` and for
  // streaming).
  virtual std::string token_bytes(TokenId id) const = 0;
};

// From a Hugging Face directory's tokenizer.json. Errors name the path inside the JSON that is wrong or
// unsupported.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::filesystem::path& directory);
Result<std::unique_ptr<Tokenizer>> parse_tokenizer(std::string_view tokenizer_json);

}  // namespace baton
