// A logger that keeps what it is told, but for debug lines.
#pragma once

#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

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
  // The lines that contain `part`.
  std::vector<std::string> lines(const std::string& part) const {
    std::vector<std::string> out;
    std::istringstream all(text());
    for (std::string line; std::getline(all, line);) {
      if (line.find(part) != std::string::npos) out.push_back(line);
    }
    return out;
  }
  bool repeats(const std::string& part) const {  // a line that contains it
    const std::vector<std::string> all = lines(part);
    return std::set<std::string>(all.begin(), all.end()).size() < all.size();
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

}  // namespace baton::test
