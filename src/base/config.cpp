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

}  // namespace

ConfigRow string_row(RowText text, std::string& target) {
  ConfigRow row = make_row(text, target);
  row.set = [&target](const std::string& value) {
    target = value;
    return Result<void>();
  };
  return row;
}

ConfigRow list_row(RowText text, std::vector<std::string>& target) {
  ConfigRow row = make_row(text, "");
  row.repeatable = true;
  row.set = [&target](const std::string& value) {
    target.push_back(value);
    return Result<void>();
  };
  row.clear = [&target] { target.clear(); };
  return row;
}

ConfigRow switch_row(RowText text, bool& target) {
  ConfigRow row = make_row(text, target ? "true" : "false");
  row.set = [&target, text](const std::string& value) -> Result<void> {
    if (value != "true" && value != "false") return refuse(text, "'" + value + "' is neither true nor false");
    target = value == "true";
    return {};
  };
  return row;
}

ConfigRow int_row(RowText text, std::int64_t least, std::int64_t most, std::int32_t& target) {
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
  return row;
}

ConfigRow number_row(RowText text, double least, double most, double& target) {
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
  return row;
}

ConfigRow duration_row(RowText text, Duration least, Duration& target) {
  ConfigRow row = make_row(text, show(target));
  row.set = [&target, text, least](const std::string& value) -> Result<void> {
    auto duration = parse_duration(value);
    if (!duration) return refuse(text, duration.error().message);
    if (*duration < least) return refuse(text, "must be at least " + show(least));
    target = *duration;
    return {};
  };
  return row;
}

ConfigRow choice_row(RowText text, std::vector<std::string> choices, std::string& target) {
  ConfigRow row = make_row(text, target);
  row.set = [&target, text, choices = std::move(choices)](const std::string& value) -> Result<void> {
    std::string all;
    for (const std::string& choice : choices) {
      if (choice == value) {
        target = value;
        return {};
      }
      all += (all.empty() ? "" : ", ") + choice;
    }
    return refuse(text, "'" + value + "' is not one of " + all);
  };
  return row;
}

ConfigRow size_row(RowText text, std::string& target) {
  ConfigRow row = make_row(text, target);
  row.set = [&target, text](const std::string& value) -> Result<void> {
    if (auto size = parse_size(value, 1U << 30); !size) return refuse(text, size.error().message);
    target = value;
    return {};
  };
  return row;
}

}  // namespace baton
