// One choice's way from token ids to what the client sees: text without split characters, cut at stop
// strings, with each token's logprobs beside the text that it produced.
//
// Invariant: a token's logprobs leave with, or before, the last byte of its text, and never for a token that
// lies wholly behind a stop string's beginning. The token that ends the output (EOS or a stop id) has
// neither text nor logprobs. Not thread-safe; the Tokenizer must outlive it.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "baton/model/sampler.hpp"
#include "baton/text/detokenizer.hpp"
#include "baton/text/stop_strings.hpp"
#include "frontend/openai/response.hpp"

namespace baton::frontend {

struct OutputRules {
  std::vector<std::string> stop;
  std::vector<TokenId> end_tokens;  // ids that end the output
  SpecialTokens special;
  bool logprobs = false;
  std::size_t text_offset = 0;  // characters that the choice's text already has (echo)
};

struct OutputPiece {
  std::string text;
  std::vector<LogprobEntry> logprobs;
  bool stopped = false;  // a stop string was completed: nothing more will come
};

class OutputStream {
 public:
  OutputStream(const Tokenizer& tokenizer, std::span<const TokenId> prompt_tail, OutputRules rules);

  OutputPiece push(const SampledToken& token);
  OutputPiece finish();  // at the natural end: what was held back

 private:
  struct Pending {
    LogprobEntry entry;
    std::size_t begin = 0, end = 0;  // bytes of the whole text
  };

  LogprobEntry make_entry(const SampledToken& token) const;
  LogprobCandidate candidate(TokenId id, float logprob) const;
  OutputPiece emit(std::string text, bool stopped);

  const Tokenizer& tokenizer_;
  OutputRules rules_;
  Detokenizer detokenizer_;
  StopStrings stops_;
  std::deque<Pending> pending_;
  std::size_t produced_ = 0;  // bytes that the detokenizer returned
  std::size_t emitted_ = 0;   // bytes that left through `stops_`
  std::size_t characters_;    // of what was produced, rules_.text_offset included
  bool ended_ = false;
};

std::size_t count_characters(std::string_view utf8);
bool is_valid_utf8(std::string_view text);

}  // namespace baton::frontend
