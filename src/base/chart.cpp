#include "baton/base/chart.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ostream>

namespace baton {
namespace {

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

std::string escaped(const std::string& plain) {
  std::string out;
  for (const char c : plain) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

std::string text(double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.4g", value);
  return digits;
}

void draw(std::ostream& out, const Chart& chart, double offset) {
  double x_most = 0, y_most = 0;
  for (const ChartSeries& s : chart.series)
    for (const auto& [x, y] : s.points) x_most = std::max(x_most, x), y_most = std::max(y_most, y);
  const double x_step = tick_step(x_most), y_step = tick_step(y_most);
  x_most = std::ceil(x_most / x_step) * x_step, y_most = std::ceil(y_most / y_step) * y_step;
  if (x_most <= 0) x_most = 1;
  if (y_most <= 0) y_most = 1;
  const auto px = [&](double x) { return offset + kLeft + x / x_most * (kWidth - kLeft - kRight); };
  const auto py = [&](double y) { return kHeight - kBottom - y / y_most * (kHeight - kTop - kBottom); };

  out << "<text x='" << offset + kWidth / 2 << "' y='20' text-anchor='middle' font-weight='bold'>"
      << escaped(chart.title) << "</text>\n";
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
      << escaped(chart.x_label) << "</text>\n"
      << "<text transform='translate(" << offset + 16 << ' ' << kHeight / 2
      << ") rotate(-90)' text-anchor='middle'>" << escaped(chart.y_label) << "</text>\n";
  for (const auto& [x, what] : chart.marks)
    out << "<path d='M" << px(x) << ' ' << py(0) << 'V' << py(y_most)
        << "' stroke='#777' stroke-dasharray='4 3'/><text x='" << px(x) + 4 << "' y='" << py(y_most) + 12
        << "' fill='#777'>" << escaped(what) << "</text>\n";
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const ChartSeries& s = chart.series[i];
    const char* colour = kColours[i % kColours.size()];
    if (s.dots) {
      for (const auto& [x, y] : s.points)
        out << "<circle r='3' cx='" << px(x) << "' cy='" << py(y) << "' fill='" << colour << "'/>";
    } else {
      out << "<polyline fill='none' stroke-width='2' stroke='" << colour << "' points='";
      for (const auto& [x, y] : s.points) out << px(x) << ',' << py(y) << ' ';
      out << "'/>";
    }
    out << "<text x='" << offset + kLeft + 10 << "' y='" << kTop + 14 + 16 * static_cast<double>(i)
        << "' fill='" << colour << "'>" << escaped(s.name) << "</text>\n";
  }
}

}  // namespace

void write_svg(std::ostream& out, std::span<const Chart> charts) {
  out << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 "
      << static_cast<double>(charts.size()) * kWidth << ' ' << kHeight
      << "' font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n";
  for (std::size_t i = 0; i < charts.size(); ++i) draw(out, charts[i], static_cast<double>(i) * kWidth);
  out << "</svg>\n";
}

}  // namespace baton
