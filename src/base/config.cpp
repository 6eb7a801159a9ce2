#include "baton/base/config.hpp"

#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "baton/base/units.hpp"

namespace baton {
namespace {

Error refuse(const RowText& text, const std::string& why) {
  return make_error(ErrorCode::invalid_argument, text.flag + ": " + why, text.flag);
}

ConfigRow make_row(const RowText& text, std::string shown_default) {
  ConfigRow row;
  row.flag = text.flag;
  row.key = text.key;
  row.help = text.help;
  row.value_name = text.value_name;
  row.shown_default = std::move(shown_default);
  return row;
}

std::string show(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", number);
  return text;
}

std::string show(Duration duration) {
  const double seconds = to_seconds(duration);
  return seconds < 1 ? show(seconds * 1000) + "ms" : show(seconds) + "s";
}

// As parse_duration reads it, to the nanosecond.
std::string exact(Duration duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9fs", to_seconds(duration));
  return text;
}

Result<void> is_choice(const RowText& text, const std::vector<std::string>& choices,
                       const std::string& value) {
  std::string all;
  for (const std::string& choice : choices) {
    if (choice == value) return {};
    all += (all.empty() ? "" : ", ") + choice;
  }
  return refuse(text, "'" + value + "' is not one of " + all);
}

std::function<std::vector<std::string>()> get_text(const std::string& target) {
  return [&target] { return std::vector<std::string>{target}; };
}

}  // namespace

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

ConfigRow string_row(const RowText& text, std::string& target) {
  ConfigRow row = make_row(text, target);
  row.get = get_text(target);
  row.set = [&target](const std::string& value) {
    target = value;
    return Result<void>();
  };
  return row;
}

ConfigRow list_row(const RowText& text, std::vector<std::string>& target) {
  ConfigRow row = make_row(text, "");
  row.repeatable = true;
  row.set = [&target](const std::string& value) {
    target.push_back(value);
    return Result<void>();
  };
  row.clear = [&target] { target.clear(); };
  row.get = [&target] { return target; };
  return row;
}

ConfigRow comma_row(const RowText& text, std::vector<std::string> choices, std::string& target) {
  ConfigRow row = make_row(text, target);
  row.repeatable = true;
  row.set = [&target, text, choices = std::move(choices)](const std::string& value) -> Result<void> {
    if (!choices.empty()) {
      for (const std::string& part : split_commas(value))
        if (auto known = is_choice(text, choices, part); !known) return known;
    }
    target += (target.empty() ? "" : ",") + value;
    return {};
  };
  row.clear = [&target] { target.clear(); };
  row.get = get_text(target);
  return row;
}

ConfigRow switch_row(const RowText& text, bool& target) {
  ConfigRow row = make_row(text, target ? "true" : "false");
  row.set = [&target, text](const std::string& value) -> Result<void> {
    if (value != "true" && value != "false") return refuse(text, "'" + value + "' is neither true nor false");
    target = value == "true";
    return {};
  };
  row.get = [&target] { return std::vector<std::string>{target ? "true" : "false"}; };
  return row;
}

ConfigRow int_row(const RowText& text, std::int64_t least, std::int64_t most, std::int32_t& target) {
  ConfigRow row = make_row(text, std::to_string(target));
  row.set = [&target, text, least, most](const std::string& value) -> Result<void> {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    const bool whole = error == std::errc() && end == value.data() + value.size();
    if (!whole || number < least || number > most) {
      return refuse(text, "'" + value + "' is not a whole number from " + std::to_string(least) + " to " +
                              std::to_string(most));
    }
    target = static_cast<std::int32_t>(number);
    return {};
  };
  row.get = [&target] { return std::vector<std::string>{std::to_string(target)}; };
  return row;
}

ConfigRow number_row(const RowText& text, double least, double most, double& target) {
  ConfigRow row = make_row(text, show(target));
  row.set = [&target, text, least, most](const std::string& value) -> Result<void> {
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0' || !(number >= least && number <= most)) {
      return refuse(text, "'" + value + "' is not a number from " + show(least) + " to " + show(most));
    }
    target = number;
    return {};
  };
  row.get = [&target] {
    char exactly[32];
    std::snprintf(exactly, sizeof exactly, "%.17g", target);
    return std::vector<std::string>{exactly};
  };
  return row;
}

ConfigRow duration_row(const RowText& text, Duration least, Duration& target) {
  ConfigRow row = make_row(text, show(target));
  row.set = [&target, text, least](const std::string& value) -> Result<void> {
    auto duration = parse_duration(value);
    if (!duration) return refuse(text, duration.error().message);
    if (*duration < least) return refuse(text, "must be at least " + show(least));
    target = *duration;
    return {};
  };
  row.get = [&target] { return std::vector<std::string>{exact(target)}; };
  return row;
}

ConfigRow choice_row(const RowText& text, std::vector<std::string> choices, std::string& target) {
  ConfigRow row = make_row(text, target);
  row.set = [&target, text, choices = std::move(choices)](const std::string& value) -> Result<void> {
    if (auto known = is_choice(text, choices, value); !known) return known;
    target = value;
    return {};
  };
  row.get = get_text(target);
  return row;
}

ConfigRow size_row(const RowText& text, std::string& target) {
  ConfigRow row = make_row(text, target);
  row.set = [&target, text](const std::string& value) -> Result<void> {
    if (auto size = parse_size(value, 1U << 30); !size) return refuse(text, size.error().message);
    target = value;
    return {};
  };
  row.get = get_text(target);
  return row;
}

}  // namespace baton
