// Traces: production workloads as published, for the simulator and the load generator.
//
// Mooncake's JSONL (timestamp in ms, input_length, output_length, hash_ids: one id for each 512 tokens of the
// prompt, equal ids meaning equal text up to there) and Azure's CSV (TIMESTAMP, ContextTokens,
// GeneratedTokens: nothing is shared).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"
#include "baton/base/token.hpp"

namespace baton {

constexpr std::int32_t kTraceChunk = 512;

struct TraceRequest {
  Duration arrival{};  // since the trace's first request
  std::int32_t input_tokens = 0;
  std::int32_t output_tokens = 0;
  std::vector<std::uint64_t>
      content;  // one id for each `chunk` tokens of the prompt; the last may be partial
  std::int32_t chunk = kTraceChunk;
};

// Ordered by arrival. Errors name the file and the line. The format is recognised by the first line.
Result<std::vector<TraceRequest>> read_trace(const std::filesystem::path& file);
Result<std::vector<TraceRequest>> parse_trace(std::string_view text, std::string_view name);

// The same requests with every length divided by `factor`, a divisor of kTraceChunk, rounded up: for small
// machines. What is shared stays shared.
void shrink_trace(std::vector<TraceRequest>& trace, std::int32_t factor);

// Token ids below `vocab` that share what the trace says is shared, and nothing else.
std::vector<TokenId> trace_tokens(const TraceRequest& request, std::int32_t vocab);

}  // namespace baton
