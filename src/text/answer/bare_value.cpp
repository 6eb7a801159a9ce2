#include "text/answer/bare_value.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "text/answer/call_parser.hpp"
#include "text/answer/json_string.hpp"
#include "text/answer/python_literal.hpp"
#include "text/grammar_text/json_values.hpp"
#include "text/grammar_text/schema_keywords.hpp"
#include "text/grammar_text/schema_refs.hpp"

namespace baton::text {
namespace {

constexpr std::size_t kMostValue = 1 << 20;  // bytes that are waited for of a value that is no string

constexpr auto kString = static_cast<JsonTypes>(JsonType::string);
constexpr auto kNull = static_cast<JsonTypes>(JsonType::null);

// `text` as JSON that has one of the types and is among `listed`, where it is: as JSON itself, or as Python,
// in which templates write earlier calls' values. `listed`: null for any value.
std::optional<std::string> typed(std::string_view text, JsonTypes types, const Json* listed) {
  if (text.find('\0') != std::string_view::npos) return std::nullopt;  // the library's end of input
  Json value = Json::parse(text, nullptr, false);
  std::string written(text);
  if (value.is_discarded()) {
    auto translated = python_literal(text, kMostDepth - 1);
    if (!translated) return std::nullopt;
    written = *std::move(translated);
    value = Json::parse(written, nullptr, false);
  }
  const bool fits =
      !value.is_discarded() && (types_of(value) & types) != 0 && !nested_deeper(value, kMostDepth - 2);
  if (!fits) return std::nullopt;
  if (listed != nullptr && std::find(listed->begin(), listed->end(), value) == listed->end())
    return std::nullopt;
  return written;
}

std::string json_of(std::string_view text, const ParameterType& type) {
  const std::size_t begin = std::min(text.find_first_not_of(" \n\r\t"), text.size());
  const std::size_t end = text.find_last_not_of(" \n\r\t") + 1;
  // What is no string may be left out, whatever the schema says: as vLLM reads it.
  const JsonTypes others =
      contains(type.types, JsonType::string) ? type.types & ~kString : type.types | kNull;
  if (begin < end) {
    if (auto json = typed(text.substr(begin, end - begin), others, type.others.get()))
      return *std::move(json);
  }
  std::string string = "\"";
  append_json(string, text);
  return string + '"';
}

}  // namespace

void BareValue::begin(const ParameterTypes* types, std::string_view function, std::string_view parameter) {
  type_ = types == nullptr ? ParameterType{kString, nullptr} : types->of(function, parameter);
  is_string_ = type_.types == kString;
  if (is_string_) events_->arguments("\"");
  untold_.clear();
  at_start_ = true;
}

bool BareValue::take(char c) {
  const bool markers = breaks_ == LineBreaks::of_markers;
  if (std::exchange(at_start_, false) && markers && c == '\n') return false;
  std::string free;
  const auto found = search_.take(c, free);
  add(free);
  if (!found) return false;
  std::string last = search_.take_held();
  last.erase(last.size() - end_.size());
  if (markers && last.ends_with('\n')) last.pop_back();
  add(last);
  events_->arguments(is_string_ ? "\"" : json_of(untold_, type_));
  return true;
}

void BareValue::finish() {
  if (!is_string_) return;
  std::string rest = search_.take_held();
  if (breaks_off_in(end_, rest)) rest.erase(rest.find_first_not_of(" \n\r\t"));
  if (breaks_ == LineBreaks::of_markers && rest.ends_with('\n')) rest.pop_back();
  add(rest);
}

void BareValue::add(std::string_view text) {
  untold_ += text;
  if (!is_string_ && untold_.size() <= kMostValue) return;
  std::string json = is_string_ ? "" : "\"";
  is_string_ = true;
  append_json(json, untold_);
  events_->arguments(json);
  untold_.clear();
}

}  // namespace baton::text
