#include "baton/bench/report.hpp"

#include <charconv>
#include <cstdio>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <ostream>

namespace baton::bench {
namespace {

struct Column {
  const char* name;
  double Spread::*value;
};
constexpr Column kShown[]{{"avg", &Spread::avg}, {"min", &Spread::min}, {"max", &Spread::max},
                          {"p99", &Spread::p99}, {"p90", &Spread::p90}, {"p50", &Spread::p50},
                          {"std", &Spread::std}};
constexpr Column kAll[]{{"avg", &Spread::avg}, {"min", &Spread::min}, {"max", &Spread::max},
                        {"std", &Spread::std}, {"p1", &Spread::p1},   {"p5", &Spread::p5},
                        {"p10", &Spread::p10}, {"p25", &Spread::p25}, {"p50", &Spread::p50},
                        {"p75", &Spread::p75}, {"p90", &Spread::p90}, {"p95", &Spread::p95},
                        {"p99", &Spread::p99}};

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

const char* outcome_name(Outcome outcome) {
  return outcome == Outcome::completed ? "completed" : outcome == Outcome::failed ? "failed" : "cancelled";
}

double average(const Summary& summary, const char* tag) {
  const Metric* metric = summary.find(tag);
  return metric == nullptr ? 0 : metric->spread.avg;
}

}  // namespace

void print_table(std::ostream& out, const BenchRun& run) {
  out << '\n' << run.label << '\n' << std::left << std::setw(50) << "Metric" << std::right;
  for (const Column& column : kShown) out << std::setw(11) << column.name;
  out << '\n' << std::string(50 + 7 * 11, '-') << '\n';
  for (const Metric& metric : run.summary.metrics) {
    out << std::left << std::setw(50) << metric.name + " (" + metric.unit + ")" << std::right;
    for (const Column& column : kShown) {
      const bool empty = metric.spread.count == 0 || (metric.single && column.value != &Spread::avg);
      out << std::setw(11) << (empty ? "" : shown(metric.spread.*column.value));
    }
    out << '\n';
  }
  out << run.summary.completed << " completed, " << run.summary.failed << " failed, " << run.summary.cancelled
      << " cancelled in " << shown(run.summary.seconds) << " s; the client used "
      << shown(run.result.client_cpu) << " s of processor time\n";
  std::map<std::string, std::size_t> errors;
  for (const Record& record : run.result.records)
    if (!record.error.empty() && record.outcome == Outcome::failed) ++errors[record.error];
  for (const auto& [text, count] : errors) out << "  " << count << " x " << text << '\n';
}

nlohmann::json to_json(const BenchRun& run) {
  nlohmann::json out{{"label", run.label},
                     {"benchmark_duration", run.summary.seconds},
                     {"completed", run.summary.completed},
                     {"failed", run.summary.failed},
                     {"cancelled", run.summary.cancelled},
                     {"client_cpu_seconds", run.result.client_cpu}};
  for (const Metric& metric : run.summary.metrics) {
    nlohmann::json& entry = out[metric.tag];
    entry["unit"] = metric.unit;
    if (metric.single) {
      entry["avg"] = metric.spread.avg;
      continue;
    }
    entry["count"] = metric.spread.count;
    for (const Column& column : kAll) entry[column.name] = metric.spread.*column.value;
  }
  for (const auto& [name, values] : run.server) {
    if (values.empty()) continue;
    const Spread spread = spread_of(values);
    out["server_metrics"][name] = {
        {"first", values.front()}, {"last", values.back()}, {"avg", spread.avg}, {"max", spread.max}};
  }
  return out;
}

void write_csv(std::ostream& out, const BenchRun& run) {
  out << "Metric,Unit";
  for (const Column& column : kAll) out << ',' << column.name;
  out << '\n';
  for (const Metric& metric : run.summary.metrics) {
    out << metric.name << ',' << metric.unit;
    for (const Column& column : kAll) {
      out << ',';
      if (metric.spread.count > 0 && (!metric.single || column.value == &Spread::avg))
        out << metric.spread.*column.value;
    }
    out << '\n';
  }
}

void write_records(std::ostream& out, const BenchRun& run) {
  for (const Record& r : run.result.records) {
    nlohmann::json line{{"index", r.index},
                        {"turn", r.turn},
                        {"outcome", outcome_name(r.outcome)},
                        {"warm_up", r.warm_up},
                        {"scheduled", r.scheduled},
                        {"sent", r.sent},
                        {"input_tokens", r.input_tokens},
                        {"output_tokens", r.output_tokens},
                        {"chunks", r.chunks}};
    if (r.first > 0) {
      line["time_to_first_token_ms"] = ttft(r) * 1e3;
      line["request_latency_ms"] = latency(r) * 1e3;
      line["inter_token_latency_ms"] = inter_token_latency(r) * 1e3;
    }
    if (!r.error.empty()) line["error"] = r.error;
    out << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  }
}

std::vector<Chart> charts(std::span<const BenchRun> runs) {
  std::vector<Chart> all;
  Chart first{
      .title = "Time to first token", .x_label = "sent at, s", .y_label = "ms", .series = {}, .marks = {}};
  Chart between{
      .title = "Inter token latency", .x_label = "sent at, s", .y_label = "ms", .series = {}, .marks = {}};
  for (const BenchRun& run : runs) {
    ChartSeries a{run.label, {}, true}, b{run.label, {}, true};
    for (const Record& r : run.result.records) {
      if (r.warm_up || r.outcome != Outcome::completed) continue;
      a.points.emplace_back(r.sent - run.result.begin, ttft(r) * 1e3);
      b.points.emplace_back(r.sent - run.result.begin, inter_token_latency(r) * 1e3);
    }
    first.series.push_back(std::move(a));
    between.series.push_back(std::move(b));
  }
  all.push_back(std::move(first));
  all.push_back(std::move(between));
  if (runs.size() < 2) return all;
  Chart sweep{.title = "Latency against throughput",
              .x_label = "output tokens/s",
              .y_label = "request latency, ms",
              .series = {},
              .marks = {}};
  ChartSeries mean{"mean", {}, false}, high{"p99", {}, false};
  for (const BenchRun& run : runs) {
    const Metric* latency_metric = run.summary.find("request_latency");
    const double throughput = average(run.summary, "output_token_throughput");
    mean.points.emplace_back(throughput, latency_metric->spread.avg);
    high.points.emplace_back(throughput, latency_metric->spread.p99);
  }
  sweep.series = {std::move(mean), std::move(high)};
  all.push_back(std::move(sweep));
  return all;
}

std::map<std::string, double> parse_metrics(std::string_view text) {
  std::map<std::string, double> values;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (line.empty() || line.front() == '#') continue;
    const std::size_t labels = line.rfind('}');
    const std::size_t space = line.find(' ', labels == line.npos ? 0 : labels);
    if (space == line.npos || space == 0) continue;
    const std::string_view number = line.substr(space + 1);
    double value = 0;
    const auto [parsed, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error == std::errc{}) values[std::string(line.substr(0, space))] = value;
  }
  return values;
}

}  // namespace baton::bench
