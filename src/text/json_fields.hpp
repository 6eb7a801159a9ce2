// Typed reading of JSON objects from outside, with the path of whatever is wrong.
//
// Reading code stays linear: the first wrong field is remembered in the FirstError that all Fields of one
// document share, later reads give defaults, and the reader asks once at the end. Invariant: no read throws
// and none leaves the document.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton::text {

class FirstError {
 public:
  void set(ErrorCode code, const std::string& path, std::string_view problem);
  bool failed() const { return error_.has_value(); }
  const Error& get() const { return *error_; }

 private:
  std::optional<Error> error_;
};

class Fields {
 public:
  // `object` may be anything; what is not an object is an error at `path`.
  Fields(const nlohmann::json& object, std::string path, FirstError& error);

  const std::string& path() const { return path_; }
  std::string path_of(std::string_view name) const;
  void fail(std::string_view name, std::string_view problem) const;         // corrupt
  void unsupported(std::string_view name, std::string_view problem) const;  // unsupported
  FirstError& errors() const { return *error_; }

  // Null and absent are the same thing: the file format writes absent fields as null.
  bool has(std::string_view name) const;
  const nlohmann::json* find(std::string_view name) const;
  std::string string(std::string_view name) const;
  std::string string(std::string_view name, std::string_view fallback) const;
  bool boolean(std::string_view name, bool fallback) const;
  std::int64_t integer(std::string_view name, std::int64_t fallback, std::int64_t low,
                       std::int64_t high) const;
  const nlohmann::json* array(std::string_view name) const;  // null after an error
  // The one code point of a string field.
  char32_t character(std::string_view name, char32_t fallback) const;

 private:
  const nlohmann::json* object_;
  std::string path_;
  FirstError* error_;
};

}  // namespace baton::text
