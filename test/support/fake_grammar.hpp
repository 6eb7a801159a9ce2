// Grammars over token ids, for tests of everything that follows one and knows no text.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "baton/base/token_mask.hpp"

namespace baton::test {

// Which tokens may come after an output, and whether anything but the end may.
class FakeGrammar final : public TokenGrammar {
 public:
  using Output = std::span<const TokenId>;
  using Rule = std::function<bool(Output output, TokenId next)>;
  using Ended = std::function<bool(Output output)>;
  FakeGrammar(Rule may_come, Ended ended) : may_come_(std::move(may_come)), ended_(std::move(ended)) {}

  std::unique_ptr<TokenMask> start() const override {
    ++starts;
    return std::make_unique<Mask>(*this);
  }

  mutable std::atomic<int> starts{0};
  mutable std::atomic<int> writes{0};

 private:
  class Mask final : public TokenMask {
   public:
    explicit Mask(const FakeGrammar& grammar) : grammar_(grammar) {}
    bool write(std::span<std::uint32_t> allowed) override {
      ++grammar_.writes;
      bool any = false;
      for (std::size_t word = 0; word < allowed.size(); ++word) {
        allowed[word] = 0;
        for (std::uint32_t bit = 0; bit < 32; ++bit)
          if (grammar_.may_come_(output_, static_cast<TokenId>(32 * word + bit)))
            allowed[word] |= std::uint32_t{1} << bit;
        any = any || allowed[word] != 0;
      }
      if (!any) std::ranges::fill(allowed, ~std::uint32_t{0});  // means nothing then
      return any;
    }
    bool advance(TokenId token) override {
      if (!grammar_.may_come_(output_, token)) return false;
      output_.push_back(token);
      return true;
    }
    bool ended() const override { return grammar_.ended_(output_); }

   private:
    const FakeGrammar& grammar_;  // the sequence keeps it alive
    std::vector<TokenId> output_;
  };

  Rule may_come_;
  Ended ended_;
};

// Any number of multiples of `n`, then `end`.
inline std::shared_ptr<FakeGrammar> multiples_of(TokenId n, TokenId end) {
  return std::make_shared<FakeGrammar>(
      [n, end](FakeGrammar::Output output, TokenId next) {
        return (output.empty() || output.back() != end) && (next == end || next % n == 0);
      },
      [end](FakeGrammar::Output output) { return !output.empty() && output.back() == end; });
}

// These tokens and nothing behind them but `end`.
inline std::shared_ptr<FakeGrammar> exactly(std::vector<TokenId> text, TokenId end) {
  const std::size_t size = text.size();
  return std::make_shared<FakeGrammar>(
      [text = std::move(text), end](FakeGrammar::Output output, TokenId next) {
        return output.size() < text.size() ? next == text[output.size()]
                                           : output.size() == text.size() && next == end;
      },
      [size](FakeGrammar::Output output) { return output.size() >= size; });
}

// So many tokens of any kind, then nothing at all: as where a vocabulary cannot spell the rest.
inline std::shared_ptr<FakeGrammar> stuck_after(std::size_t tokens) {
  return std::make_shared<FakeGrammar>(
      [tokens](FakeGrammar::Output output, TokenId) { return output.size() < tokens; },
      [](FakeGrammar::Output) { return false; });
}

}  // namespace baton::test
