// Metrics as interfaces, so that the layers below the frontend count without knowing prometheus-cpp.
//
// A registry owns what it hands out; references stay valid for its life. All operations are thread-safe and
// never fail: asking for the same (name, labels) again returns the same metric.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace baton {

class Counter {
 public:
  virtual ~Counter() = default;
  virtual void add(double amount = 1.0) = 0;
  virtual double value() const = 0;
};

class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void set(double value) = 0;
  virtual void add(double amount) = 0;
  virtual double value() const = 0;
};

class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void observe(double value) = 0;
};

using Labels = std::map<std::string, std::string>;

class MetricsRegistry {
 public:
  virtual ~MetricsRegistry() = default;
  virtual Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {}) = 0;
  virtual Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {}) = 0;
  virtual Histogram& histogram(const std::string& name, const std::string& help,
                               const std::vector<double>& buckets, const Labels& labels = {}) = 0;
};

}  // namespace baton
