// Byte-pair encoding of one word: the model of tokenizer.json, after normalisation and pre-tokenisation.
//
// A word starts as its characters (or bytes) and the pair with the lowest merge rank, leftmost first, is
// joined until none is left (Sennrich et al. 2016). Exactly as Hugging Face's BPE, including unknown tokens
// and byte fallback, at these costs: a word that is itself a token is one table lookup; a short one a scan
// over its pairs; a long one a priority queue over a linked list, so a megabyte without a space is n log n.
//
// Immutable after make() but for `settled_`, a memo of relaxed atomics that only ever turns "unknown" into
// the one true answer; safe to share.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "baton/text/tokenizer.hpp"
#include "text/json_fields.hpp"
#include "text/tokenizer_file.hpp"
#include "text/vocabulary.hpp"

namespace baton::text {

struct BpeOptions {
  bool byte_level = false;  // words are raw bytes; the file spells them in the byte alphabet
  bool byte_fallback = false;
  bool fuse_unknown = false;
  bool ignore_merges = false;  // a word that is a token is taken whole, whatever the merges say
  std::string unknown_token;   // empty: unknown characters vanish
};

class Bpe {
 public:
  // Ids must be unique, in [0, count * 4 + 2^20), so that a small file cannot demand a large table. Errors go
  // to `errors`.
  Bpe(const TokenizerFile& file, BpeOptions options, FirstError& errors);

  void encode(std::string_view word, std::vector<TokenId>& out) const;

  // By the file's spelling. The count of distinct tokens, as Hugging Face counts its vocabulary.
  TokenId find(std::string_view spelling) const { return spellings().find(spelling); }
  std::string_view spelling_of(TokenId id) const;
  std::size_t token_count() const { return spellings().size(); }
  std::size_t id_end() const { return names_.size(); }

 private:
  struct Merge {
    std::uint32_t rank = UINT32_MAX;
    TokenId merged = kNoToken;
  };
  struct Slot {
    std::uint64_t pair = UINT64_MAX;
    Merge merge;
  };
  enum class Settled : std::uint8_t { unknown, whole, split };

  void load_vocabulary(const TokenizerFile& file, FirstError& errors);
  void load_merges(const TokenizerFile& file, FirstError& errors);
  bool split_merge(const TokenizerFile::Merge& merge, std::string_view& left, std::string_view& right) const;
  void add_merge(TokenId left, TokenId right, Merge merge);
  void fill_symbol_tables(FirstError& errors);
  const Vocabulary& spellings() const { return options_.byte_level ? spellings_ : words_; }

  Merge merge_of(TokenId left, TokenId right) const;
  void encode_segment(std::string_view segment, std::vector<TokenId>& out) const;
  void merge_segment(std::string_view segment, std::vector<TokenId>& out) const;
  void append_symbols(std::string_view segment, std::vector<TokenId>& symbols) const;
  void append_missing(std::string_view symbol, TokenId& pending_unknown, std::vector<TokenId>& symbols) const;
  void merge_short(std::vector<TokenId>& symbols) const;
  void merge_long(std::vector<TokenId>& symbols) const;

  BpeOptions options_;
  Vocabulary words_;                // what encode() looks up: raw bytes where byte_level
  Vocabulary spellings_;            // the file's spelling; only where byte_level
  std::vector<std::string> names_;  // id to spelling; empty where there is none
  std::vector<Slot> merges_;
  std::array<TokenId, 256> symbols_{};      // byte_level: every byte; else ASCII characters
  std::array<TokenId, 256> byte_tokens_{};  // <0x00> .. <0xFF>
  TokenId unknown_ = kNoToken;
  bool split_at_metaspace_ = false;  // no merge joins anything with a later U+2581, so words end there
  std::unique_ptr<std::atomic<Settled>[]>
      settled_;  // by id: do the merges of this token's own text give the token?
};

}  // namespace baton::text
