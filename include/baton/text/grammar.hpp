// Grammars of outputs: text in the notation of docs/grammar.md (GBNF, as llama.cpp and XGrammar write it)
// compiled against a tokenizer's vocabulary.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/base/token_mask.hpp"
#include "baton/text/tokenizer.hpp"

namespace baton {

struct GrammarLimits {
  std::size_t text = 256 << 10;  // bytes of a grammar
  std::size_t nodes = 1 << 18;   // states of its automaton
  std::size_t cached = 32;       // compiled grammars that are kept for the next request
};

// `ends`: the model's end-of-sequence tokens. `markers`: special tokens whose text a grammar may ask for; no
// other can be asked for. Reads the vocabulary once; the tokenizer need not live on.
std::unique_ptr<GrammarCompiler> make_grammar_compiler(const Tokenizer& tokenizer, std::vector<TokenId> ends,
                                                       const std::vector<TokenId>& markers = {},
                                                       const GrammarLimits& limits = {});

// Whether the whole of `text` follows the grammar, byte by byte: for tests and for checking answers.
Result<bool> follows_grammar(std::string_view grammar, std::string_view text);

}  // namespace baton
