// The pre-tokenizers of tokenizer.json: a normalised piece of text to the words that BPE sees.
//
// The configured steps form a chain; each hands its pieces to the next at once, so splitting allocates
// nothing and a text is walked once. Immutable, shared between threads.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_fields.hpp"

namespace baton::text {

struct Piece {
  std::string_view text;
  bool first = false;  // begins where the original text begins
};

class WordSink {
 public:
  virtual ~WordSink() = default;
  virtual void word(std::string_view word) = 0;
};

// One step's view of the steps behind it.
class NextSteps;

class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual void apply(Piece piece, NextSteps next) const = 0;
};

class PreTokenizer {
 public:
  PreTokenizer() = default;  // the whole piece is one word
  PreTokenizer(const nlohmann::json& json, const std::string& path, FirstError& errors);

  void split(Piece piece, WordSink& sink) const;
  // Words are raw bytes, to be looked up in a byte-level vocabulary.
  bool byte_level() const { return byte_level_; }

 private:
  void add(const nlohmann::json& json, const std::string& path, FirstError& errors, int depth);

  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
  bool byte_level_ = false;
  bool spelled_ = false;  // steps follow the byte level, so its words travel spelled in the byte alphabet and
                          // come back at the end
};

}  // namespace baton::text
