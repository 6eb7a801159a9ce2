#include "app/top_view.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace baton {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

constexpr std::size_t kChangesShown = 5;

std::optional<double> number(const json& node, const char* pointer) {
  const json::json_pointer path(pointer);
  if (!node.is_object() || !node.contains(path) || !node.at(path).is_number()) return std::nullopt;
  return node.at(path).get<double>();
}

std::string text(const json& node, const char* key) {
  const auto found = node.find(key);
  return found != node.end() && found->is_string() ? found->get<std::string>() : "-";
}

std::string format(const char* how, double value) {
  std::array<char, 48> out{};
  std::snprintf(out.data(), out.size(), how, value);
  return out.data();
}

// 1234567 as 1.2M.
std::string short_number(double value) {
  for (const auto& [size, suffix] : {std::pair{1e9, "G"}, {1e6, "M"}, {1e4, "k"}})
    if (value >= size) return format("%.1f", value / (size == 1e4 ? 1e3 : size)) + suffix;
  return format("%.0f", value);
}

std::string count(const json& node, const char* pointer) {
  const auto value = number(node, pointer);
  return value ? short_number(*value) : "-";
}

std::string share(std::optional<double> part, std::optional<double> whole) {
  if (!part || !whole || *whole <= 0) return "-";
  return format("%.0f %%", 100 * *part / *whole);
}

std::string bar(std::optional<double> part, std::optional<double> whole) {
  if (!part || !whole || *whole <= 0) return "-";
  const auto filled = static_cast<std::size_t>(std::clamp(8 * *part / *whole + 0.5, 0.0, 8.0));
  return "[" + std::string(filled, '#') + std::string(8 - filled, ' ') + "] " + share(part, whole);
}

std::string milliseconds(const json& node, const std::string& what) {
  const auto p50 = number(node, ("/accepted/" + what + "/p50").c_str()),
             p99 = number(node, ("/accepted/" + what + "/p99").c_str());
  if (!p50 || !p99 || *p99 <= 0) return "-";
  const char* how = *p99 < 100 ? "%.1f" : "%.0f";
  return format(how, *p50) + " / " + format(how, *p99);
}

const json& find_node(const json& cluster, const std::string& name) {
  static const json kNone;
  if (!cluster.is_object() || !cluster.contains("nodes")) return kNone;
  for (const json& node : cluster["nodes"])
    if (text(node, "name") == name) return node;
  return kNone;
}

std::string rate(const json& now, const json& before, const char* pointer, double seconds) {
  const auto is = number(now, pointer), was = number(before, pointer);
  if (!is || !was || seconds <= 0 || *is < *was) return "-";
  return short_number((*is - *was) / seconds);
}

Row row_of(const json& node, const json& before, double seconds) {
  const bool draining = node.value("draining", false);
  return {text(node, "name") + (node.value("self", false) ? "*" : ""),
          text(node, "role"),
          draining ? "drains" : "up",
          count(node, "/running"),
          count(node, "/waiting"),
          bar(number(node, "/kv_blocks/in_use"), number(node, "/kv_blocks/total")),
          share(number(node, "/prefix_cache/hit_tokens"), number(node, "/prefix_cache/queried_tokens")),
          rate(node, before, "/prefill_tokens", seconds),
          rate(node, before, "/decode_tokens", seconds),
          rate(node, before, "/transfers/bytes_received", seconds),
          count(node, "/transfers/failed"),
          milliseconds(node, "ttft_ms"),
          milliseconds(node, "itl_ms"),
          text(node, "link")};
}

// Columns as wide as their widest cell; numbers to the right, names to the left.
std::string aligned(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string out;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - row[i].size(), ' ');
      const bool left = i < 3 || i == 5 || i + 1 == row.size();
      line += (i == 0 ? "" : "  ") + (left ? row[i] + pad : pad + row[i]);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

}  // namespace

std::string cluster_table(const json& now, const json& before, double seconds) {
  std::vector<Row> rows{{"NODE", "ROLE", "STATE", "RUN", "WAIT", "KV IN USE", "HITS", "PREFILL/s", "DECODE/s",
                         "KV IN B/s", "FAILED", "TTFT ms p50/p99", "ITL ms p50/p99", "LINK"}};
  if (now.contains("nodes") && now["nodes"].is_array())
    for (const json& node : now["nodes"])
      if (node.is_object()) rows.push_back(row_of(node, find_node(before, text(node, "name")), seconds));
  std::string out = aligned(rows);
  if (!now.contains("role_changes") || !now["role_changes"].is_array()) return out;
  std::size_t shown = 0;
  for (const json& change : now["role_changes"]) {
    if (!change.is_object() || shown++ == kChangesShown) break;
    if (shown == 1) out += "\n";
    out += text(change, "node") + ": " + text(change, "from") + " -> " + text(change, "to") + ", for " +
           text(change, "why") + "\n";
  }
  return out;
}

}  // namespace baton
