// Configuration rows: one row per setting gives its flag, its TOML key, its default, its constraint and its
// help text, once.
//
// A module's options are a plain struct; its rows point into one instance of it. The app feeds rows from a
// file and from the command line; a row that refuses a value says which setting and why. Rows must not
// outlive the struct.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"

namespace baton {

struct ConfigRow {
  std::string flag;  // "--port"
  std::string key;   // "http.port"; empty: command line only
  std::string help;
  std::string value_name;  // "HOST:PORT"; empty for a switch
  std::string shown_default;
  bool repeatable = false;
  std::function<Result<void>(const std::string&)> set;  // once a value; a repeatable row appends
  std::function<void()> clear;  // of a row that appends: drops what was there before the first set
  std::function<std::vector<std::string>()> get;  // what it has now, each as set takes it
  bool given = false;                             // a file or a flag has set it
  bool is_switch() const { return value_name.empty(); }
};

// What every row needs but its type.
struct RowText {
  std::string flag;
  std::string key;
  std::string value_name;
  std::string help;
};

ConfigRow string_row(const RowText& text, std::string& target);
ConfigRow list_row(const RowText& text, std::vector<std::string>& target);
// Values between commas, kept as such text. It may be repeated, too: "a,b" is "a" and then "b". `choices`:
// what each must be one of; empty: anything.
ConfigRow comma_row(const RowText& text, std::vector<std::string> choices, std::string& target);
ConfigRow switch_row(const RowText& text, bool& target);
ConfigRow int_row(const RowText& text, std::int64_t least, std::int64_t most, std::int32_t& target);
ConfigRow number_row(const RowText& text, double least, double most, double& target);
ConfigRow duration_row(const RowText& text, Duration least, Duration& target);
ConfigRow choice_row(const RowText& text, std::vector<std::string> choices, std::string& target);
// A size such as 8G, or a share such as 80% whose whole is known only later: kept as text, checked here.
ConfigRow size_row(const RowText& text, std::string& target);

// "a,,b" is "a", "" and "b"; "" is one empty text.
std::vector<std::string> split_commas(const std::string& text);

}  // namespace baton
