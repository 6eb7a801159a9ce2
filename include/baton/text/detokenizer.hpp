// Token ids to text, one at a time, never splitting a UTF-8 character: what is held back comes with a later
// token or with finish().
//
// Invariant: the concatenation of everything returned equals Tokenizer::decode of all ids that followed the
// prompt, without the special tokens that are no text (given the prompt's tail as context, so that a leading
// space is kept or dropped as in the whole text). One per output stream; not thread-safe. The Tokenizer must
// outlive it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "baton/text/tokenizer.hpp"

namespace baton {

struct SpecialTokens {
  bool skip = true;
  std::vector<TokenId> shown;  // those that are text all the same
};

class Detokenizer {
 public:
  // `prompt_tail`: the last few prompt ids (may be empty); they produce no text.
  Detokenizer(const Tokenizer& tokenizer, std::span<const TokenId> prompt_tail, SpecialTokens special);
  ~Detokenizer();
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(Detokenizer&&) noexcept;

  std::string push(TokenId id);
  std::string finish();  // the held-back rest, incomplete sequences as U+FFFD

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
