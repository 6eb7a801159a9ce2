// JsonReader: typed, bounded reads of one JSON object's keys, for config.json and its relatives.
//
// The first thing that is wrong sticks: later reads return their fallback, and `error()` names the file, the
// key, what was found and what was expected. So a parser reads all its keys straight through and asks once.
// A key that is null counts as absent, as in Hugging Face's files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton {

struct IntegerRange {
  std::int64_t minimum = 0;
  std::int64_t maximum = 0;
};
inline constexpr IntegerRange kPositionsRange{1, 1 << 24};  // of a context: far above any published model's
struct NumberRange {
  double minimum = 0;
  double maximum = 0;
  bool exclusive_minimum = false;
};

// An object, or an Error that names `file`. `size_limit` bounds what is parsed at all.
Result<nlohmann::json> parse_json_object(std::string_view text, const std::string& file,
                                         std::size_t size_limit);

// A file that parse_json_object gets whole, or one byte more than `size_limit` of it: then it says "larger".
Result<std::string> read_small_file(const std::filesystem::path& path, std::size_t size_limit);

class JsonReader {
 public:
  // `object` outlives the reader. `path` is the prefix of the keys in messages, e.g. "rope_scaling.".
  JsonReader(const nlohmann::json& object, std::string file, std::string path = {})
      : object_(object), file_(std::move(file)), path_(std::move(path)) {}

  // nullptr where the key is absent or null.
  const nlohmann::json* find(std::string_view key) const;

  std::int32_t integer(std::string_view key, IntegerRange range);  // required
  std::int32_t integer(std::string_view key, IntegerRange range, std::int32_t fallback);
  std::optional<std::int32_t> optional_integer(std::string_view key, IntegerRange range);
  double number(std::string_view key, NumberRange range);  // required
  double number(std::string_view key, NumberRange range, double fallback);
  std::optional<double> optional_number(std::string_view key, NumberRange range);
  bool boolean(std::string_view key, bool fallback);
  std::string text(std::string_view key, std::string_view fallback);

  void fail(ErrorCode code, std::string_view key, const std::string& what);
  void adopt(const std::optional<Error>& error);  // of a reader of a nested object
  const std::optional<Error>& error() const { return error_; }
  const std::string& file() const { return file_; }

 private:
  const nlohmann::json& object_;
  std::string file_;
  std::string path_;
  std::optional<Error> error_;
};

}  // namespace baton
