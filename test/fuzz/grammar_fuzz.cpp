// A grammar from anybody: compiled against a small vocabulary, then written by. What a mask allows must be
// taken, and a mask that allows nothing must be one that says so.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "baton/text/grammar.hpp"
#include "text/small_vocabulary.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const baton::test::SmallVocabulary vocabulary(baton::test::json_tokens());
  const auto end = static_cast<baton::TokenId>(vocabulary.vocab_size() - 1);
  baton::GrammarLimits limits;
  limits.nodes = 4096;
  const auto compiler = baton::make_grammar_compiler(vocabulary, {end}, {}, limits);
  const auto grammar = compiler->compile({reinterpret_cast<const char*>(data), size});
  if (!grammar) return 0;
  const auto mask = (*grammar)->start();
  std::vector<std::uint32_t> allowed(baton::mask_words(vocabulary.vocab_size()));
  std::uint32_t random = static_cast<std::uint32_t>(size) * 2654435761U + 1;
  for (int length = 0; length < 40 && !mask->ended(); ++length) {
    if (!mask->write(allowed)) return 0;
    // The first allowed token at or behind a random place, in a circle.
    random = random * 1664525U + 1013904223U;
    std::size_t token = (random >> 8) % vocabulary.vocab_size();
    while ((allowed[token / 32] >> (token % 32) & 1) == 0) token = (token + 1) % vocabulary.vocab_size();
    if (!mask->advance(static_cast<baton::TokenId>(token))) std::abort();
  }
  return 0;
}
