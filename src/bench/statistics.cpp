#include "baton/bench/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace baton::bench {
namespace {

Metric spread_metric(const char* tag, const char* name, const char* unit, std::vector<double> values) {
  return {tag, name, unit, spread_of(std::move(values)), false};
}

Metric single_metric(const char* tag, const char* name, const char* unit, double value) {
  Metric metric{tag, name, unit, {}, true};
  metric.spread.avg = value;
  metric.spread.count = 1;
  return metric;
}

}  // namespace

double percentile(const std::vector<double>& sorted, double percent) {
  if (sorted.empty()) return 0;
  const double at = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Spread spread_of(std::vector<double> values) {
  Spread s;
  s.count = values.size();
  if (values.empty()) return s;
  std::ranges::sort(values);
  s.min = values.front();
  s.max = values.back();
  s.avg = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - s.avg) * (value - s.avg);
  s.std = std::sqrt(squares / static_cast<double>(values.size()));
  for (const auto& [percent, target] : {std::pair{1.0, &s.p1},
                                        {5.0, &s.p5},
                                        {10.0, &s.p10},
                                        {25.0, &s.p25},
                                        {50.0, &s.p50},
                                        {75.0, &s.p75},
                                        {90.0, &s.p90},
                                        {95.0, &s.p95},
                                        {99.0, &s.p99}})
    *target = percentile(values, percent);
  return s;
}

double ttft(const Record& r) { return r.first - r.sent; }
double latency(const Record& r) { return r.last - r.sent; }
double inter_token_latency(const Record& r) {
  return r.output_tokens > 1 ? (latency(r) - ttft(r)) / static_cast<double>(r.output_tokens - 1) : 0;
}

bool Goodput::good(const Record& r) const {
  if (r.outcome != Outcome::completed) return false;
  return (ttft <= 0 || bench::ttft(r) <= ttft) && (itl <= 0 || inter_token_latency(r) <= itl) &&
         (latency <= 0 || bench::latency(r) <= latency);
}

const Metric* Summary::find(const std::string& tag) const {
  const auto found = std::ranges::find(metrics, tag, &Metric::tag);
  return found == metrics.end() ? nullptr : &*found;
}

Summary summarize(const RunResult& run, const Goodput& goodput) {
  Summary summary;
  summary.seconds = run.end - run.begin;
  std::vector<double> first, second, whole, between, per_user, input, output, late, from_schedule;
  double tokens = 0, prompt_tokens = 0;
  std::size_t good = 0;
  for (const Record& r : run.records) {
    if (r.warm_up) continue;
    if (r.outcome == Outcome::cancelled) ++summary.cancelled;
    if (r.outcome == Outcome::failed) ++summary.failed;
    if (r.outcome != Outcome::completed) continue;
    ++summary.completed;
    if (goodput.any() && goodput.good(r)) ++good;
    first.push_back(ttft(r) * 1e3);
    whole.push_back(latency(r) * 1e3);
    if (r.second > 0) second.push_back((r.second - r.first) * 1e3);
    if (const double itl = inter_token_latency(r); itl > 0) {
      between.push_back(itl * 1e3);
      per_user.push_back(1 / itl);
    }
    input.push_back(static_cast<double>(r.input_tokens));
    output.push_back(static_cast<double>(r.output_tokens));
    tokens += static_cast<double>(r.output_tokens);
    prompt_tokens += static_cast<double>(r.input_tokens);
    late.push_back((r.sent - r.scheduled) * 1e3);
    from_schedule.push_back((r.last - r.scheduled) * 1e3);
  }
  const double seconds = std::max(summary.seconds, 1e-9);
  auto& m = summary.metrics;
  m.push_back(spread_metric("time_to_first_token", "Time to First Token", "ms", std::move(first)));
  m.push_back(spread_metric("time_to_second_token", "Time to Second Token", "ms", std::move(second)));
  m.push_back(spread_metric("request_latency", "Request Latency", "ms", std::move(whole)));
  m.push_back(spread_metric("inter_token_latency", "Inter Token Latency", "ms", std::move(between)));
  m.push_back(spread_metric("output_token_throughput_per_user", "Output Token Throughput Per User",
                            "tokens/sec/user", std::move(per_user)));
  m.push_back(spread_metric("output_sequence_length", "Output Sequence Length", "tokens", std::move(output)));
  m.push_back(spread_metric("input_sequence_length", "Input Sequence Length", "tokens", std::move(input)));
  m.push_back(spread_metric("send_delay", "Sent after its Time", "ms", std::move(late)));
  m.push_back(
      spread_metric("latency_from_schedule", "Latency from its Time", "ms", std::move(from_schedule)));
  m.push_back(
      single_metric("output_token_throughput", "Output Token Throughput", "tokens/sec", tokens / seconds));
  m.push_back(single_metric("total_token_throughput", "Total Token Throughput", "tokens/sec",
                            (tokens + prompt_tokens) / seconds));
  m.push_back(single_metric("request_throughput", "Request Throughput", "requests/sec",
                            static_cast<double>(summary.completed) / seconds));
  m.push_back(
      single_metric("request_count", "Request Count", "requests", static_cast<double>(summary.completed)));
  if (goodput.any())
    m.push_back(single_metric("goodput", "Goodput", "requests/sec", static_cast<double>(good) / seconds));
  return summary;
}

}  // namespace baton::bench
