// Sizes and durations as people write them: "512M", "8G", "80%", "2s", "250ms".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"

namespace baton {

// Bytes. Suffixes K, M, G, T (powers of 1024, optional "B" or "iB"); "N%" is that share of `whole`.
Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t whole);
// "2s", "250ms", "5m", "1.5s"; a bare number means seconds. Negative or absurd (> 365 days) is
// invalid_argument.
Result<Duration> parse_duration(std::string_view text);
// "1.5 MiB", "16 KiB", "312 B".
std::string format_size(std::uint64_t bytes);

}  // namespace baton
