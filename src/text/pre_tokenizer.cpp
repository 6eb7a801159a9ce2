#include "text/pre_tokenizer.hpp"

#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "text/byte_alphabet.hpp"
#include "text/pattern.hpp"
#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace baton::text {

class NextSteps {
 public:
  NextSteps(std::span<const std::unique_ptr<PreTokenizerStep>> steps, WordSink& sink)
      : steps_(steps), sink_(&sink) {}
  void take(Piece piece) const {
    if (piece.text.empty()) return;
    if (steps_.empty()) {
      sink_->word(piece.text);
    } else {
      steps_[0]->apply(piece, {steps_.subspan(1), *sink_});
    }
  }

 private:
  std::span<const std::unique_ptr<PreTokenizerStep>> steps_;
  WordSink* sink_;
};

namespace {

constexpr int kMaxNesting = 16;
// GPT-2's own pattern, which ByteLevel applies where use_regex is set.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

enum class Behavior : std::uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// Receives the alternating matches and gaps of one piece, left to right, and hands on what the behaviour
// makes of them.
class Splitter {
 public:
  Splitter(Piece piece, Behavior behavior, const NextSteps& next)
      : piece_(piece), behavior_(behavior), next_(next) {}

  void part(std::size_t begin, std::size_t end, bool match) {
    switch (behavior_) {
      case Behavior::removed:
        if (!match) emit(begin, end);
        break;
      case Behavior::isolated:
        emit(begin, end);
        break;
      case Behavior::contiguous:
        grow(begin, end, match == previous_match_);
        break;
      case Behavior::merged_with_previous:
        grow(begin, end, match && !previous_match_);
        break;
      case Behavior::merged_with_next:
        grow(begin, end, previous_match_ && !match);
        break;
    }
    previous_match_ = match;
  }
  void finish() {
    if (open_) emit(begin_, end_);
    open_ = false;
  }

 private:
  void grow(std::size_t begin, std::size_t end, bool join) {
    if (!join || !open_) {
      finish();
      begin_ = begin;
    }
    end_ = end;
    open_ = true;
  }
  void emit(std::size_t begin, std::size_t end) {
    next_.take({piece_.text.substr(begin, end - begin), piece_.first && begin == 0});
  }

  Piece piece_;
  Behavior behavior_;
  const NextSteps& next_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool open_ = false;
  bool previous_match_ = false;
};

void split_by_regex(Piece piece, const Regex& regex, Behavior behavior, bool invert, const NextSteps& next) {
  Splitter splitter(piece, behavior, next);
  Matches matches(regex, piece.text);
  std::size_t from = 0;
  while (const auto match = matches.next()) {
    if (match->begin > from) splitter.part(from, match->begin, invert);
    splitter.part(match->begin, match->end, !invert);
    from = match->end;
  }
  if (from < piece.text.size()) splitter.part(from, piece.text.size(), invert);
  splitter.finish();
}

// Every character that `test` accepts is a match of its own.
template <class Test>
void split_by_character(Piece piece, Test test, Behavior behavior, const NextSteps& next) {
  Splitter splitter(piece, behavior, next);
  std::size_t from = 0;
  for (std::size_t i = 0; i < piece.text.size();) {
    const CodePoint c = code_point_at(piece.text, i);
    if (test(c.value)) {
      if (i > from) splitter.part(from, i, false);
      splitter.part(i, i + c.length, true);
      from = i + c.length;
    }
    i += c.length;
  }
  if (from < piece.text.size()) splitter.part(from, piece.text.size(), false);
  splitter.finish();
}

class SplitStep final : public PreTokenizerStep {
 public:
  SplitStep(Regex regex, Behavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  void apply(Piece piece, NextSteps next) const override {
    split_by_regex(piece, regex_, behavior_, invert_, next);
  }

 private:
  Regex regex_;
  Behavior behavior_;
  bool invert_;
};

class CharacterStep final : public PreTokenizerStep {
 public:
  using Test = std::function<bool(char32_t)>;
  CharacterStep(Test test, Behavior behavior) : test_(std::move(test)), behavior_(behavior) {}
  void apply(Piece piece, NextSteps next) const override {
    split_by_character(piece, test_, behavior_, next);
  }

 private:
  Test test_;
  Behavior behavior_;
};

class ByteLevelStep final : public PreTokenizerStep {
 public:
  ByteLevelStep(bool add_prefix_space, std::optional<Regex> regex)
      : add_prefix_space_(add_prefix_space), regex_(std::move(regex)) {}
  void spell() { spell_ = true; }
  void apply(Piece piece, NextSteps next) const override {
    std::string prefixed;
    if (add_prefix_space_ && !piece.text.starts_with(' ')) {
      prefixed.append(" ").append(piece.text);
      piece.text = prefixed;
    }
    if (!spell_) {
      split(piece, next);
      return;
    }
    SpellingSink words(next, piece.first);
    split(piece, {{}, words});
  }

 private:
  // Between the regex and the later steps: raw bytes become the byte alphabet.
  class SpellingSink final : public WordSink {
   public:
    SpellingSink(NextSteps next, bool first) : next_(next), first_(first) {}
    void word(std::string_view word) override {
      next_.take({bytes_to_alphabet(word), first_});
      first_ = false;
    }

   private:
    NextSteps next_;
    bool first_;
  };

  void split(Piece piece, const NextSteps& next) const {
    if (regex_) {
      split_by_regex(piece, *regex_, Behavior::isolated, false, next);
    } else {
      next.take(piece);
    }
  }

  bool add_prefix_space_;
  std::optional<Regex> regex_;
  bool spell_ = false;
};

class MetaspaceStep final : public PreTokenizerStep {
 public:
  enum class Prepend : std::uint8_t { always, first, never };
  MetaspaceStep(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}
  void apply(Piece piece, NextSteps next) const override {
    std::string replaced;
    replaced.reserve(piece.text.size() * 2);
    for (const char c : piece.text) {
      if (c == ' ') {
        replaced += replacement_;
      } else {
        replaced += c;
      }
    }
    const bool prepend = prepend_ == Prepend::always || (prepend_ == Prepend::first && piece.first);
    if (prepend && !replaced.starts_with(replacement_)) replaced.insert(0, replacement_);
    piece.text = replaced;
    if (!split_) return next.take(piece);
    const char32_t mark = code_point_at(replacement_, 0).value;
    split_by_character(
        piece, [mark](char32_t c) { return c == mark; }, Behavior::merged_with_next, next);
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

class FixedLengthStep final : public PreTokenizerStep {
 public:
  explicit FixedLengthStep(std::size_t length) : length_(length) {}
  void apply(Piece piece, NextSteps next) const override {
    std::size_t begin = 0;
    std::size_t characters = 0;
    for (std::size_t i = 0; i < piece.text.size();) {
      i += code_point_at(piece.text, i).length;
      if (++characters % length_ != 0 && i < piece.text.size()) continue;
      next.take({piece.text.substr(begin, i - begin), piece.first && begin == 0});
      begin = i;
    }
  }

 private:
  std::size_t length_;
};

Behavior read_behavior(const Fields& fields, std::string_view fallback) {
  const std::string name = fields.string("behavior", fallback);
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  fields.fail("behavior", "\"" + name + "\" is no behaviour");
  return Behavior::isolated;
}

std::optional<Regex> fixed_regex(std::string_view pattern, const Fields& fields) {
  Result<Regex> regex = Regex::compile(pattern);
  if (regex) return std::move(*regex);
  fields.errors().set(ErrorCode::internal, fields.path(), regex.error().message);
  return std::nullopt;
}

std::unique_ptr<PreTokenizerStep> make_metaspace(const Fields& fields) {
  using Prepend = MetaspaceStep::Prepend;
  std::string replacement;
  append_utf8(fields.character("replacement", 0x2581), replacement);
  const std::string scheme = fields.string("prepend_scheme", "always");
  Prepend prepend = Prepend::always;
  if (scheme == "first") {
    prepend = Prepend::first;
  } else if (scheme == "never") {
    prepend = Prepend::never;
  } else if (scheme != "always") {
    fields.fail("prepend_scheme", "must be always, first or never");
  }
  if (!fields.boolean("add_prefix_space", true)) {
    if (fields.has("prepend_scheme") && prepend != Prepend::never)
      fields.fail("add_prefix_space", "contradicts prepend_scheme");
    prepend = Prepend::never;
  }
  return std::make_unique<MetaspaceStep>(std::move(replacement), prepend, fields.boolean("split", true));
}

std::unique_ptr<PreTokenizerStep> make_step(const std::string& type, const Fields& fields) {
  if (type == "Split") {
    auto pattern = read_pattern(fields, "pattern");
    const Behavior behavior = read_behavior(fields, "");
    const bool invert = fields.boolean("invert", false);
    return pattern ? std::make_unique<SplitStep>(std::move(*pattern), behavior, invert) : nullptr;
  }
  if (type == "ByteLevel") {
    std::optional<Regex> regex;
    if (fields.boolean("use_regex", true)) regex = fixed_regex(kGpt2Pattern, fields);
    return std::make_unique<ByteLevelStep>(fields.boolean("add_prefix_space", true), std::move(regex));
  }
  if (type == "Metaspace") return make_metaspace(fields);
  if (type == "Digits") {
    const bool individual = fields.boolean("individual_digits", false);
    return std::make_unique<CharacterStep>(is_numeric,
                                           individual ? Behavior::isolated : Behavior::contiguous);
  }
  if (type == "Punctuation")
    return std::make_unique<CharacterStep>(is_punctuation, read_behavior(fields, "Isolated"));
  if (type == "WhitespaceSplit") return std::make_unique<CharacterStep>(is_white_space, Behavior::removed);
  if (type == "CharDelimiterSplit") {
    const char32_t delimiter = fields.character("delimiter", U' ');
    return std::make_unique<CharacterStep>([delimiter](char32_t c) { return c == delimiter; },
                                           Behavior::removed);
  }
  if (type == "Whitespace") {
    auto regex = fixed_regex("\\w+|[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\s]+", fields);
    return regex ? std::make_unique<SplitStep>(std::move(*regex), Behavior::removed, true) : nullptr;
  }
  if (type == "FixedLength") {
    return std::make_unique<FixedLengthStep>(
        static_cast<std::size_t>(fields.integer("length", 5, 1, 1 << 30)));
  }
  fields.unsupported("type", "pre-tokenizer \"" + type + "\" is not supported");
  return nullptr;
}

// Undoes the byte alphabet before BPE.
class UnspellingSink final : public WordSink {
 public:
  explicit UnspellingSink(WordSink& sink) : sink_(&sink) {}
  void word(std::string_view word) override {
    const auto raw = alphabet_to_bytes(word);
    sink_->word(raw ? std::string_view(*raw) : word);
  }

 private:
  WordSink* sink_;
};

}  // namespace

PreTokenizer::PreTokenizer(const nlohmann::json& json, const std::string& path, FirstError& errors) {
  add(json, path, errors, 0);
}

void PreTokenizer::add(const nlohmann::json& json, const std::string& path, FirstError& errors, int depth) {
  const Fields fields(json, path, errors);
  const std::string type = fields.string("type");
  if (errors.failed()) return;
  if (type == "Sequence") {
    const nlohmann::json* list = fields.array("pretokenizers");
    if (depth >= kMaxNesting) fields.unsupported("pretokenizers", "nested too deep");
    if (list == nullptr || depth >= kMaxNesting) return;
    for (std::size_t i = 0; i < list->size() && !errors.failed(); ++i) {
      add((*list)[i], fields.path_of("pretokenizers") + "[" + std::to_string(i) + "]", errors, depth + 1);
    }
    return;
  }
  if (byte_level_ && type == "ByteLevel")
    return fields.unsupported("type", "a second ByteLevel is not supported");
  std::unique_ptr<PreTokenizerStep> step = make_step(type, fields);
  if (step == nullptr || errors.failed()) return;
  if (byte_level_ && !spelled_) {
    if (type == "Metaspace") return fields.unsupported("type", "Metaspace behind ByteLevel is not supported");
    static_cast<ByteLevelStep&>(*steps_.back()).spell();
    spelled_ = true;
  }
  byte_level_ = byte_level_ || type == "ByteLevel";
  steps_.push_back(std::move(step));
}

void PreTokenizer::split(Piece piece, WordSink& sink) const {
  if (!spelled_) return NextSteps(steps_, sink).take(piece);
  UnspellingSink unspelling(sink);
  NextSteps(steps_, unspelling).take(piece);
}

}  // namespace baton::text
