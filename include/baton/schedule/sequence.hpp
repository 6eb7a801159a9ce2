// Sequence: a Request while an engine works on it: its tokens, how many of them are in the KV cache, and the
// blocks that hold them.
//
// Invariant: computed <= tokens.size(), and blocks.size() * block_size >= computed; of windowed groups those
// blocks are there that the row at position `computed` sees. Owned by the Scheduler, or by the engine once it
// has left it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/cache/sequence_blocks.hpp"
#include "baton/schedule/request.hpp"

namespace baton {

struct Sequence {
  Request request;                // `request.output` grows with each committed token
  std::vector<TokenId> tokens;    // prompt + output
  std::vector<BlockHash> hashes;  // of the full blocks of `tokens`; grows with them
  BlockHashKey hash_key;
  // Every token of prompt and output once, ascending, and how often the output has it; kept where sampling
  // has penalties. Counting anew costs a prompt of 4,000 tokens 0.3 ms a step.
  std::vector<std::pair<TokenId, std::int32_t>> counts;
  // Where the output stands in the request's grammar. Null without one, and where the output that the request
  // brought does not follow it: then the scheduler refuses the sequence.
  std::unique_ptr<TokenMask> mask;
  std::optional<Duration> mask_time;   // of its last mask, as in RowResult
  std::int32_t deferred = 0;           // steps in a row that had no time for its mask
  SequenceBlocks blocks;               // an engine may attach received ones before admit()
  std::int32_t computed = 0;           // tokens whose K and V are in `blocks`
  std::int32_t cached_tokens = 0;      // of the prompt, found by the prefix cache at admission
  std::int32_t recomputed_tokens = 0;  // computed again after a preemption
  std::int32_t preemptions = 0;
  TimePoint queued{}, scheduled{}, first_token{}, finished{};

  std::int32_t prompt_size() const { return static_cast<std::int32_t>(request.prompt.size()); }
  std::int32_t size() const { return static_cast<std::int32_t>(tokens.size()); }
  // More is missing than the newest token's own row. A continuation (output not empty) that has its KV cache
  // is never in prefill; one that lost it is, until all but its newest token are computed again.
  bool in_prefill() const { return computed + 1 < size(); }
};

// tokens, hashes, mask and times set up; no blocks yet.
std::unique_ptr<Sequence> make_sequence(Request request, std::int32_t block_size, const BlockHashKey& key,
                                        TimePoint now);

// Hashes the blocks of `tokens` that are full but not hashed yet.
void extend_hashes(Sequence& sequence, std::int32_t block_size);
// A new output token: tokens, request.output, hashes and counts grow.
void append_token(Sequence& sequence, TokenId token, std::int32_t block_size);

}  // namespace baton
