// The first thing that is wrong with a schema. Writing goes on linearly behind it, with anything, and whoever
// began asks once at the end.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton::text {

inline std::string path_of(const std::string& path, std::string_view step) {
  return path.empty() ? std::string(step) : path + "." + std::string(step);
}

class SchemaErrors {
 public:
  void set(ErrorCode code, const std::string& path, std::string_view problem) {
    if (error_) return;
    error_ = make_error(code, (path.empty() ? "the schema" : path) + ": " + std::string(problem), path);
  }
  void invalid(const std::string& path, std::string_view problem) {
    set(ErrorCode::invalid_argument, path, problem);
  }
  void unsupported(const std::string& path, std::string_view problem) {
    set(ErrorCode::unsupported, path, problem);
  }
  bool any() const { return error_.has_value(); }
  const Error& first() const { return *error_; }

  // Work that a schema causes, in bytes of JSON; too_large beyond what any sensible one needs. References and
  // combinations can make a small schema large.
  void spend(std::size_t bytes) {
    constexpr std::size_t kMost = 16 << 20;
    spent_ += bytes;
    if (spent_ > kMost) set(ErrorCode::too_large, "", "takes too much to put together");
  }
  std::size_t spent() const { return spent_; }

 private:
  std::optional<Error> error_;
  std::size_t spent_ = 0;
};

}  // namespace baton::text
