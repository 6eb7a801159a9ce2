#include "baton/bench/prompts.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

namespace baton::bench {
namespace {

constexpr std::array kWords{
    "a",     "i",      "the",     "of",    "and",   "to",    "in",     "is",     "that",   "for",    "it",
    "as",    "was",    "with",    "be",    "by",    "on",    "not",    "he",     "his",    "but",    "at",
    "are",   "this",   "have",    "from",  "or",    "had",   "an",     "they",   "which",  "one",    "you",
    "were",  "all",    "her",     "she",   "there", "would", "their",  "we",     "him",    "been",   "has",
    "when",  "who",    "will",    "no",    "more",  "if",    "out",    "so",     "up",     "said",   "what",
    "its",   "about",  "than",    "into",  "them",  "can",   "only",   "other",  "time",   "new",    "some",
    "could", "these",  "two",     "may",   "first", "then",  "do",     "any",    "like",   "my",     "now",
    "over",  "such",   "our",     "man",   "me",    "even",  "most",   "made",   "after",  "also",   "did",
    "many",  "off",    "before",  "must",  "well",  "back",  "years",  "much",   "where",  "your",   "way",
    "down",  "should", "because", "long",  "each",  "just",  "state",  "people", "those",  "too",    "mr",
    "how",   "little", "good",    "world", "make",  "very",  "year",   "still",  "see",    "work",   "life",
    "water", "house",  "light",   "night", "river", "stone", "letter", "table",  "garden", "morning"};
constexpr int kMends = 40;

std::int64_t drawn(std::mt19937_64& random, double mean, double stddev, double least) {
  if (stddev <= 0) return static_cast<std::int64_t>(std::llround(std::max(mean, least)));
  std::normal_distribution<double> normal(mean, stddev);
  return static_cast<std::int64_t>(std::llround(std::max(normal(random), least)));
}

Error bad_line(const std::string& file, std::size_t line, const std::string& what) {
  return make_error(ErrorCode::invalid_argument, file + " line " + std::to_string(line) + ": " + what,
                    "--input-file");
}

}  // namespace

Result<PromptMaker> PromptMaker::make(CountTokens count, std::uint64_t seed) {
  PromptMaker maker;
  maker.count_ = std::move(count);
  maker.seed_ = seed;
  maker.random_.seed(seed);
  for (const char* word : kWords) {
    // In the middle of a text: what stands before it has tokens of its own.
    const auto without = maker.count_("the the");
    if (!without) return without.error();
    const auto with = maker.count_(std::string("the ") + word + " the");
    if (!with) return with.error();
    if (*with > *without) maker.words_.push_back({word, *with - *without});
  }
  if (maker.words_.empty())
    return make_error(ErrorCode::unsupported, "the tokenizer gives no word a token", "--tokenizer");
  std::ranges::stable_sort(maker.words_, {}, &Word::tokens);
  return maker;
}

Result<std::string> PromptMaker::text(std::size_t tokens) { return compose(random_, tokens); }

Result<std::string> PromptMaker::text_of(std::uint64_t key, std::size_t tokens) {
  std::mt19937_64 random(seed_ * 0x9E3779B97F4A7C15ULL + key);
  return compose(random, tokens);
}

Result<std::string> PromptMaker::compose(std::mt19937_64& random, std::size_t tokens) {
  std::vector<const Word*> chosen;
  std::size_t sum = 0;
  // Any word that still fits; they are sorted by their tokens.
  const auto grow = [&](std::size_t to) {
    while (sum < to) {
      const auto end = std::ranges::upper_bound(words_, to - sum, {}, &Word::tokens);
      const auto fitting = static_cast<std::size_t>(end - words_.begin());
      if (fitting == 0) break;
      const Word& word = words_[random() % fitting];
      chosen.push_back(&word);
      sum += word.tokens;
    }
  };
  const auto joined = [&] {
    std::string text;
    for (const Word* word : chosen) {
      if (!text.empty()) text += ' ';
      text += word->text;
    }
    return text;
  };
  std::size_t aim = tokens;
  std::string text;
  for (int mend = 0; mend < kMends; ++mend) {
    grow(aim);
    text = joined();
    const auto counted = count_(text);
    if (!counted) return counted.error();
    if (*counted == tokens) return text;
    // Off by what words do to each other: aim as far to the other side, from a few words before.
    aim = *counted < tokens ? aim + (tokens - *counted) : aim - std::min(aim, *counted - tokens);
    for (int drop = 0; drop < 1 + mend / 4 && !chosen.empty(); ++drop) {
      sum -= chosen.back()->tokens;
      chosen.pop_back();
    }
    while (sum > aim && !chosen.empty()) {
      sum -= chosen.back()->tokens;
      chosen.pop_back();
    }
  }
  return make_error(ErrorCode::unsupported,
                    "no text of exactly " + std::to_string(tokens) + " tokens was found with this tokenizer",
                    "--isl");
}

Result<std::vector<Conversation>> make_conversations(
    PromptMaker& maker, const PromptOptions& options,
    const std::function<void(std::size_t, std::size_t)>& progress) {
  std::mt19937_64 random(options.seed ^ 0xB5297A4D3F84D5B5ULL);
  std::vector<std::string> prefixes;
  for (std::size_t i = 0; i < options.prefixes && options.prefix_length > 0; ++i) {
    auto text = maker.text_of(i, options.prefix_length);
    if (!text) return text.error();
    prefixes.push_back(*std::move(text));
  }
  std::vector<Conversation> all(options.conversations);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::int64_t turns = drawn(random, options.turns_mean, options.turns_stddev, 1);
    for (std::int64_t t = 0; t < turns; ++t) {
      Turn turn;
      turn.input_tokens = drawn(random, options.input_mean, options.input_stddev, 1);
      auto text = maker.text(static_cast<std::size_t>(turn.input_tokens));
      if (!text) return text.error();
      turn.prompt = *std::move(text);
      if (t == 0 && !prefixes.empty()) {
        turn.prompt = prefixes[random() % prefixes.size()] + " " + turn.prompt;
        turn.input_tokens += static_cast<std::int64_t>(options.prefix_length);
      }
      if (options.output_mean > 0)
        turn.max_tokens =
            static_cast<std::int32_t>(drawn(random, options.output_mean, options.output_stddev, 1));
      if (t > 0 && options.delay_mean > 0) {
        std::normal_distribution<double> normal(options.delay_mean, options.delay_stddev);
        turn.delay = std::max(0.0, options.delay_stddev > 0 ? normal(random) : options.delay_mean);
      }
      all[i].turns.push_back(std::move(turn));
    }
    if (progress) progress(i + 1, all.size());
  }
  return all;
}

Result<std::vector<Conversation>> trace_conversations(
    PromptMaker& maker, std::span<const TraceRequest> trace,
    const std::function<void(std::size_t, std::size_t)>& progress) {
  std::vector<Conversation> all;
  std::map<std::pair<std::uint64_t, std::size_t>, std::string> chunks;
  for (const TraceRequest& request : trace) {
    std::string prompt;
    std::size_t left = static_cast<std::size_t>(request.input_tokens);
    for (const std::uint64_t id : request.content) {
      const std::size_t tokens = std::min(left, static_cast<std::size_t>(request.chunk));
      if (tokens == 0) break;
      std::string& chunk = chunks[{id, tokens}];
      if (chunk.empty()) {
        auto text = maker.text_of(id, tokens);
        if (!text) return text.error();
        chunk = *std::move(text);
      }
      prompt += (prompt.empty() ? "" : " ") + chunk;
      left -= tokens;
    }
    if (left > 0) {
      auto text = maker.text(left);
      if (!text) return text.error();
      prompt += (prompt.empty() ? "" : " ") + *text;
    }
    all.push_back(
        {{{std::move(prompt), request.input_tokens, request.output_tokens, 0}}, to_seconds(request.arrival)});
    if (progress) progress(all.size(), trace.size());
  }
  return all;
}

Result<std::vector<Conversation>> parse_requests(std::string_view jsonl, const std::string& file,
                                                 PromptMaker& maker) {
  std::vector<Conversation> all;
  std::map<std::string, std::size_t> sessions;
  std::size_t number = 0;
  while (!jsonl.empty()) {
    const std::size_t end = jsonl.find('\n');
    const std::string_view line = jsonl.substr(0, end);
    jsonl.remove_prefix(end == jsonl.npos ? jsonl.size() : end + 1);
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    if (!entry.is_object()) return bad_line(file, number, "not a JSON object");
    const auto figure = [&](const char* key, double fallback) -> Result<double> {
      const auto found = entry.find(key);
      if (found == entry.end() || found->is_null()) return fallback;
      if (!found->is_number() || found->get<double>() < 0 || found->get<double>() > 1e9)
        return bad_line(file, number, std::string("'") + key + "' is not a number from 0 to 1e9");
      return found->get<double>();
    };
    const auto at = figure("timestamp", 0), length = figure("input_length", 0),
               output = figure("output_length", 0), delay = figure("delay", 0);
    for (const auto* value : {&at, &length, &output, &delay})
      if (!*value) return value->error();
    Turn turn;
    turn.max_tokens = static_cast<std::int32_t>(*output);
    turn.delay = *delay / 1e3;
    if (const auto text = entry.find("text"); text != entry.end()) {
      if (!text->is_string() || text->get_ref<const std::string&>().empty())
        return bad_line(file, number, "'text' is not a string with something in it");
      turn.prompt = text->get<std::string>();
    } else if (*length >= 1) {
      auto made = maker.text(static_cast<std::size_t>(*length));
      if (!made) return made.error();
      turn.prompt = *std::move(made);
      turn.input_tokens = static_cast<std::int64_t>(*length);
    } else {
      return bad_line(file, number, "needs 'text' or 'input_length'");
    }
    const auto session = entry.find("session_id");
    if (session != entry.end() && !session->is_null()) {
      const auto [known, fresh] = sessions.emplace(session->dump(), all.size());
      if (!fresh) {
        all[known->second].turns.push_back(std::move(turn));
        continue;
      }
    }
    all.push_back({{std::move(turn)}, *at / 1e3});
  }
  if (all.empty()) return make_error(ErrorCode::invalid_argument, file + ": no requests", "--input-file");
  std::ranges::stable_sort(all, {}, &Conversation::at);
  return all;
}

}  // namespace baton::bench
