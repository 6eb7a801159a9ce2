#include "baton/base/units.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace baton {
namespace {

struct NumberAndSuffix {
  double number;
  std::string suffix;
};

// Splits "1.5GiB" into 1.5 and "GiB"; nothing where the text does not start with a plain decimal number.
std::optional<NumberAndSuffix> split(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size() && ((text[end] >= '0' && text[end] <= '9') || text[end] == '.')) ++end;
  const std::string digits(text.substr(0, end));
  if (digits.empty() || digits == "." || digits.find('.') != digits.rfind('.')) return std::nullopt;
  return NumberAndSuffix{std::strtod(digits.c_str(), nullptr), std::string(text.substr(end))};
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t whole) {
  const auto bad = [&] {
    return make_error(ErrorCode::invalid_argument,
                      "'" + std::string(text) + "' is not a size such as 512M, 8G or 80%");
  };
  const auto parts = split(text);
  if (!parts) return bad();
  std::string unit = parts->suffix;
  if (unit == "%") {
    if (parts->number <= 0 || parts->number > 100) return bad();
    return static_cast<std::uint64_t>(static_cast<double>(whole) * parts->number / 100.0);
  }
  if (unit.ends_with("iB"))
    unit.resize(unit.size() - 2);
  else if (unit.ends_with("B"))
    unit.resize(unit.size() - 1);
  double scale = 1;
  if (unit == "K" || unit == "k")
    scale = std::ldexp(1.0, 10);
  else if (unit == "M")
    scale = std::ldexp(1.0, 20);
  else if (unit == "G")
    scale = std::ldexp(1.0, 30);
  else if (unit == "T")
    scale = std::ldexp(1.0, 40);
  else if (!unit.empty())
    return bad();
  const double bytes = parts->number * scale;
  if (bytes > std::ldexp(1.0, 62)) return bad();
  return static_cast<std::uint64_t>(bytes);
}

Result<Duration> parse_duration(std::string_view text) {
  const auto bad = [&] {
    return make_error(ErrorCode::invalid_argument,
                      "'" + std::string(text) + "' is not a duration such as 250ms, 2s or 5m");
  };
  const auto parts = split(text);
  if (!parts) return bad();
  double seconds = parts->number;
  if (parts->suffix == "ms")
    seconds *= 1e-3;
  else if (parts->suffix == "us")
    seconds *= 1e-6;
  else if (parts->suffix == "m")
    seconds *= 60;
  else if (parts->suffix == "h")
    seconds *= 3600;
  else if (parts->suffix != "s" && !parts->suffix.empty())
    return bad();
  if (seconds > 365.0 * 86400) return bad();
  return Duration(std::llround(seconds * 1e9));  // 1001ms would otherwise lose a nanosecond
}

std::string format_size(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || value == std::floor(value) ? "%.0f %s" : "%.1f %s", value,
                kUnits[unit]);
  return text;
}

}  // namespace baton
