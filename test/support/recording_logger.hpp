// A logger that keeps what it is told, but for debug lines.
#pragma once

#include <mutex>
#include <string>

#include "baton/base/log.hpp"

namespace baton::test {

class RecordingLogger final : public Logger {
 public:
  void log(LogLevel level, std::string_view message, LogFields fields) override {
    if (level == LogLevel::debug) return;
    std::lock_guard lock(mutex_);
    text_ += message;
    for (const LogField& field : fields) text_ += "  " + field.key + '=' + field.value;
    text_ += '\n';
  }
  std::string text() const {
    std::lock_guard lock(mutex_);
    return text_;
  }
  bool has(const std::string& part) const { return text().find(part) != std::string::npos; }
  std::size_t count(const std::string& part) const {
    const std::string all = text();
    std::size_t n = 0;
    for (std::size_t at = all.find(part); at != std::string::npos; at = all.find(part, at + 1)) ++n;
    return n;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

}  // namespace baton::test
