#include "frontend/openai/json_fields.hpp"

#include <charconv>
#include <cmath>

namespace baton::frontend {
namespace {

// The parser itself does not recurse, but what reads the tree later (templates, dump) does.
bool deeper_than(std::string_view text, int limit) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limit) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

std::string quoted(const std::string& name) { return "'" + name + "'"; }

std::string number_text(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

}  // namespace

Result<Json> parse_json_object(std::string_view body) {
  if (deeper_than(body, kMaxJsonDepth)) {
    return make_error(ErrorCode::invalid_argument,
                      "The JSON body nests deeper than " + std::to_string(kMaxJsonDepth) + " levels.");
  }
  try {
    Json value = Json::parse(body);
    if (!value.is_object()) {
      return make_error(ErrorCode::invalid_argument,
                        "The body must be a JSON object, not " + std::string(json_type_name(value)) + ".");
    }
    return value;
  } catch (const Json::exception& e) {
    std::string reason = e.what();
    if (const auto bracket = reason.find("] "); bracket != std::string::npos) reason.erase(0, bracket + 2);
    return make_error(ErrorCode::invalid_argument, "The JSON body could not be parsed: " + reason);
  }
}

std::string_view json_type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_float:
      return "a decimal number";
    default:
      return "an integer";
  }
}

std::optional<std::int64_t> as_int64(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::trunc(number) == number && std::abs(number) < 9.0e18) return static_cast<std::int64_t>(number);
  }
  return std::nullopt;
}

const Json* JsonFields::find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool JsonFields::number(const char* name, float& out, const NumberRange& range) {
  const Json* value = find(name);
  if (value == nullptr || error_) return false;
  if (!value->is_number()) {
    fail_type(name, "a number", *value);
    return false;
  }
  const double number = value->get<double>();
  const bool too_low = range.low_exclusive ? number <= range.low : number < range.low;
  if (too_low || number > range.high || !std::isfinite(number)) {
    const bool bounded = range.high < std::numeric_limits<float>::max();
    fail(name, "Invalid value for " + quoted(path(name)) + ": must be " +
                   (range.low_exclusive ? "greater than " : "at least ") + number_text(range.low) +
                   (bounded ? " and at most " + number_text(range.high) : std::string()) + ", got " +
                   number_text(number) + ".");
    return false;
  }
  out = static_cast<float>(number);
  return true;
}

bool JsonFields::integer64(const char* name, std::int64_t& out, std::int64_t low, std::int64_t high) {
  const Json* value = find(name);
  if (value == nullptr || error_) return false;
  if (!value->is_number()) {
    fail_type(name, "an integer", *value);
    return false;
  }
  const auto number = as_int64(*value);
  if (!number && value->is_number_float() && std::abs(value->get<double>()) < 9.0e18) {
    fail_type(name, "an integer", *value);
    return false;
  }
  if (!number || *number < low || *number > high) {
    fail(name, "Invalid value for " + quoted(path(name)) + ": must be between " + std::to_string(low) +
                   " and " + std::to_string(high) + ", got " + value->dump() + ".");
    return false;
  }
  out = *number;
  return true;
}

bool JsonFields::boolean(const char* name, bool& out) {
  const Json* value = find(name);
  if (value == nullptr || error_) return false;
  if (!value->is_boolean()) {
    fail_type(name, "a boolean", *value);
    return false;
  }
  out = value->get<bool>();
  return true;
}

bool JsonFields::text(const char* name, std::string& out) {
  const Json* value = find(name);
  if (value == nullptr || error_) return false;
  if (!value->is_string()) {
    fail_type(name, "a string", *value);
    return false;
  }
  out = value->get<std::string>();
  return true;
}

void JsonFields::fail(const std::string& name, std::string message, ErrorCode code) {
  if (!error_) error_ = make_error(code, std::move(message), path(name));
}

void JsonFields::fail_type(const std::string& name, std::string_view expected, const Json& got) {
  fail(name, "Invalid type for " + quoted(path(name)) + ": expected " + std::string(expected) + ", but got " +
                 std::string(json_type_name(got)) + " instead.");
}

}  // namespace baton::frontend
