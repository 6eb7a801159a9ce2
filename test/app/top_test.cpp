// The table of `baton top`.
#include <nlohmann/json.hpp>

#include "app/top_view.hpp"
#include "support/catch.hpp"

using namespace baton;
using nlohmann::json;

namespace {

json node(const char* name, const char* role, std::uint64_t prefill, std::uint64_t decode) {
  return {{"name", name},
          {"role", role},
          {"draining", false},
          {"running", 3},
          {"waiting", 0},
          {"kv_blocks", {{"total", 200}, {"in_use", 50}}},
          {"prefix_cache", {{"queried_tokens", 1000}, {"hit_tokens", 250}}},
          {"prefill_tokens", prefill},
          {"decode_tokens", decode},
          {"transfers", {{"failed", 1}, {"bytes_received", 0}}},
          {"accepted", {{"ttft_ms", {{"p50", 12.3}, {"p99", 80.0}}}, {"itl_ms", {{"p50", 0}, {"p99", 0}}}}}};
}

}  // namespace

TEST_CASE("the table shows shares, rates and what is unknown") {
  const json before{{"nodes", {node("one", "prefill", 1000, 0)}}};
  const json now{
      {"nodes", {node("one", "prefill", 31'000, 20), node("two", "decode", 0, 0)}},
      {"role_changes", {{{"node", "two"}, {"from", "mixed"}, {"to", "decode"}, {"why", "the targets"}}}}};
  const std::string table = cluster_table(now, before, 2);
  CHECK(table.find("[##      ] 25 %") != std::string::npos);
  CHECK(table.find("15.0k") != std::string::npos);        // prefill tokens each second
  CHECK(table.find("12.3 / 80.0") != std::string::npos);  // TTFT
  CHECK(table.find("two: mixed -> decode, for the targets") != std::string::npos);
  CHECK(table.find('\x1b') == std::string::npos);
}

TEST_CASE("answers of another version, or of nobody, break nothing") {
  for (const json& odd : {json::object(), json{{"nodes", 3}}, json{{"nodes", {1, "x", json::object()}}},
                          json{{"nodes", {{{"name", 7}, {"kv_blocks", "none"}}}}, {"role_changes", {2}}}})
    CHECK(cluster_table(odd, odd, 1).find("NODE") == 0);
  CHECK(cluster_table(json::object(), nullptr, 0).find("NODE") == 0);
}
