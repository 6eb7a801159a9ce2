// The added tokens of tokenizer.json: strings that are cut out of a text before the model sees it
// ("<|im_start|>").
//
// Two sets, as in Hugging Face: tokens with normalized=false are searched in the raw text, the others,
// themselves normalised, in the normalised text. A search is leftmost-longest. Ids follow Hugging Face's
// rule: the model's own id where the token is in its vocabulary, else the next free one behind it (the file's
// "id" is only its author's expectation). Immutable after loading.
#pragma once

#include <array>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.hpp"
#include "text/json_fields.hpp"
#include "text/normalizer.hpp"
#include "text/vocabulary.hpp"

namespace baton::text {

struct AddedToken {
  std::string text;
  TokenId id = kNoToken;
  bool special = false;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = true;
};

// A stretch of text: an added token where `id` is one, else text for the model.
struct Section {
  std::string_view text;
  TokenId id = kNoToken;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(const nlohmann::json& list, const Bpe& model, const Normalizer* normalizer, FirstError& errors);

  enum class Stage : std::uint8_t { raw, normalized };
  // Cuts `text` into sections, in order. None of the text sections is empty.
  void cut(Stage stage, std::string_view text, std::vector<Section>& sections) const;

  TokenId find(std::string_view text) const { return by_text_.find(text); }
  const AddedToken* by_id(TokenId id) const;
  bool is_special(TokenId id) const;
  std::size_t id_end() const {
    return by_id_.empty() ? 0 : static_cast<std::size_t>(by_id_.rbegin()->first) + 1;
  }

 private:
  struct Search {
    Vocabulary patterns;  // to indexes into tokens_
    std::array<std::vector<std::uint32_t>, 256>
        lengths;  // of the patterns that begin with a byte, longest first
    void add(std::string_view pattern, TokenId index);
  };

  TokenId assign_id(const AddedToken& token, const Bpe& model) const;
  void cut_match(const AddedToken& token, std::size_t begin, std::string_view text, std::size_t& done,
                 std::size_t length, std::vector<Section>& sections) const;

  std::vector<AddedToken> tokens_;
  std::map<TokenId, std::size_t> by_id_;  // to indexes into tokens_
  Vocabulary by_text_;                    // to ids
  std::array<Search, 2> searches_;
};

}  // namespace baton::text
