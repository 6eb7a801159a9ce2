#include "text/grammar/token_index.hpp"

#include <algorithm>
#include <utility>

namespace baton::text {

TokenIndex::TokenIndex(const Tokenizer& tokenizer, std::vector<TokenId> ends,
                       const std::vector<TokenId>& markers)
    : entries_(tokenizer.vocab_size(), kNone), ends_(std::move(ends)) {
  std::vector<std::pair<std::string, TokenId>> tokens;
  tokens.reserve(entries_.size());
  for (TokenId id = 0; std::cmp_less(id, entries_.size()); ++id) {
    const auto among = [&](const std::vector<TokenId>& ids) {
      return std::ranges::find(ids, id) != ids.end();
    };
    if ((tokenizer.is_special(id) && !among(markers)) || among(ends_)) continue;
    std::string bytes = tokenizer.token_bytes(id);
    if (!bytes.empty()) tokens.emplace_back(std::move(bytes), id);
  }
  std::ranges::sort(tokens);
  begins_.push_back(0);
  for (const auto& [bytes, id] : tokens) {
    entries_[static_cast<std::size_t>(id)] = size();
    ids_.push_back(id);
    text_ += bytes;
    begins_.push_back(static_cast<std::uint32_t>(text_.size()));
    longest_ = std::max(longest_, bytes.size());
  }
  Entry entry = 0;
  for (std::size_t byte = 0; byte < firsts_.size(); ++byte) {
    while (entry < size() && static_cast<unsigned char>(bytes(entry).front()) < byte) ++entry;
    firsts_[byte] = entry;
  }
}

// Looks 1, 2, 4, ... entries ahead, then halves: most beginnings have few tokens.
Entry TokenIndex::skip(Entry entry, std::size_t length) const {
  const std::string_view prefix = bytes(entry).substr(0, length);
  const auto shares = [&](Entry e) { return bytes(e).starts_with(prefix); };
  Entry inside = entry, step = 1;
  while (inside + step < size() && shares(inside + step)) {
    inside += step;
    step *= 2;
  }
  Entry outside = std::min(inside + step, size());
  while (inside + 1 < outside) {
    const Entry middle = inside + (outside - inside) / 2;
    (shares(middle) ? inside : outside) = middle;
  }
  return outside;
}

}  // namespace baton::text
