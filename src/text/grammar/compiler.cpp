// The GrammarCompiler: a vocabulary, and what was compiled against it lately, refusals included: a grammar
// that is refused may have cost as much as one that is not.
#include <algorithm>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "baton/text/grammar.hpp"
#include "text/grammar/compiled.hpp"

namespace baton {
namespace {

using text::Automaton;
using text::CompiledGrammar;
using Compiled = Result<std::shared_ptr<const TokenGrammar>>;

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

  // Two threads that want the same compile it once: the later one waits.
  Compiled compile(const std::string& grammar) override {
    if (grammar.size() > limits_.text) return build(grammar);  // refused at a glance: not worth its memory
    const auto entry = entry_of(grammar);
    const std::scoped_lock lock(entry->compiling);
    if (!entry->result) entry->result = build(grammar);
    return *entry->result;
  }

 private:
  struct Entry {
    std::mutex compiling;  // guards what follows
    std::optional<Compiled> result;
  };
  using Known = std::pair<std::string, std::shared_ptr<Entry>>;

  Compiled build(const std::string& grammar) const {
    auto automaton = automaton_of(grammar, limits_);
    if (!automaton) return std::move(automaton).error();
    return std::shared_ptr<const TokenGrammar>(
        std::make_shared<CompiledGrammar>(*std::move(automaton), index_));
  }

  // shared: who compiles it keeps it while it may be forgotten here.
  std::shared_ptr<Entry> entry_of(const std::string& grammar) {
    const std::scoped_lock lock(mutex_);
    if (const auto found = by_text_.find(grammar); found != by_text_.end()) {
      known_.splice(known_.begin(), known_, found->second);
      return found->second->second;
    }
    known_.emplace_front(grammar, std::make_shared<Entry>());
    by_text_.emplace(known_.front().first, known_.begin());
    auto entry = known_.front().second;
    if (known_.size() > limits_.cached) {
      by_text_.erase(known_.back().first);
      known_.pop_back();
    }
    return entry;
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
