// Request: one choice of one client request, complete enough to be computed anywhere.
//
// n > 1 becomes n Requests with the same id and different `choice`. A retry or a handoff is the same Request
// with `output` filled with what the client already has and `generation` raised: prompt + output is the whole
// state, so any engine can continue it (KV is a cache).
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/hash.hpp"
#include "baton/base/shared_text.hpp"
#include "baton/base/token.hpp"
#include "baton/base/token_mask.hpp"
#include "baton/model/sampler.hpp"

namespace baton {

using RequestId = Hash128;  // random, drawn by the accepting daemon

struct StopRules {
  std::int32_t max_tokens = 16;  // output tokens in all, `output` included
  std::int32_t min_tokens = 0;   // EOS and stop ids are banned below this
  bool ignore_eos = false;
  std::vector<TokenId> eos_token_ids;   // the model's
  std::vector<TokenId> stop_token_ids;  // the client's
};

// Which part of the work this engine shall do.
enum class Phase : std::uint8_t {
  whole,    // prefill and decode here
  prefill,  // up to the first output token, then hand the KV cache to `decode_node`
  decode,   // continue after `output`, with the KV cache from `prefill_node` where it arrives in time, else
            // recomputed
};

struct Request {
  RequestId id;
  std::uint32_t choice = 0;
  std::uint32_t generation = 0;
  std::vector<TokenId> prompt;
  std::vector<TokenId> output;
  SamplingParams sampling;
  StopRules stop;
  // Wants no output but FinishEvent::embedding; its max_tokens is 1.
  bool embed = false;
  Hash128 adapter;            // AdapterInfo::fingerprint of the one that it asks for; zero: the model alone
  std::string cache_salt;     // the client's and its tenant's; see block_salt
  std::string tenant;         // whose share of an engine it takes; empty: nobody's in particular
  std::int32_t priority = 0;  // higher runs first
  TimePoint arrival{};
  TimePoint deadline = TimePoint::max();
  Phase phase = Phase::whole;
  std::string prefill_node;
  std::string decode_node;
  // What the output must follow (docs/grammar.md); empty: nothing. It travels as this text. Whoever hands the
  // request to an engine has compiled it, and needs the text no more unless it sends the request elsewhere.
  SharedText grammar;
  std::shared_ptr<const TokenGrammar> compiled_grammar;  // shared: with the compiler's cache; never travels
};

struct RequestKey {
  RequestId id;
  std::uint32_t choice = 0;
  auto operator<=>(const RequestKey&) const = default;
};
inline RequestKey key_of(const Request& request) { return {request.id, request.choice}; }

// What keeps the KV blocks of this request apart from others' of the same tokens.
inline std::string block_salt(const Request& request) {
  return request.adapter == Hash128{} ? request.cache_salt
                                      : to_hex(request.adapter) + ':' + request.cache_salt;
}

struct RequestKeyHasher {
  std::size_t operator()(const RequestKey& k) const { return Hash128Hasher{}(k.id) * 31 + k.choice; }
};

}  // namespace baton
