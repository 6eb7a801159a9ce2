// The decoders of tokenizer.json as a chain of streaming stages: token spellings in, text out.
//
// One code path serves whole-text decoding and streaming, so the two cannot differ. A stage holds back only
// what a later token can still change: the bytes of an incomplete character, a run of byte tokens, characters
// that the end of the text would strip. Decoder is immutable and shared; a DecodeStream belongs to one
// thread.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_fields.hpp"

namespace baton::text {

// Where a token's text goes: one piece with both marks is a whole token; a token that comes in several pieces
// has its first and last marked.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void piece(std::string_view text, bool begins, bool ends) = 0;
};

// One stage at work, with its state.
class DecodeStage : public TokenSink {
 public:
  explicit DecodeStage(TokenSink& next) : next_(&next) {}
  virtual void finish() = 0;       // the text ends here: hand on what was held back
  virtual void forget_held() = 0;  // what was held back belongs to a prompt: drop it, but for the beginning
                                   // of an incomplete character

 protected:
  TokenSink& next() { return *next_; }

 private:
  TokenSink* next_;
};

class DecoderSpec {
 public:
  virtual ~DecoderSpec() = default;
  virtual std::unique_ptr<DecodeStage> stage(TokenSink& next) const = 0;
  // What one token becomes in the middle of a text; raw bytes, not necessarily UTF-8.
  virtual std::string token_bytes(std::string token) const { return token; }
};

class Decoder {
 public:
  Decoder();  // without decoder in the file: tokens joined by spaces
  Decoder(const nlohmann::json& json, const std::string& path, FirstError& errors);

  const std::vector<std::unique_ptr<DecoderSpec>>& specs() const { return specs_; }
  std::string token_bytes(std::string_view spelling) const;

 private:
  void add(const nlohmann::json& json, const std::string& path, FirstError& errors, int depth);
  std::vector<std::unique_ptr<DecoderSpec>> specs_;
};

// The stages of a Decoder, strung together; text collects in `out`.
class DecodeChain {
 public:
  explicit DecodeChain(const Decoder& decoder);
  void token(std::string_view spelling);
  void finish();
  void forget_held();
  std::string& text() { return out_.text; }

 private:
  struct Output final : TokenSink {
    std::string text;
    void piece(std::string_view piece, bool /*begins*/, bool /*ends*/) override { text.append(piece); }
  };
  Output out_;
  std::vector<std::unique_ptr<DecodeStage>> stages_;  // last stage first
};

}  // namespace baton::text
