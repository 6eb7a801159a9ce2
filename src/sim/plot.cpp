// The pictures of `baton simulate`: latencies and goodput over the load, or their distributions.
#include <algorithm>
#include <array>

#include "baton/base/chart.hpp"
#include "baton/sim/report.hpp"

namespace baton {
namespace {

Chart over_load(std::span<const SimRun> runs, const char* title, const char* unit,
                double (*value)(const SimRun&)) {
  Chart chart{title, "load (times the trace's arrival rate)", unit, {}, {}};
  for (const SimRun& run : runs) {
    auto found = std::ranges::find(chart.series, run.policy, &ChartSeries::name);
    if (found == chart.series.end()) found = chart.series.insert(found, {run.policy, {}, false});
    found->points.emplace_back(run.load, value(run));
  }
  for (ChartSeries& s : chart.series) std::ranges::sort(s.points);
  return chart;
}

Chart shares(std::span<const SimRun> runs, const char* title, const char* unit, double scale,
             double (*value)(const SimRequest&)) {
  constexpr int kPoints = 200;
  Chart chart{title, unit, "share of the requests", {}, {}};
  for (const SimRun& run : runs) {
    std::vector<double> values;
    for (const SimRequest& r : run.report.requests)
      if (r.ok()) values.push_back(value(r) * scale);
    std::ranges::sort(values);
    ChartSeries series{run.policy, {}, false};
    for (int i = 0; i <= kPoints * 99 / 100 && !values.empty();
         ++i)  // to p99: the rest would flatten the picture
      series.points.emplace_back(values[static_cast<std::size_t>(i) * (values.size() - 1) / kPoints],
                                 static_cast<double>(i) / kPoints);
    chart.series.push_back(std::move(series));
  }
  return chart;
}

}  // namespace

void write_svg(std::ostream& out, std::span<const SimRun> runs) {
  const bool one_load =
      std::ranges::all_of(runs, [&](const SimRun& run) { return run.load == runs.front().load; });
  std::array<Chart, 2> charts;
  if (one_load) {
    charts[0] = shares(runs, "Time to first token", "ms, up to p99", 1e3,
                       [](const SimRequest& r) { return r.ttft(); });
    charts[1] = shares(runs, "Inter-token latency", "ms, up to p99", 1e3,
                       [](const SimRequest& r) { return r.itl(); });
  } else {
    charts[0] = over_load(runs, "Mean time to first token", "s",
                          [](const SimRun& run) { return run.summary.ttft.mean; });
    charts[1] = over_load(runs, "Goodput", "requests/s within the SLO",
                          [](const SimRun& run) { return run.summary.goodput; });
  }
  write_svg(out, charts);
}

}  // namespace baton
