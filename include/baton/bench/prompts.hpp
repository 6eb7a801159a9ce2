// Prompts of exact token lengths, conversations of them, and what a trace asks for. Seeded.
//
// Text is made of common words. How many tokens a word has is asked once; a prompt is put together to length,
// counted as a whole, and mended until it is right: merges across words would show there.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/sim/trace.hpp"

namespace baton::bench {

using CountTokens = std::function<Result<std::size_t>(std::string_view)>;  // without special tokens

struct Turn {
  std::string prompt;
  std::int64_t input_tokens = 0;  // of `prompt` alone
  std::int32_t max_tokens = 0;    // 0: not limited by the client
  double delay = 0;               // seconds after the answer to the turn before
};
struct Conversation {
  std::vector<Turn> turns;
  double at = 0;  // of a fixed schedule, seconds
};

class PromptMaker {
 public:
  // Asks for every word's tokens.
  static Result<PromptMaker> make(CountTokens count, std::uint64_t seed);
  // Text of exactly `tokens` tokens, new each time. An error where the tokenizer does not allow it.
  Result<std::string> text(std::size_t tokens);
  // The same text for the same `key`.
  Result<std::string> text_of(std::uint64_t key, std::size_t tokens);

 private:
  PromptMaker() = default;
  Result<std::string> compose(std::mt19937_64& random, std::size_t tokens);
  struct Word {
    std::string text;
    std::size_t tokens = 0;
  };
  CountTokens count_;
  std::uint64_t seed_ = 0;
  std::mt19937_64 random_;
  std::vector<Word> words_;
};

struct PromptOptions {
  std::size_t conversations = 100;
  double input_mean = 550, input_stddev = 0;
  double output_mean = 0, output_stddev = 0;    // 0: unlimited
  std::size_t prefixes = 0, prefix_length = 0;  // a pool of beginnings that prompts share
  double turns_mean = 1, turns_stddev = 0;
  double delay_mean = 0, delay_stddev = 0;  // seconds between a conversation's turns
  std::uint64_t seed = 0;
};
Result<std::vector<Conversation>> make_conversations(
    PromptMaker& maker, const PromptOptions& options,
    const std::function<void(std::size_t, std::size_t)>& progress);

// A trace's requests at their times, sharing what the trace says is shared.
Result<std::vector<Conversation>> trace_conversations(
    PromptMaker& maker, std::span<const TraceRequest> trace,
    const std::function<void(std::size_t, std::size_t)>& progress);

// Own JSONL: {"timestamp": ms, "text": "..."} or "input_length", "output_length", "session_id", "delay": ms.
Result<std::vector<Conversation>> parse_requests(std::string_view jsonl, const std::string& file,
                                                 PromptMaker& maker);

}  // namespace baton::bench
