#include "baton/sim/report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <ostream>

namespace baton {
namespace {

std::string number(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}
std::string milliseconds(double seconds) { return number(seconds * 1e3, seconds < 0.1 ? 2 : 0); }
std::string percent(double share) { return number(share * 100, 1); }

nlohmann::json describe(const Distribution& d) {
  return {{"mean", d.mean}, {"p50", d.p50}, {"p90", d.p90}, {"p99", d.p99}, {"max", d.max}};
}

using Row = std::vector<std::string>;

void print(std::ostream& out, const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string gap(widths[i] - row[i].size(), ' ');
      out << (i == 0 ? row[i] + gap : "  " + gap + row[i]);  // names to the left, figures to the right
    }
    out << '\n';
  }
}

}  // namespace

void print_table(std::ostream& out, std::span<const SimRun> runs) {
  std::vector<Row> rows{{"policy", "load", "req/s", "TTFT mean", "p50", "p90", "p99 ms", "ITL mean", "p99 ms",
                         "E2E p50", "p99 s", "hits %", "SLO %", "goodput/s", "busy %", "full %", "holds"}};
  for (const SimRun& run : runs) {
    const SimSummary& s = run.summary;
    rows.push_back({run.policy, number(run.load, 2), number(s.requests_per_second, 2),
                    milliseconds(s.ttft.mean), milliseconds(s.ttft.p50), milliseconds(s.ttft.p90),
                    milliseconds(s.ttft.p99), milliseconds(s.itl.mean), milliseconds(s.itl.p99),
                    number(s.latency.p50, 2), number(s.latency.p99, 2), percent(run.report.hit_rate()),
                    percent(s.met), number(s.goodput, 2), percent(s.busy), percent(s.utilised),
                    s.sustained() ? "yes" : "no"});
  }
  print(out, rows);
}

void print_engines(std::ostream& out, const SimReport& report) {
  std::vector<Row> rows{{"engine", "busy %", "full %", "steps", "prefill tokens", "preemptions"}};
  for (const SimEngineReport& engine : report.engines)
    rows.push_back({engine.name, percent(engine.busy), percent(engine.utilised), std::to_string(engine.steps),
                    std::to_string(engine.prefill_tokens), std::to_string(engine.preemptions)});
  print(out, rows);
  for (const SimReport::RoleChange& change : report.role_changes)
    out << "at " << static_cast<std::int64_t>(change.time) << " s " << change.move.node << ": "
        << to_string(change.move.from) << " -> " << to_string(change.move.to) << ", for " << change.move.why
        << '\n';
}

nlohmann::json to_json(std::span<const SimRun> runs) {
  nlohmann::json all = nlohmann::json::array();
  for (const SimRun& run : runs) {
    const SimSummary& s = run.summary;
    nlohmann::json engines = nlohmann::json::array();
    for (const SimEngineReport& e : run.report.engines)
      engines.push_back({{"name", e.name},
                         {"role", to_string(e.role)},
                         {"busy", e.busy},
                         {"utilised", e.utilised},
                         {"steps", e.steps},
                         {"prefill_tokens", e.prefill_tokens},
                         {"preemptions", e.preemptions}});
    all.push_back({{"policy", run.policy},
                   {"load", run.load},
                   {"requests", run.report.requests.size()},
                   {"failed", run.report.failed},
                   {"seconds", run.report.seconds},
                   {"requests_per_second", s.requests_per_second},
                   {"output_tokens_per_second", s.output_tokens_per_second},
                   {"ttft_s", describe(s.ttft)},
                   {"itl_s", describe(s.itl)},
                   {"latency_s", describe(s.latency)},
                   {"first_quarter_ttft_s", s.first_quarter_ttft},
                   {"last_quarter_ttft_s", s.last_quarter_ttft},
                   {"sustained", s.sustained()},
                   {"slo_met", s.met},
                   {"goodput", s.goodput},
                   {"hit_rate", run.report.hit_rate()},
                   {"transfers", run.report.transfers},
                   {"blocks_moved", run.report.blocks_moved},
                   {"recomputed", run.report.recomputed},
                   {"engines", std::move(engines)}});
  }
  return all;
}

void write_csv(std::ostream& out, std::span<const SimRun> runs) {
  out << "policy,load,arrival_s,input_tokens,cached_tokens,output_tokens,ttft_s,itl_s,latency_s,"
         "disaggregated,recomputed\n";
  for (const SimRun& run : runs)
    for (const SimRequest& r : run.report.requests) {
      if (!r.ok()) continue;
      out << run.policy << ',' << run.load << ',' << r.arrival << ',' << r.input_tokens << ','
          << r.cached_tokens << ',' << r.output_tokens << ',' << r.ttft() << ',' << r.itl() << ','
          << r.latency() << ',' << r.disaggregated << ',' << r.recomputed << '\n';
    }
}

}  // namespace baton
