#include "baton/base/log.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <mutex>

namespace baton {
namespace {

const char* name(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warn:
      return "warn";
    case LogLevel::error:
      return "error";
  }
  return "info";
}

std::string timestamp(bool iso) {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char date[32];
  std::strftime(date, sizeof date, iso ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &parts);
  char text[48];
  std::snprintf(text, sizeof text, "%s.%03d%s", date, static_cast<int>(ms), iso ? "Z" : "");
  return text;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
}

class StderrLogger final : public Logger {
 public:
  StderrLogger(LogLevel minimum, bool json) : minimum_(minimum), json_(json) {}

  void log(LogLevel level, std::string_view message, LogFields fields) override {
    if (level < minimum_) return;
    std::string line = json_ ? as_json(level, message, fields) : as_text(level, message, fields);
    line += '\n';
    std::lock_guard lock(mutex_);
    std::fwrite(line.data(), 1, line.size(), stderr);
  }

 private:
  static std::string as_json(LogLevel level, std::string_view message, LogFields fields) {
    std::string line = "{\"time\":\"" + timestamp(true) + "\",\"level\":\"" + name(level) + "\",\"message\":";
    append_json_string(line, message);
    for (const LogField& field : fields) {
      line += ',';
      append_json_string(line, field.key);
      line += ':';
      append_json_string(line, field.value);
    }
    return line + '}';
  }

  static std::string as_text(LogLevel level, std::string_view message, LogFields fields) {
    std::string line = timestamp(false) + ' ' + name(level);
    line.append(line.size() < 18 ? 18 - line.size() : 1, ' ');
    line += ' ';
    line += message;
    for (const LogField& field : fields) {
      line += "  " + field.key + '=';
      const bool quote = field.value.empty() || field.value.find_first_of(" \t\n\"") != std::string::npos;
      if (quote)
        append_json_string(line, field.value);
      else
        line += field.value;
    }
    return line;
  }

  const LogLevel minimum_;
  const bool json_;
  std::mutex mutex_;
};

class NullLogger final : public Logger {
  void log(LogLevel, std::string_view, LogFields) override {}
};

}  // namespace

LogField::LogField(std::string_view k, double v) : key(k) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", v);
  value = text;
}

std::unique_ptr<Logger> make_stderr_logger(LogLevel minimum, bool json) {
  return std::make_unique<StderrLogger>(minimum, json);
}

Logger& null_logger() {
  static NullLogger logger;  // stateless
  return logger;
}

}  // namespace baton
