// Line and scatter charts as SVG, without a library: axes from zero, a legend entry for each series.
//
// Knows nothing of what is drawn. Text is escaped, so that a model's name may stand in a title.
#pragma once

#include <iosfwd>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace baton {

struct ChartSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;
  bool dots = false;  // points alone, without a line
};
struct Chart {
  std::string title, x_label, y_label;
  std::vector<ChartSeries> series;
  std::vector<std::pair<double, std::string>> marks;  // vertical lines: x and what stands there
};

// One SVG document, the charts beside each other.
void write_svg(std::ostream& out, std::span<const Chart> charts);

}  // namespace baton
