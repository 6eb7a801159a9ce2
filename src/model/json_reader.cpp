#include "model/json_reader.hpp"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace baton {
namespace {

// A short rendering of a wrong value: config files may hold whole templates.
std::string shown(const nlohmann::json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 60) + "...";
  return text;
}

std::string plain(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

Result<nlohmann::json> parse_json_object(std::string_view text, const std::string& file,
                                         std::size_t size_limit) {
  if (text.size() > size_limit)
    return make_error(ErrorCode::too_large, file + ": larger than " + std::to_string(size_limit) + " bytes");
  nlohmann::json value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return make_error(ErrorCode::corrupt, file + ": not valid JSON");
  if (!value.is_object()) return make_error(ErrorCode::corrupt, file + ": must hold a JSON object");
  return value;
}

Result<std::string> read_small_file(const std::filesystem::path& path, std::size_t size_limit) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return make_error(ErrorCode::io, "cannot open " + path.string());
  std::string text(size_limit + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return make_error(ErrorCode::io, "cannot read " + path.string());
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

const nlohmann::json* JsonReader::find(std::string_view key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

std::optional<std::int32_t> JsonReader::optional_integer(std::string_view key, IntegerRange range) {
  const nlohmann::json* value = find(key);
  if (!value) return std::nullopt;
  const std::string expected =
      "an integer from " + std::to_string(range.minimum) + " to " + std::to_string(range.maximum);
  if (!value->is_number_integer()) {
    fail(ErrorCode::invalid_argument, key, "is " + shown(*value) + ", must be " + expected);
    return std::nullopt;
  }
  const bool huge = value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX;
  const std::int64_t number = huge ? INT64_MAX : value->get<std::int64_t>();
  if (number < range.minimum || number > range.maximum) {
    fail(ErrorCode::invalid_argument, key, "is " + shown(*value) + ", must be " + expected);
    return std::nullopt;
  }
  return static_cast<std::int32_t>(number);
}

std::int32_t JsonReader::integer(std::string_view key, IntegerRange range) {
  if (!find(key)) fail(ErrorCode::invalid_argument, key, "is missing");
  return optional_integer(key, range).value_or(static_cast<std::int32_t>(range.minimum));
}

std::int32_t JsonReader::integer(std::string_view key, IntegerRange range, std::int32_t fallback) {
  return optional_integer(key, range).value_or(fallback);
}

std::optional<double> JsonReader::optional_number(std::string_view key, NumberRange range) {
  const nlohmann::json* value = find(key);
  if (!value) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  const bool low = range.exclusive_minimum ? !(number > range.minimum) : !(number >= range.minimum);
  if (low || !(number <= range.maximum)) {  // written so that NaN fails
    fail(ErrorCode::invalid_argument, key,
         "is " + shown(*value) + ", must be a number " +
             (range.exclusive_minimum ? "above " + plain(range.minimum) + " and at most "
                                      : "from " + plain(range.minimum) + " to ") +
             plain(range.maximum));
    return std::nullopt;
  }
  return number;
}

double JsonReader::number(std::string_view key, NumberRange range) {
  if (!find(key)) fail(ErrorCode::invalid_argument, key, "is missing");
  return optional_number(key, range).value_or(range.maximum);
}

double JsonReader::number(std::string_view key, NumberRange range, double fallback) {
  return optional_number(key, range).value_or(fallback);
}

bool JsonReader::boolean(std::string_view key, bool fallback) {
  const nlohmann::json* value = find(key);
  if (!value) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  fail(ErrorCode::invalid_argument, key, "is " + shown(*value) + ", must be true or false");
  return fallback;
}

std::string JsonReader::text(std::string_view key, std::string_view fallback) {
  const nlohmann::json* value = find(key);
  if (!value) return std::string(fallback);
  if (value->is_string()) return value->get<std::string>();
  fail(ErrorCode::invalid_argument, key, "is " + shown(*value) + ", must be a string");
  return std::string(fallback);
}

void JsonReader::fail(ErrorCode code, std::string_view key, const std::string& what) {
  if (error_) return;
  const std::string name = path_ + std::string(key);
  error_ = make_error(code, file_ + ": " + name + " " + what, name);
}

void JsonReader::adopt(const std::optional<Error>& error) {
  if (!error_) error_ = error;
}

}  // namespace baton
