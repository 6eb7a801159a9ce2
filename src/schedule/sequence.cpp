// Sequence: built from a Request, grown token by token. Invariant: hashes covers exactly the full blocks of
// tokens.
#include "baton/schedule/sequence.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace baton {

namespace {

std::vector<std::pair<TokenId, std::int32_t>> count_tokens(const Request& request) {
  if (!request.sampling.has_penalties()) return {};
  std::map<TokenId, std::int32_t> counts;
  for (const TokenId token : request.prompt) counts.try_emplace(token, 0);
  for (const TokenId token : request.output) ++counts[token];
  return {counts.begin(), counts.end()};
}

void count_output(Sequence& sequence, TokenId token) {
  if (!sequence.request.sampling.has_penalties()) return;
  auto& counts = sequence.counts;
  auto at = std::ranges::lower_bound(counts, token, {}, &std::pair<TokenId, std::int32_t>::first);
  if (at == counts.end() || at->first != token) at = counts.insert(at, {token, 0});
  ++at->second;
}

std::unique_ptr<TokenMask> replay(const Request& request) {
  if (!request.compiled_grammar) return nullptr;
  std::unique_ptr<TokenMask> mask = request.compiled_grammar->start();
  for (const TokenId token : request.output)
    if (!mask->advance(token)) return nullptr;
  return mask;
}

}  // namespace

std::unique_ptr<Sequence> make_sequence(Request request, std::int32_t block_size, const BlockHashKey& key,
                                        TimePoint now) {
  auto sequence = std::make_unique<Sequence>();
  sequence->request = std::move(request);
  const Request& r = sequence->request;
  sequence->tokens.reserve(r.prompt.size() + r.output.size());
  sequence->tokens.insert(sequence->tokens.end(), r.prompt.begin(), r.prompt.end());
  sequence->tokens.insert(sequence->tokens.end(), r.output.begin(), r.output.end());
  sequence->counts = count_tokens(r);
  sequence->mask = replay(r);
  sequence->hash_key = key;
  sequence->queued = now;
  extend_hashes(*sequence, block_size);
  return sequence;
}

void extend_hashes(Sequence& sequence, std::int32_t block_size) {
  const auto size = static_cast<std::size_t>(block_size);
  std::vector<BlockHash>& hashes = sequence.hashes;
  const std::span<const TokenId> tokens(sequence.tokens);
  while ((hashes.size() + 1) * size <= tokens.size()) {
    const BlockHash previous = hashes.empty() ? sequence.hash_key.key : hashes.back();
    hashes.push_back(next_block_hash(previous, tokens.subspan(hashes.size() * size, size)));
  }
}

void append_token(Sequence& sequence, TokenId token, std::int32_t block_size) {
  sequence.tokens.push_back(token);
  sequence.request.output.push_back(token);
  count_output(sequence, token);
  extend_hashes(sequence, block_size);
}

}  // namespace baton
