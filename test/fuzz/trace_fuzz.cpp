// Trace files: whatever the bytes, parsing ends, and what is accepted can be turned into token ids.
#include <cstdlib>
#include <string_view>

#include "baton/sim/trace.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto trace = baton::parse_trace({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!trace) {
    if (!trace.error().message.starts_with("fuzz")) std::abort();
    return 0;
  }
  baton::Duration before{};
  for (const baton::TraceRequest& request : *trace) {
    if (request.arrival < before || request.input_tokens < 1 || request.output_tokens < 1) std::abort();
    before = request.arrival;
    if (request.input_tokens > 100000) continue;
    const auto tokens = baton::trace_tokens(request, 1000);
    if (tokens.size() != static_cast<std::size_t>(request.input_tokens)) std::abort();
    for (const baton::TokenId token : tokens)
      if (token < 0 || token >= 1000) std::abort();
  }
  return 0;
}
