// The GrammarCompiler: a vocabulary, and what was compiled against it lately.
#include <algorithm>
#include <list>
#include <mutex>
#include <unordered_map>

#include "baton/text/grammar.hpp"
#include "text/grammar/compiled.hpp"

namespace baton {
namespace {

using text::Automaton;
using text::CompiledGrammar;

Result<Automaton> automaton_of(std::string_view grammar, const GrammarLimits& limits) {
  const auto syntax = text::parse_grammar(grammar, limits.text);
  if (!syntax) return syntax.error();
  return Automaton::build(*syntax, limits.nodes);
}

class Compiler final : public GrammarCompiler {
 public:
  Compiler(const Tokenizer& tokenizer, std::vector<TokenId> ends, const std::vector<TokenId>& markers,
           const GrammarLimits& limits)
      : limits_(limits), index_(std::make_shared<text::TokenIndex>(tokenizer, std::move(ends), markers)) {}

  Result<std::shared_ptr<const TokenGrammar>> compile(const std::string& grammar) override {
    if (auto known = find(grammar)) return known;
    auto automaton = automaton_of(grammar, limits_);
    if (!automaton) return std::move(automaton).error();
    std::shared_ptr<const TokenGrammar> compiled =
        std::make_shared<CompiledGrammar>(*std::move(automaton), index_);
    remember(grammar, compiled);
    return compiled;
  }

 private:
  using Known = std::pair<std::string, std::shared_ptr<const TokenGrammar>>;

  std::shared_ptr<const TokenGrammar> find(const std::string& grammar) {
    const std::scoped_lock lock(mutex_);
    const auto found = by_text_.find(grammar);
    if (found == by_text_.end()) return nullptr;
    known_.splice(known_.begin(), known_, found->second);
    return found->second->second;
  }

  // Two threads may have compiled the same; the later one is left out.
  void remember(const std::string& grammar, const std::shared_ptr<const TokenGrammar>& compiled) {
    const std::scoped_lock lock(mutex_);
    if (by_text_.contains(grammar)) return;
    known_.emplace_front(grammar, compiled);
    by_text_.emplace(known_.front().first, known_.begin());
    if (known_.size() <= limits_.cached) return;
    by_text_.erase(known_.back().first);
    known_.pop_back();
  }

  const GrammarLimits limits_;
  const std::shared_ptr<const text::TokenIndex> index_;

  std::mutex mutex_;                                                          // guards what follows
  std::list<Known> known_;                                                    // used last first
  std::unordered_map<std::string_view, std::list<Known>::iterator> by_text_;  // views into known_
};

}  // namespace

std::unique_ptr<GrammarCompiler> make_grammar_compiler(const Tokenizer& tokenizer, std::vector<TokenId> ends,
                                                       const std::vector<TokenId>& markers,
                                                       const GrammarLimits& limits) {
  return std::make_unique<Compiler>(tokenizer, std::move(ends), markers, limits);
}

Result<bool> follows_grammar(std::string_view grammar, std::string_view text) {
  const auto automaton = automaton_of(grammar, {});
  if (!automaton) return automaton.error();
  text::Walker walker(*automaton);
  text::Positions here, next;
  walker.open({automaton->root(), text::kBottom}, here);
  for (const char c : text) {
    walker.step(here.at, static_cast<std::uint8_t>(c), next);
    std::swap(here, next);
  }
  if (walker.lost())
    return make_error(ErrorCode::unsupported, "The grammar can be read in too many ways at once.");
  return here.left;
}

}  // namespace baton
