// Line charts as SVG, without a library: axes from zero, a line and a legend entry for each series.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <ostream>

#include "baton/sim/report.hpp"

namespace baton {
namespace {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
};
struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
};

constexpr std::array<const char*, 6> kColours{"#0072b2", "#d55e00", "#009e73",
                                              "#cc79a7", "#e69f00", "#56b4e9"};  // Okabe and Ito's
constexpr double kWidth = 560, kHeight = 360, kLeft = 70, kRight = 20, kTop = 40, kBottom = 50;

// 1, 2 or 5 times a power of ten, so that about five of them span `range`.
double tick_step(double range) {
  const double rough = std::max(range, 1e-12) / 5, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (rough <= factor * power) return factor * power;
  return 10 * power;
}

std::string text(double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.4g", value);
  return digits;
}

void draw(std::ostream& out, const Chart& chart, double offset) {
  double x_most = 0, y_most = 0;
  for (const Series& s : chart.series)
    for (const auto& [x, y] : s.points) x_most = std::max(x_most, x), y_most = std::max(y_most, y);
  const double x_step = tick_step(x_most), y_step = tick_step(y_most);
  x_most = std::ceil(x_most / x_step) * x_step, y_most = std::ceil(y_most / y_step) * y_step;
  if (x_most <= 0) x_most = 1;
  if (y_most <= 0) y_most = 1;
  const auto px = [&](double x) { return offset + kLeft + x / x_most * (kWidth - kLeft - kRight); };
  const auto py = [&](double y) { return kHeight - kBottom - y / y_most * (kHeight - kTop - kBottom); };

  out << "<text x='" << offset + kWidth / 2 << "' y='20' text-anchor='middle' font-weight='bold'>"
      << chart.title << "</text>\n";
  for (int i = 0; i <= std::lround(x_most / x_step); ++i) {
    const double x = i * x_step;
    out << "<text x='" << px(x) << "' y='" << kHeight - kBottom + 18 << "' text-anchor='middle'>" << text(x)
        << "</text>\n";
  }
  for (int i = 0; i <= std::lround(y_most / y_step); ++i) {
    const double y = i * y_step;
    out << "<path d='M" << px(0) << ' ' << py(y) << 'H' << px(x_most) << "' stroke='#ddd'/><text x='"
        << px(0) - 6 << "' y='" << py(y) + 4 << "' text-anchor='end'>" << text(y) << "</text>\n";
  }
  out << "<path d='M" << px(0) << ' ' << py(y_most) << 'V' << py(0) << 'H' << px(x_most)
      << "' fill='none' stroke='#333'/>\n"
      << "<text x='" << offset + kWidth / 2 << "' y='" << kHeight - 10 << "' text-anchor='middle'>"
      << chart.x_label << "</text>\n"
      << "<text transform='translate(" << offset + 16 << ' ' << kHeight / 2
      << ") rotate(-90)' text-anchor='middle'>" << chart.y_label << "</text>\n";
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Series& s = chart.series[i];
    const char* colour = kColours[i % kColours.size()];
    out << "<polyline fill='none' stroke-width='2' stroke='" << colour << "' points='";
    for (const auto& [x, y] : s.points) out << px(x) << ',' << py(y) << ' ';
    out << "'/><text x='" << offset + kLeft + 10 << "' y='" << kTop + 14 + 16 * static_cast<double>(i)
        << "' fill='" << colour << "'>" << s.name << "</text>\n";
  }
}

Chart over_load(std::span<const SimRun> runs, const char* title, const char* unit,
                double (*value)(const SimRun&)) {
  Chart chart{title, "load (times the trace's arrival rate)", unit, {}};
  for (const SimRun& run : runs) {
    auto found = std::ranges::find(chart.series, run.policy, &Series::name);
    if (found == chart.series.end()) found = chart.series.insert(found, {run.policy, {}});
    found->points.emplace_back(run.load, value(run));
  }
  for (Series& s : chart.series) std::ranges::sort(s.points);
  return chart;
}

Chart shares(std::span<const SimRun> runs, const char* title, const char* unit, double scale,
             double (*value)(const SimRequest&)) {
  constexpr int kPoints = 200;
  Chart chart{title, unit, "share of the requests", {}};
  for (const SimRun& run : runs) {
    std::vector<double> values;
    for (const SimRequest& r : run.report.requests)
      if (r.ok()) values.push_back(value(r) * scale);
    std::ranges::sort(values);
    Series series{run.policy, {}};
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
  out << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 " << 2 * kWidth << ' ' << kHeight
      << "' font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n";
  for (std::size_t i = 0; i < charts.size(); ++i) draw(out, charts[i], static_cast<double>(i) * kWidth);
  out << "</svg>\n";
}

}  // namespace baton
