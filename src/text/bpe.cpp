#include "text/bpe.hpp"

#include <algorithm>
#include <bit>
#include <queue>

#include "text/byte_alphabet.hpp"
#include "text/utf8.hpp"

namespace baton::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581
constexpr std::size_t kShort = 48;                       // symbols up to which a scan beats the queue

std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}
std::size_t spread(std::uint64_t key) {
  return static_cast<std::size_t>((key ^ key >> 29) * 0x9E3779B97F4A7C15ULL >> 20);
}

// True where a U+2581 follows something else inside the token.
bool crosses_metaspace(std::string_view token) {
  for (std::size_t at = token.find(kMetaspace, 1); at != std::string_view::npos;
       at = token.find(kMetaspace, at + 1)) {
    if (at < kMetaspace.size() || token.substr(at - kMetaspace.size(), kMetaspace.size()) != kMetaspace)
      return true;
  }
  return false;
}

std::string byte_token(unsigned byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

}  // namespace

Bpe::Bpe(const TokenizerFile& file, BpeOptions options, FirstError& errors) : options_(std::move(options)) {
  load_vocabulary(file, errors);
  if (errors.failed()) return;
  load_merges(file, errors);
  if (errors.failed()) return;
  fill_symbol_tables(errors);
  settled_ = std::make_unique<std::atomic<Settled>[]>(names_.size());
}

void Bpe::load_vocabulary(const TokenizerFile& file, FirstError& errors) {
  const auto limit = static_cast<std::int64_t>(file.vocab.size() * 4 + (1U << 20));
  std::int64_t last = -1;
  std::size_t bytes = 0;
  for (const auto& token : file.vocab) {
    if (token.id < 0 || token.id >= limit) {
      errors.set(ErrorCode::corrupt, "model.vocab",
                 "the id of \"" + token.text + "\" is " + std::to_string(token.id) + ", out of range");
      return;
    }
    last = std::max(last, token.id);
    bytes += token.text.size();
  }
  names_.resize(static_cast<std::size_t>(last + 1));
  words_.reserve(file.vocab.size(), bytes);
  if (options_.byte_level) spellings_.reserve(file.vocab.size(), bytes);
  for (const auto& token : file.vocab) {
    const auto id = static_cast<TokenId>(token.id);
    std::string& name = names_[static_cast<std::size_t>(id)];
    if (!name.empty() && name != token.text) {
      errors.set(ErrorCode::corrupt, "model.vocab",
                 "\"" + name + "\" and \"" + token.text + "\" share id " + std::to_string(id));
      return;
    }
    name = token.text;
    if (options_.byte_level) {
      spellings_.insert(token.text, id);
      if (const auto raw = alphabet_to_bytes(token.text)) words_.insert(*raw, id);
    } else {
      words_.insert(token.text, id);
    }
  }
}

// "a b", where a half may itself hold a space (the format leaves that ambiguous and Hugging Face refuses it):
// the split whose halves and whole are tokens.
bool Bpe::split_merge(const TokenizerFile::Merge& merge, std::string_view& left,
                      std::string_view& right) const {
  const std::string_view text = merge.left;
  for (std::size_t at = text.find(' ', 1); at != std::string_view::npos; at = text.find(' ', at + 1)) {
    left = text.substr(0, at);
    right = text.substr(at + 1);
    if (right.find(' ') == std::string_view::npos && left.find(' ') == std::string_view::npos) return true;
    if (find(left) != kNoToken && find(right) != kNoToken &&
        find(std::string(left) + std::string(right)) != kNoToken)
      return true;
  }
  return false;
}

void Bpe::load_merges(const TokenizerFile& file, FirstError& errors) {
  merges_.assign(std::bit_ceil(std::max<std::size_t>(16, file.merges.size() * 2)), {});
  bool crosses = false;
  std::string whole;
  for (std::size_t i = 0; i < file.merges.size(); ++i) {
    const TokenizerFile::Merge& merge = file.merges[i];
    const auto fail = [&](const std::string& problem) {
      errors.set(ErrorCode::corrupt, "model.merges[" + std::to_string(i) + "]", problem);
    };
    std::string_view left = merge.left;
    std::string_view right = merge.right;
    if (!merge.paired && left.starts_with("#version")) continue;
    if (!merge.paired && !split_merge(merge, left, right)) return fail("\"" + merge.left + "\" is no pair");
    whole.assign(left).append(right);
    const TokenId left_id = find(left);
    const TokenId right_id = find(right);
    const TokenId whole_id = find(whole);
    for (const auto& [id, name] :
         {std::pair{left_id, left}, {right_id, right}, {whole_id, std::string_view(whole)}}) {
      if (id == kNoToken) return fail("\"" + std::string(name) + "\" is not in model.vocab");
    }
    add_merge(left_id, right_id, {static_cast<std::uint32_t>(i), whole_id});
    crosses = crosses || crosses_metaspace(whole);
  }
  split_at_metaspace_ = !options_.byte_level && !crosses && words_.find(kMetaspace) != kNoToken;
}

void Bpe::add_merge(TokenId left, TokenId right, Merge merge) {
  const std::uint64_t key = pair_key(left, right);
  const std::size_t mask = merges_.size() - 1;
  for (std::size_t i = spread(key) & mask;; i = (i + 1) & mask) {
    if (merges_[i].pair != UINT64_MAX && merges_[i].pair != key) continue;
    merges_[i] = {key, merge};  // a repeated pair keeps its last rank, as in Hugging Face
    return;
  }
}

void Bpe::fill_symbol_tables(FirstError& errors) {
  for (unsigned b = 0; b < 256; ++b) {
    const auto c = static_cast<char>(b);
    symbols_[b] = b < 0x80 || options_.byte_level ? words_.find({&c, 1}) : kNoToken;
    byte_tokens_[b] = find(byte_token(b));
  }
  if (options_.unknown_token.empty()) return;
  unknown_ = find(options_.unknown_token);
  if (unknown_ == kNoToken)
    errors.set(ErrorCode::corrupt, "model.unk_token",
               "\"" + options_.unknown_token + "\" is not in model.vocab");
}

std::string_view Bpe::spelling_of(TokenId id) const {
  return id >= 0 && static_cast<std::size_t>(id) < names_.size()
             ? std::string_view(names_[static_cast<std::size_t>(id)])
             : "";
}

Bpe::Merge Bpe::merge_of(TokenId left, TokenId right) const {
  const std::uint64_t key = pair_key(left, right);
  const std::size_t mask = merges_.size() - 1;
  for (std::size_t i = spread(key) & mask;; i = (i + 1) & mask) {
    if (merges_[i].pair == key) return merges_[i].merge;
    if (merges_[i].pair == UINT64_MAX) return {};
  }
}

void Bpe::encode(std::string_view word, std::vector<TokenId>& out) const {
  if (options_.ignore_merges && word.size() <= words_.longest_key()) {
    if (const TokenId id = words_.find(word); id != kNoToken) {
      out.push_back(id);
      return;
    }
  }
  if (!split_at_metaspace_) return encode_segment(word, out);
  std::size_t begin = 0;
  while (begin < word.size()) {
    // A run of U+2581 belongs to the segment that it opens.
    std::size_t end = begin;
    while (word.substr(end, kMetaspace.size()) == kMetaspace) end += kMetaspace.size();
    end = std::min(word.find(kMetaspace, end), word.size());
    encode_segment(word.substr(begin, end - begin), out);
    begin = end;
  }
}

void Bpe::encode_segment(std::string_view segment, std::vector<TokenId>& out) const {
  const TokenId id = segment.size() <= words_.longest_key() ? words_.find(segment) : kNoToken;
  if (id == kNoToken) return merge_segment(segment, out);
  std::atomic<Settled>& settled = settled_[static_cast<std::size_t>(id)];
  switch (settled.load(std::memory_order_relaxed)) {
    case Settled::whole:
      out.push_back(id);
      return;
    case Settled::split:
      return merge_segment(segment, out);
    case Settled::unknown:
      break;
  }
  const std::size_t before = out.size();
  merge_segment(segment, out);
  const bool whole = out.size() == before + 1 && out.back() == id;
  settled.store(whole ? Settled::whole : Settled::split, std::memory_order_relaxed);
}

void Bpe::merge_segment(std::string_view segment, std::vector<TokenId>& out) const {
  std::vector<TokenId> symbols;
  symbols.reserve(segment.size());
  append_symbols(segment, symbols);
  if (symbols.size() <= kShort) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  out.insert(out.end(), symbols.begin(), symbols.end());
}

void Bpe::append_symbols(std::string_view segment, std::vector<TokenId>& symbols) const {
  TokenId pending_unknown = kNoToken;
  for (std::size_t i = 0; i < segment.size();) {
    const auto lead = static_cast<unsigned char>(segment[i]);
    const bool one_byte = options_.byte_level || lead < 0x80;
    const std::string_view symbol = segment.substr(i, one_byte ? 1 : code_point_at(segment, i).length);
    const TokenId id = one_byte ? symbols_[lead] : words_.find(symbol);
    if (id == kNoToken) {
      append_missing(symbol, pending_unknown, symbols);
    } else {
      if (pending_unknown != kNoToken) symbols.push_back(pending_unknown);
      pending_unknown = kNoToken;
      symbols.push_back(id);
    }
    i += symbol.size();
  }
  if (pending_unknown != kNoToken) symbols.push_back(pending_unknown);
}

// A character outside the vocabulary: its byte tokens, else the unknown token, held back so that a run of
// them may fuse. (Byte tokens overtake a held-back unknown: Hugging Face does the same.)
void Bpe::append_missing(std::string_view symbol, TokenId& pending_unknown,
                         std::vector<TokenId>& symbols) const {
  if (options_.byte_fallback) {
    std::string spelled;
    if (options_.byte_level) spelled = bytes_to_alphabet(symbol);
    const std::string_view bytes = options_.byte_level ? std::string_view(spelled) : symbol;
    const auto token = [&](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)]; };
    if (std::all_of(bytes.begin(), bytes.end(), [&](char byte) { return token(byte) != kNoToken; })) {
      for (const char byte : bytes) symbols.push_back(token(byte));
      return;
    }
  }
  if (unknown_ == kNoToken) return;
  if (pending_unknown != kNoToken && !options_.fuse_unknown) symbols.push_back(pending_unknown);
  pending_unknown = unknown_;
}

void Bpe::merge_short(std::vector<TokenId>& symbols) const {
  if (symbols.size() < 2) return;
  std::array<Merge, kShort> merges;  // merges[i] joins symbols i and i + 1
  std::size_t pairs = symbols.size() - 1;
  for (std::size_t i = 0; i < pairs; ++i) merges[i] = merge_of(symbols[i], symbols[i + 1]);
  std::size_t count = symbols.size();
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == UINT32_MAX) break;
    symbols[best] = merges[best].merged;
    std::copy(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 2,
              symbols.begin() + static_cast<std::ptrdiff_t>(count),
              symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    --count;
    for (std::size_t i = best + 1; i + 1 < count; ++i) merges[i] = merges[i + 1];
    if (best + 1 < count) merges[best] = merge_of(symbols[best], symbols[best + 1]);
    if (best > 0) merges[best - 1] = merge_of(symbols[best - 1], symbols[best]);
  }
  symbols.resize(count);
}

// An entry of the queue is stale where its rank is not its position's present one: a pair that grows changes
// its rank, and a position that was swallowed has none. (Two pairs at one position never share a rank: a rank
// names one pair.)
void Bpe::merge_long(std::vector<TokenId>& symbols) const {
  struct Node {
    std::uint32_t previous = UINT32_MAX;
    std::uint32_t next = UINT32_MAX;
    Merge merge;  // with the next node
  };
  std::vector<Node> nodes(symbols.size());
  std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>>
      queue;  // rank in the high half, position in the low
  const auto update = [&](std::uint32_t at) {
    Node& node = nodes[at];
    node.merge = node.next == UINT32_MAX ? Merge{} : merge_of(symbols[at], symbols[node.next]);
    if (node.merge.rank != UINT32_MAX) queue.push(static_cast<std::uint64_t>(node.merge.rank) << 32 | at);
  };
  const auto count = static_cast<std::uint32_t>(symbols.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    nodes[i].previous = i == 0 ? UINT32_MAX : i - 1;
    nodes[i].next = i + 1 == count ? UINT32_MAX : i + 1;
    update(i);
  }
  while (!queue.empty()) {
    const std::uint64_t top = queue.top();
    queue.pop();
    const auto at = static_cast<std::uint32_t>(top);
    Node& node = nodes[at];
    if (node.merge.rank != top >> 32) continue;
    symbols[at] = node.merge.merged;
    Node& swallowed = nodes[node.next];
    symbols[node.next] = kNoToken;
    swallowed.merge = {};
    node.next = swallowed.next;
    if (node.next != UINT32_MAX) nodes[node.next].previous = at;
    update(at);
    if (node.previous != UINT32_MAX) update(node.previous);
  }
  std::erase(symbols, kNoToken);
}

}  // namespace baton::text
