#include "text/grammar/token_walk.hpp"

#include <algorithm>
#include <bit>

#include "baton/base/token_mask.hpp"

namespace baton::text {

TokenSet::TokenSet(std::vector<TokenId> tokens, std::size_t vocabulary) {
  if (tokens.size() <= mask_words(vocabulary)) {
    tokens.shrink_to_fit();
    few_ = std::move(tokens);
    return;
  }
  bits_.resize(mask_words(vocabulary));
  for (const TokenId token : tokens) bits_[static_cast<std::size_t>(token) / 32] |= 1U << (token % 32);
}

TokenSet::TokenSet(std::span<const std::uint32_t> bits) {
  std::size_t count = 0;
  for (const std::uint32_t word : bits) count += static_cast<std::size_t>(std::popcount(word));
  if (count > bits.size()) {
    bits_.assign(bits.begin(), bits.end());
    return;
  }
  few_.reserve(count);
  for (std::size_t i = 0; i < bits.size(); ++i)
    for (std::uint32_t rest = bits[i]; rest != 0; rest &= rest - 1)
      few_.push_back(static_cast<TokenId>(i * 32 + static_cast<std::size_t>(std::countr_zero(rest))));
}

void TokenSet::add_to(std::span<std::uint32_t> allowed) const {
  for (const TokenId token : few_) {
    const auto word = static_cast<std::size_t>(token) / 32;
    if (word < allowed.size()) allowed[word] |= 1U << (token % 32);
  }
  const std::size_t words = std::min(bits_.size(), allowed.size());
  for (std::size_t i = 0; i < words; ++i) allowed[i] |= bits_[i];
}

TokenWalk::TokenWalk(const TokenBand& band, Walker& walker, Position from)
    : band_(band), walker_(walker), levels_(band.longest() + 1), left_(band.longest() + 1) {
  levels_[0].at.add(from);
}

TokenWalk::Verdict TokenWalk::judge(Entry entry) {
  const std::string_view bytes = band_.bytes(entry);
  const auto same = std::ranges::mismatch(bytes, last_).in1 - bytes.begin();
  depth_ = std::min(depth_, static_cast<std::size_t>(same));
  last_ = bytes;
  while (depth_ < bytes.size() && !levels_[depth_].at.empty()) {
    walker_.step(levels_[depth_].at, static_cast<std::uint8_t>(bytes[depth_]), levels_[depth_ + 1]);
    left_[depth_ + 1] = left_[depth_] || levels_[depth_ + 1].left;
    ++depth_;
  }
  if (depth_ == bytes.size()) {
    if (!levels_[depth_].at.empty() || levels_[depth_].left) return Verdict::yes;
    return left_[depth_ - 1] ? Verdict::open : Verdict::no;
  }
  return left_[depth_] ? Verdict::open : Verdict::no;
}

Entry TokenWalk::next(Entry entry, Verdict verdict) const {
  // Nothing is left where it stopped short of the token's end: the same for all that begin so.
  const bool stopped = levels_[depth_].at.empty() && depth_ > 0;
  if (verdict == Verdict::yes || !stopped) return entry + 1;
  return band_.skip(entry, depth_);
}

namespace {

std::optional<BandMask> mask_among(const TokenBand& band, Walker& walker, Position position,
                                   std::span<const EntryRange> among, std::size_t vocabulary,
                                   std::size_t credit) {
  BandMask out;
  walker.allow(credit);
  TokenWalk walk(band, walker, position);
  std::vector<TokenId> yes;
  for (const EntryRange& range : among) {
    for (Entry entry = range.begin; entry < range.end && !walker.lost();) {
      const TokenWalk::Verdict verdict = walk.judge(entry);
      const Entry next = std::min(range.end, walk.next(entry, verdict));
      if (verdict == TokenWalk::Verdict::yes) yes.push_back(band.id(entry));
      if (verdict == TokenWalk::Verdict::open) {
        out.open_entries += next - entry;
        if (!out.open.empty() && out.open.back().end == entry) {
          out.open.back().end = next;
        } else {
          out.open.push_back({entry, next});
        }
      }
      entry = next;
    }
  }
  if (walker.lost()) return std::nullopt;
  out.yes = TokenSet(std::move(yes), vocabulary);
  out.work = credit - walker.credit();
  return out;
}

}  // namespace

std::optional<BandMask> mask_of_band(const Automaton& automaton, const TokenBand& band,
                                     std::size_t vocabulary, Node node, std::size_t credit) {
  std::vector<EntryRange> among;
  for (const ByteEdge& edge : automaton.edges(node))
    among.push_back({band.first_with(edge.bytes.first), band.first_with(edge.bytes.last + std::size_t{1})});
  Walker walker(automaton);
  return mask_among(band, walker, {node, kBottom}, among, vocabulary, credit);
}

std::optional<BandMask> mask_of_band(const Automaton& automaton, const TokenBand& band,
                                     std::size_t vocabulary, Node node, Node back,
                                     std::span<const EntryRange> among, std::size_t credit) {
  Walker walker(automaton);
  return mask_among(band, walker, {node, walker.frame(back, kBottom)}, among, vocabulary, credit);
}

void judge_open(const TokenBand& band, Walker& walker, Position position, std::span<const EntryRange> open,
                std::vector<TokenId>& out) {
  TokenWalk walk(band, walker, position);
  for (const EntryRange& range : open) {
    for (Entry entry = range.begin; entry < range.end && !walker.lost();) {
      const TokenWalk::Verdict verdict = walk.judge(entry);
      if (verdict == TokenWalk::Verdict::yes) out.push_back(band.id(entry));
      entry = walk.next(entry, verdict);
    }
  }
}

}  // namespace baton::text
