#include "text/grammar/token_index.hpp"

#include <algorithm>
#include <utility>

namespace baton::text {

namespace {

// The longest token of each band but the last.
constexpr std::array<std::size_t, 16> kBands{1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 48, 64, 96};

std::size_t band_of(std::size_t bytes) {
  return static_cast<std::size_t>(std::ranges::lower_bound(kBands, bytes) - kBands.begin());
}

}  // namespace

TokenBand::TokenBand(const std::vector<std::pair<std::string, TokenId>>& tokens) {
  begins_.push_back(0);
  for (const auto& [bytes, id] : tokens) {
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
Entry TokenBand::skip(Entry entry, std::size_t length) const {
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

TokenIndex::TokenIndex(const Tokenizer& tokenizer, std::vector<TokenId> ends,
                       const std::vector<TokenId>& markers)
    : places_(tokenizer.vocab_size()), ends_(std::move(ends)) {
  const auto among = [](const std::vector<TokenId>& ids, TokenId id) {
    return std::ranges::find(ids, id) != ids.end();
  };
  std::array<std::vector<std::pair<std::string, TokenId>>, kBands.size() + 1> tokens;
  for (TokenId id = 0; std::cmp_less(id, places_.size()); ++id) {
    if ((tokenizer.is_special(id) && !among(markers, id)) || among(ends_, id)) continue;
    std::string bytes = tokenizer.token_bytes(id);
    if (bytes.empty()) continue;
    total_bytes_ += bytes.size();
    tokens[band_of(bytes.size())].emplace_back(std::move(bytes), id);
  }
  for (auto& band : tokens) {
    if (band.empty()) continue;
    std::ranges::sort(band);
    bands_.emplace_back(band);
    for (Entry entry = 0; entry < bands_.back().size(); ++entry)
      places_[static_cast<std::size_t>(band[entry].second)] = {static_cast<std::uint32_t>(bands_.size()),
                                                               entry};
  }
}

std::string_view TokenIndex::bytes(TokenId id) const {
  const auto i = static_cast<std::size_t>(id);
  if (id < 0 || i >= places_.size() || places_[i].band == 0) return {};
  return bands_[places_[i].band - 1].bytes(places_[i].entry);
}

}  // namespace baton::text
