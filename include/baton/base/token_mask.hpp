// Outputs that must follow a grammar: which tokens may come next. Here because the text folder compiles
// grammars and engines, which know only ids, sample by them.
//
// A TokenGrammar is one compiled grammar over one vocabulary: immutable to its users and safe to share
// between threads. A TokenMask is where one output stands in it, owned by one thread. The output's tokens are
// its whole state, so that another engine can go on from them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"
#include "baton/base/token.hpp"

namespace baton {

class TokenMask {
 public:
  virtual ~TokenMask() = default;

  // Sets bit i % 32 of word i / 32 where token i may come next, clears every other; allowed.size() is
  // mask_words of the vocabulary that the sampler sees, which may be larger or smaller than the tokenizer's.
  // The model's end-of-sequence tokens may come where the text may end. False: nothing may come (a vocabulary
  // that cannot spell what the grammar wants, or a grammar too ambiguous to follow).
  virtual bool write(std::span<std::uint32_t> allowed) = 0;
  // Takes the next token. False, and nothing changes, where it may not come.
  virtual bool advance(TokenId token) = 0;
  // What advance() has taken at most so far, counted rather than measured.
  virtual Duration advance_time() const { return {}; }
  // The output is complete and nothing can follow but its end, or an end-of-sequence token has come.
  virtual bool ended() const = 0;
};

inline constexpr std::size_t mask_words(std::size_t vocabulary) { return (vocabulary + 31) / 32; }

class TokenGrammar {
 public:
  virtual ~TokenGrammar() = default;
  virtual std::unique_ptr<TokenMask> start() const = 0;
};

// Safe to call from any thread. Compiling takes milliseconds (what was compiled lately, microseconds): not
// for an engine's thread or an io thread.
class GrammarCompiler {
 public:
  virtual ~GrammarCompiler() = default;
  // `grammar`: docs/grammar.md. Shared: outputs keep it while the compiler may forget it. invalid_argument
  // says what is wrong and in which line; too_large beyond the limits.
  virtual Result<std::shared_ptr<const TokenGrammar>> compile(const std::string& grammar) = 0;
};

}  // namespace baton
