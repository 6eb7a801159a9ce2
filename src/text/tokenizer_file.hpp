// tokenizer.json read into memory: the two big tables apart, everything else as a small JSON document.
//
// A vocabulary has 10^5 keys and its merges 3*10^5 strings; building a general JSON tree of them costs most
// of the loading time, so a SAX pass takes `model.vocab` and `model.merges` straight into vectors. Invariant:
// all strings are valid UTF-8 (nlohmann refuses others).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"

namespace baton::text {

struct TokenizerFile {
  struct Token {
    std::string text;
    std::int64_t id = 0;
  };
  struct Merge {
    std::string left;  // both halves, "a b", where !paired
    std::string right;
    bool paired = false;
  };
  std::vector<Token> vocab;
  std::vector<Merge> merges;
  bool has_vocab = false;
  bool has_merges = false;
};

// Writes everything but the two tables to `rest`. corrupt: not JSON, too deep, or a table with an entry of
// the wrong kind.
Result<TokenizerFile> read_tokenizer_file(std::string_view json, nlohmann::json& rest);

}  // namespace baton::text
