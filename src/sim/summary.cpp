#include <algorithm>
#include <cmath>
#include <numeric>

#include "baton/sim/simulation.hpp"

namespace baton {
namespace {

double mean(std::span<const double> values) {
  return values.empty()
             ? 0
             : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

Distribution distribution(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const auto quantile = [&](double q) {  // nearest rank
    const double rank = std::ceil(q * static_cast<double>(values.size()));
    return values[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
  };
  return {mean(values), quantile(0.5), quantile(0.9), quantile(0.99), values.back()};
}

SimSummary summarize(const SimReport& report, const SimOptions& options) {
  SimSummary summary;
  std::vector<double> ttft, itl, latency;
  std::size_t met = 0;
  double output = 0;
  for (const SimRequest& request : report.requests) {
    if (!request.ok()) continue;
    ttft.push_back(request.ttft());
    latency.push_back(request.latency());
    if (request.output_tokens > 1) itl.push_back(request.itl());
    output += request.output_tokens;
    met += (options.slo_ttft <= 0 || request.ttft() <= options.slo_ttft) &&
                   (options.slo_itl <= 0 || request.itl() <= options.slo_itl)
               ? 1
               : 0;
  }
  const double seconds = std::max(report.seconds, 1e-9);
  const std::size_t quarter = ttft.size() / 4;
  summary.first_quarter_ttft = mean(std::span(ttft).first(quarter));
  summary.last_quarter_ttft = mean(std::span(ttft).last(quarter));
  summary.requests_per_second = static_cast<double>(ttft.size()) / seconds;
  summary.goodput = static_cast<double>(met) / seconds;
  summary.met =
      report.requests.empty() ? 0 : static_cast<double>(met) / static_cast<double>(report.requests.size());
  summary.output_tokens_per_second = output / seconds;
  summary.ttft = distribution(std::move(ttft));
  summary.itl = distribution(std::move(itl));
  summary.latency = distribution(std::move(latency));
  for (const SimEngineReport& engine : report.engines) {
    summary.busy += engine.busy / static_cast<double>(report.engines.size());
    summary.utilised += engine.utilised / static_cast<double>(report.engines.size());
    summary.most_utilised = std::max(summary.most_utilised, engine.utilised);
  }
  return summary;
}

}  // namespace baton
