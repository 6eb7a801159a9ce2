// Reading one JSON object's fields with errors that name the exact field, as OpenAI's API words them.
//
// Invariant: the first error sticks and later reads change nothing, so a parser reads all its fields and
// asks once. null and absent are the same. Unknown fields are never looked at.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton::frontend {

using Json = nlohmann::ordered_json;

// The body as an object. invalid_argument for broken JSON, nesting beyond kMaxJsonDepth or anything but an
// object.
inline constexpr int kMaxJsonDepth = 64;
Result<Json> parse_json_object(std::string_view body);

std::string_view json_type_name(const Json& value);
// An integer that fits int64, also where written as 3.0; nothing otherwise.
std::optional<std::int64_t> as_int64(const Json& value);

struct NumberRange {
  double low;
  double high;
  bool low_exclusive = false;
};

class JsonFields {
 public:
  explicit JsonFields(const Json& object, std::string prefix = {})
      : object_(object), prefix_(std::move(prefix)) {}

  const Json* find(const char* name) const;  // null where absent or null
  bool has(const char* name) const { return find(name) != nullptr; }

  bool number(const char* name, float& out, const NumberRange& range);
  template <std::integral T>
  bool integer(const char* name, T& out, std::int64_t low = std::numeric_limits<T>::min(),
               std::int64_t high = std::numeric_limits<T>::max()) {
    std::int64_t value = 0;
    if (!integer64(name, value, low, high)) return false;
    out = static_cast<T>(value);
    return true;
  }
  bool boolean(const char* name, bool& out);
  bool text(const char* name, std::string& out);

  void fail(const std::string& name, std::string message, ErrorCode code = ErrorCode::invalid_argument);
  void fail_type(const std::string& name, std::string_view expected, const Json& got);
  std::string path(const std::string& name) const { return prefix_ + name; }
  const std::optional<Error>& error() const { return error_; }

 private:
  bool integer64(const char* name, std::int64_t& out, std::int64_t low, std::int64_t high);

  const Json& object_;
  std::string prefix_;
  std::optional<Error> error_;
};

}  // namespace baton::frontend
