#include "baton/sim/trace.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>

namespace baton {
namespace {

constexpr std::int32_t kMaxTokens = 10'000'000;  // of one request: more is a broken file
constexpr std::uint64_t kUnshared = std::uint64_t{1} << 63;

using Parsed = Result<TraceRequest>;

Error bad(const std::string& what) { return make_error(ErrorCode::invalid_argument, what); }

Result<std::int32_t> token_count(const nlohmann::json& object, const char* key, std::int32_t minimum) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer())
    return bad(std::string("'") + key + "' is not an integer");
  const auto value = found->get<std::int64_t>();
  if (value < minimum || value > kMaxTokens) return bad(std::string("'") + key + "' is out of range");
  return static_cast<std::int32_t>(value);
}

Parsed parse_mooncake(std::string_view line) {
  const auto object = nlohmann::json::parse(line, nullptr, false);
  if (!object.is_object()) return bad("not a JSON object");
  const auto time = object.find("timestamp");
  if (time == object.end() || !time->is_number() || time->get<double>() < 0 || time->get<double>() > 1e12)
    return bad("'timestamp' is not a time in ms");
  const auto input = token_count(object, "input_length", 1);
  if (!input) return input.error();
  const auto output = token_count(object, "output_length", 0);
  if (!output) return output.error();
  TraceRequest request;
  request.arrival =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(time->get<double>()));
  request.input_tokens = *input;
  request.output_tokens = std::max(*output, 1);
  const auto ids = object.find("hash_ids");
  if (ids == object.end() || !ids->is_array()) return bad("'hash_ids' is not an array");
  for (const auto& id : *ids) {
    if (!id.is_number_unsigned()) return bad("'hash_ids' holds something else than ids");
    request.content.push_back(id.get<std::uint64_t>());
  }
  if (request.content.size() != static_cast<std::size_t>((*input + kTraceChunk - 1) / kTraceChunk))
    return bad("'hash_ids' does not fit 'input_length'");
  return request;
}

// Days since 1970-01-01, and the time of the day: enough for differences.
std::optional<Duration> parse_time(const std::string& text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0;
  double second = 0;
  if (std::sscanf(text.c_str(), "%d-%d-%d %d:%d:%lf", &year, &month, &day, &hour, &minute, &second) != 6)
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (year < 1970 || year > 2200 || !date.ok() || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      !(second >= 0 && second < 61))
    return std::nullopt;
  return std::chrono::sys_days(date).time_since_epoch() + std::chrono::hours(hour) +
         std::chrono::minutes(minute) +
         std::chrono::duration_cast<Duration>(std::chrono::duration<double>(second));
}

std::optional<std::int32_t> parse_count(std::string_view text) {
  std::int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0 || value > kMaxTokens)
    return std::nullopt;
  return value;
}

Parsed parse_azure(std::string_view line, std::uint64_t& next_unshared) {
  const std::size_t first = line.find(','), second = line.find(',', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) return bad("not three columns");
  const auto time = parse_time(std::string(line.substr(0, first)));
  const auto input = parse_count(line.substr(first + 1, second - first - 1));
  const auto output = parse_count(line.substr(second + 1));
  if (!time) return bad("TIMESTAMP is not a time");
  if (!input || *input == 0) return bad("ContextTokens is not a positive count");
  if (!output) return bad("GeneratedTokens is not a count");
  TraceRequest request{*time, *input, std::max(*output, 1), {}};
  for (std::int32_t at = 0; at < *input; at += kTraceChunk)
    request.content.push_back(kUnshared | next_unshared++);
  return request;
}

std::uint64_t mix(std::uint64_t x) {  // splitmix64's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

Result<std::vector<TraceRequest>> parse_trace(std::string_view text, std::string_view name) {
  std::vector<TraceRequest> requests;
  std::uint64_t next_unshared = 0;
  std::optional<bool> csv;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    if (!csv) {
      csv = line.starts_with("TIMESTAMP,ContextTokens,GeneratedTokens");
      if (*csv) continue;
    }
    Parsed request = *csv ? parse_azure(line, next_unshared) : parse_mooncake(line);
    if (!request) {
      Error error = request.error();
      error.message = std::string(name) + ":" + std::to_string(number) + ": " + error.message;
      return error;
    }
    requests.push_back(*std::move(request));
  }
  if (requests.empty()) return bad(std::string(name) + " holds no requests");
  std::ranges::stable_sort(requests, {}, &TraceRequest::arrival);
  const Duration first = requests.front().arrival;
  for (TraceRequest& request : requests) request.arrival -= first;
  return requests;
}

Result<std::vector<TraceRequest>> read_trace(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  if (!in) return make_error(ErrorCode::not_found, "cannot read the trace " + file.string(), "trace");
  return parse_trace(text.view(), file.string());
}

void shrink_trace(std::vector<TraceRequest>& trace, std::int32_t factor) {
  for (TraceRequest& request : trace) {
    request.input_tokens = (request.input_tokens + factor - 1) / factor;
    request.output_tokens = (request.output_tokens + factor - 1) / factor;
    request.chunk = std::max(1, request.chunk / factor);
  }
}

std::vector<TokenId> trace_tokens(const TraceRequest& request, std::int32_t vocab) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(request.input_tokens));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto size = static_cast<std::size_t>(request.chunk);
    const std::uint64_t chunk = request.content[i / size];
    tokens[i] =
        static_cast<TokenId>(mix(chunk * kTraceChunk + i % size + 1) % static_cast<std::uint64_t>(vocab));
  }
  return tokens;
}

}  // namespace baton
