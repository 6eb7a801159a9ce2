// PrometheusMetrics: the MetricsRegistry interface over prometheus-cpp.
//
// Invariant: one family per name, one metric per (name, labels); both live as long as the registry.
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <mutex>
#include <utility>

#include "baton/frontend/server.hpp"

namespace baton {
namespace {

struct CounterView final : Counter {
  explicit CounterView(prometheus::Counter& c) : metric(c) {}
  void add(double amount) override { metric.Increment(amount); }
  double value() const override { return metric.Value(); }
  prometheus::Counter& metric;
};

struct GaugeView final : Gauge {
  explicit GaugeView(prometheus::Gauge& g) : metric(g) {}
  void set(double value) override { metric.Set(value); }
  void add(double amount) override { metric.Increment(amount); }
  double value() const override { return metric.Value(); }
  prometheus::Gauge& metric;
};

struct HistogramView final : Histogram {
  explicit HistogramView(prometheus::Histogram& h) : metric(h) {}
  void observe(double value) override { metric.Observe(value); }
  prometheus::Histogram& metric;
};

template <class Family, class View>
struct Kind {
  using Key = std::pair<std::string, Labels>;
  std::map<std::string, Family*> families;
  std::map<Key, std::unique_ptr<View>> views;

  template <class Build, class Add>
  View& get(const std::string& name, const Labels& labels, Build build, Add add) {
    auto& view = views[{name, labels}];
    if (!view) {
      auto& family = families[name];
      if (family == nullptr) family = &build();
      view = std::make_unique<View>(add(*family));
    }
    return *view;
  }
};

}  // namespace

struct PrometheusMetrics::State {
  std::mutex mutex;
  prometheus::Registry registry;
  Kind<prometheus::Family<prometheus::Counter>, CounterView> counters;
  Kind<prometheus::Family<prometheus::Gauge>, GaugeView> gauges;
  Kind<prometheus::Family<prometheus::Histogram>, HistogramView> histograms;
};

PrometheusMetrics::PrometheusMetrics() : state_(std::make_unique<State>()) {}
PrometheusMetrics::~PrometheusMetrics() = default;

Counter& PrometheusMetrics::counter(const std::string& name, const std::string& help, const Labels& labels) {
  std::lock_guard lock(state_->mutex);
  return state_->counters.get(
      name, labels,
      [&]() -> auto& { return prometheus::BuildCounter().Name(name).Help(help).Register(state_->registry); },
      [&](auto& family) -> auto& { return family.Add(labels); });
}

Gauge& PrometheusMetrics::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  std::lock_guard lock(state_->mutex);
  return state_->gauges.get(
      name, labels,
      [&]() -> auto& { return prometheus::BuildGauge().Name(name).Help(help).Register(state_->registry); },
      [&](auto& family) -> auto& { return family.Add(labels); });
}

Histogram& PrometheusMetrics::histogram(const std::string& name, const std::string& help,
                                        const std::vector<double>& buckets, const Labels& labels) {
  std::lock_guard lock(state_->mutex);
  return state_->histograms.get(
      name, labels,
      [&]() -> auto& {
        return prometheus::BuildHistogram().Name(name).Help(help).Register(state_->registry);
      },
      [&](auto& family) -> auto& { return family.Add(labels, buckets); });
}

std::string PrometheusMetrics::text() const {
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

}  // namespace baton
