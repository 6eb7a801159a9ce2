// The bytes in front of every part of a block come from the network: whatever parses must describe a range
// inside its block, and survive being encoded again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "transfer/part_header.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace baton::transfer;
  const auto header = parse_part_header(std::as_bytes(std::span(data, size)));
  if (!header) return 0;
  if (header->offset() >= header->total_bytes || header->length() == 0) std::abort();
  if (header->length() > header->total_bytes - header->offset()) std::abort();
  const auto again = parse_part_header(encode_part_header(*header));
  if (!again || again->attempt != header->attempt || again->offset() != header->offset()) std::abort();
  return 0;
}
