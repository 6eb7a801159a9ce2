// Sequence: built from a Request, grown token by token. Invariant: hashes covers exactly the full blocks of
// tokens.
#include "baton/schedule/sequence.hpp"

#include <utility>

namespace baton {

std::unique_ptr<Sequence> make_sequence(Request request, std::int32_t block_size, const BlockHashKey& key,
                                        TimePoint now) {
  auto sequence = std::make_unique<Sequence>();
  sequence->request = std::move(request);
  const Request& r = sequence->request;
  sequence->tokens.reserve(r.prompt.size() + r.output.size());
  sequence->tokens.insert(sequence->tokens.end(), r.prompt.begin(), r.prompt.end());
  sequence->tokens.insert(sequence->tokens.end(), r.output.begin(), r.output.end());
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
  extend_hashes(sequence, block_size);
}

}  // namespace baton
