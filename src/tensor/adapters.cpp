#include "adapters.hpp"

#include <string>

namespace baton {

Result<void> check_adapters(std::int64_t out, std::int64_t in, std::span<const AdapterView> adapters) {
  for (const AdapterView& view : adapters) {
    if (!view.down.data) continue;
    const std::int64_t rank = view.down.out;
    if (rank < 1 || view.down.in != in || !view.up.data || view.up.out != out || view.up.in != rank)
      return make_error(
          ErrorCode::invalid_argument,
          "an adapter does not fit its weight of [" + std::to_string(out) + ", " + std::to_string(in) + "]",
          "adapters");
    if (view.scales.size() != static_cast<std::size_t>(rank))
      return make_error(ErrorCode::invalid_argument, "an adapter needs a scale for each of its rank",
                        "scales");
    if (rank > kMostAdapterRank)
      return make_error(ErrorCode::unsupported,
                        "an adapter's rank is " + std::to_string(rank) + "; at most " +
                            std::to_string(kMostAdapterRank) + " is supported",
                        "rank");
  }
  return {};
}

}  // namespace baton
