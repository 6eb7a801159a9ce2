#include "text/added_tokens.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace baton::text {
namespace {

bool word_ends_at(std::string_view text, std::size_t position) {
  return position > 0 && is_word(code_point_at(text, previous_code_point(text, position)).value);
}
bool word_begins_at(std::string_view text, std::size_t position) {
  return position < text.size() && is_word(code_point_at(text, position).value);
}

}  // namespace

AddedTokens::AddedTokens(const nlohmann::json& list, const Bpe& model, const Normalizer* normalizer,
                         FirstError& errors) {
  if (!list.is_array()) errors.set(ErrorCode::corrupt, "added_tokens", "must be an array");
  for (std::size_t i = 0; i < list.size() && !errors.failed(); ++i) {
    const Fields fields(list[i], "added_tokens[" + std::to_string(i) + "]", errors);
    AddedToken token;
    token.text = fields.string("content");
    token.special = fields.boolean("special", false);
    token.single_word = fields.boolean("single_word", false);
    token.lstrip = fields.boolean("lstrip", false);
    token.rstrip = fields.boolean("rstrip", false);
    token.normalized = fields.boolean("normalized", !token.special);
    if (errors.failed()) return;
    if (token.text.empty() || by_text_.find(token.text) != kNoToken) continue;
    token.id = assign_id(token, model);
    by_text_.insert(token.text, token.id);
    by_id_[token.id] = tokens_.size();
    std::string pattern = token.text;
    if (token.normalized && normalizer != nullptr) normalizer->apply(pattern);
    searches_[token.normalized ? 1 : 0].add(pattern, static_cast<TokenId>(tokens_.size()));
    tokens_.push_back(std::move(token));
  }
}

TokenId AddedTokens::assign_id(const AddedToken& token, const Bpe& model) const {
  if (const TokenId id = model.find(token.text); id != kNoToken) return id;
  const auto count = static_cast<TokenId>(model.token_count());
  if (by_id_.empty()) return count;
  const TokenId last = by_id_.rbegin()->first;
  return last >= count || count == 0 ? last + 1 : count;
}

void AddedTokens::Search::add(std::string_view pattern, TokenId index) {
  if (pattern.empty() || patterns.find(pattern) != kNoToken) return;
  patterns.insert(pattern, index);
  auto& list = lengths[static_cast<unsigned char>(pattern[0])];
  const auto length = static_cast<std::uint32_t>(pattern.size());
  const auto at = std::lower_bound(list.begin(), list.end(), length, std::greater<>());
  if (at == list.end() || *at != length) list.insert(at, length);
}

const AddedToken* AddedTokens::by_id(TokenId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

bool AddedTokens::is_special(TokenId id) const {
  const AddedToken* token = by_id(id);
  return token != nullptr && token->special;
}

void AddedTokens::cut(Stage stage, std::string_view text, std::vector<Section>& sections) const {
  const Search& search = searches_[stage == Stage::raw ? 0 : 1];
  std::size_t done = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const auto& lengths = search.lengths[static_cast<unsigned char>(text[at])];
    std::size_t step = 1;
    for (const std::uint32_t length : lengths) {
      if (length > text.size() - at) continue;
      const TokenId index = search.patterns.find(text.substr(at, length));
      if (index == kNoToken) continue;
      cut_match(tokens_[static_cast<std::size_t>(index)], at, text, done, length, sections);
      step = length;
      break;
    }
    at += step;
  }
  if (done < text.size()) sections.push_back({text.substr(done)});
}

void AddedTokens::cut_match(const AddedToken& token, std::size_t begin, std::string_view text,
                            std::size_t& done, std::size_t length, std::vector<Section>& sections) const {
  std::size_t end = begin + length;
  if (token.single_word && (word_ends_at(text, begin) || word_begins_at(text, end))) return;
  while (token.lstrip && begin > done) {
    const std::size_t previous = previous_code_point(text, begin);
    if (!is_white_space(code_point_at(text, previous).value)) break;
    begin = previous;
  }
  while (token.rstrip && end < text.size()) {
    const CodePoint c = code_point_at(text, end);
    if (!is_white_space(c.value)) break;
    end += c.length;
  }
  if (done < begin) sections.push_back({text.substr(done, begin - done)});
  sections.push_back({text.substr(begin, length), token.id});
  done = std::max(done, end);
}

}  // namespace baton::text
