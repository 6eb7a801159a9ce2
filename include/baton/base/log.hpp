// Structured logging as an interface: a message for people plus key=value fields. A Logger is passed in;
// there is no global one.
//
// Thread-safe: every method may be called from any thread.
#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

namespace baton {

enum class LogLevel { debug, info, warn, error };

struct LogField {
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
  LogField(std::string_view k, bool v) : key(k), value(v ? "true" : "false") {}
  template <std::integral T>
  LogField(std::string_view k, T v) : key(k), value(std::to_string(v)) {}
  LogField(std::string_view k, double v);

  std::string key;
  std::string value;
};
using LogFields = std::initializer_list<LogField>;

class Logger {
 public:
  virtual ~Logger() = default;
  virtual void log(LogLevel level, std::string_view message, LogFields fields) = 0;

  void debug(std::string_view message, LogFields fields = {}) { log(LogLevel::debug, message, fields); }
  void info(std::string_view message, LogFields fields = {}) { log(LogLevel::info, message, fields); }
  void warn(std::string_view message, LogFields fields = {}) { log(LogLevel::warn, message, fields); }
  void error(std::string_view message, LogFields fields = {}) { log(LogLevel::error, message, fields); }
};

// Writes lines to stderr: text ("12:00:01.123 info  message  key=value") or one JSON object a line.
std::unique_ptr<Logger> make_stderr_logger(LogLevel minimum, bool json);
// Drops everything; for tests.
Logger& null_logger();

}  // namespace baton
