// Jinja's filters on single values; those on sequences are in sequence_filters.cpp.
#include "text/jinja/filters.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/strings.hpp"

namespace baton::text::jinja {
namespace {

Value string(Context&, const Value& v, const Arguments&) { return to_text(v); }

Value default_value(Context&, const Value& v, const Arguments& a) {
  const Value* fallback = a.find(0, "default_value");
  const Value* boolean = a.find(1, "boolean");
  const bool use = v.is_undefined() || (boolean != nullptr && boolean->truthy() && !v.truthy());
  return use ? (fallback == nullptr ? Value("") : *fallback) : v;
}

Value trim(Context& c, const Value& v, const Arguments& a) {
  const Value* set = a.find(0, "chars");
  const std::string text = to_text(v);
  if (set == nullptr || set->is_none()) return strip(text, Side::both);
  return set->as_string() == nullptr ? c.fail("trim: chars must be a string")
                                     : Value(strip(text, Side::both, *set->as_string()));
}

template <std::string (*Map)(std::string_view)>
Value map_text(Context&, const Value& v, const Arguments&) {
  return Map(to_text(v));
}

Value replace_filter(Context& c, const Value& v, const Arguments& a) {
  const Value* from = a.find(0, "old");
  const Value* to = a.find(1, "new");
  const Value* count = a.find(2, "count");
  if (from == nullptr || to == nullptr) return c.fail("replace needs two arguments");
  const std::string text = to_text(v);
  const std::string old_part = to_text(*from);
  const std::string new_part = to_text(*to);
  const std::int64_t limit = count == nullptr ? -1 : count->as_integer().value_or(-1);
  if (!c.charge((text.size() / std::max<std::size_t>(1, old_part.size()) + 1) * new_part.size())) return {};
  return replace(text, old_part, new_part, limit);
}

Value indent(Context& c, const Value& v, const Arguments& a) {
  const Value* width = a.find(0, "width");
  const Value* first = a.find(1, "first");
  const Value* blank = a.find(2, "blank");
  std::string prefix = "    ";
  if (width != nullptr) {
    const auto columns = width->as_integer();
    if (!columns && width->as_string() == nullptr)
      return c.fail("indent: width must be a number or a string");
    prefix = columns
                 ? std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(*columns, 0, 10'000)), ' ')
                 : *width->as_string();
  }
  const std::string text = to_text(v) + "\n";
  const auto lines = split_lines(text, false);
  if (!c.charge(lines.size() * (prefix.size() + 1))) return {};
  std::string out = first != nullptr && first->truthy() ? prefix : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (!lines[i].empty() || (blank != nullptr && blank->truthy()))) out += prefix;
    out += lines[i];
  }
  return out;
}

Value escape(Context& c, const Value& v, const Arguments&) {
  std::string out;
  if (!c.charge(v.weight() * 4)) return {};
  for (const char letter : to_text(v)) {
    switch (letter) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += letter;
    }
  }
  return out;
}

// What int() and float() read of a string; nothing where they would raise.
template <class Number>
std::optional<Number> parse(std::string_view text) {
  std::string plain(strip(text, Side::both));
  std::erase(plain, '_');
  if (plain.starts_with('+')) plain.erase(0, 1);
  Number number{};
  const auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), number);
  return error == std::errc() && end == plain.data() + plain.size() ? std::optional(number) : std::nullopt;
}

std::optional<std::int64_t> truncate(double number) {
  return std::fabs(number) < 9.2e18 ? std::optional(static_cast<std::int64_t>(number)) : std::nullopt;
}

Value int_filter(Context&, const Value& v, const Arguments& a) {
  const Value* fallback = a.find(0, "default");
  const Value other = fallback == nullptr ? Value(std::int64_t{0}) : *fallback;
  std::optional<std::int64_t> number = v.as_integer();
  if (const double* real = v.as_float()) number = truncate(*real);
  if (const std::string* text = v.as_string()) {
    number = parse<std::int64_t>(*text);
    if (!number) {
      const auto real = parse<double>(*text);
      if (real) number = truncate(*real);
    }
  }
  return number ? Value(*number) : other;
}

Value float_filter(Context&, const Value& v, const Arguments& a) {
  const Value* fallback = a.find(0, "default");
  std::optional<double> number = v.as_number();
  if (const std::string* text = v.as_string()) number = parse<double>(*text);
  return number ? Value(*number) : fallback == nullptr ? Value(0.0) : *fallback;
}

Value abs_filter(Context& c, const Value& v, const Arguments&) {
  if (const auto number = v.as_integer(); number && *number != INT64_MIN)
    return *number < 0 ? -*number : *number;
  return v.is_number() ? Value(std::fabs(*v.as_number())) : c.fail("abs needs a number");
}

// round(2.5) is 2.0: half to even, as Python; of the decimal digits that the number really has.
double round_half_even(double number, std::int64_t digits) {
  char buffer[400];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::fixed,
                                 static_cast<int>(std::max<std::int64_t>(digits, 0)));
  double rounded = number;
  if (digits >= 0 && end.ec == std::errc()) std::from_chars(buffer, end.ptr, rounded);
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    rounded = std::nearbyint(number / unit) * unit;
  }
  return rounded;
}

Value round_filter(Context& c, const Value& v, const Arguments& a) {
  const Value* precision = a.find(0, "precision");
  const Value* method = a.find(1, "method");
  if (!v.is_number()) return c.fail("round needs a number");
  const std::int64_t digits =
      std::clamp<std::int64_t>(precision == nullptr ? 0 : precision->as_integer().value_or(0), -300, 300);
  const std::string how = method == nullptr ? "common" : to_text(*method);
  const double number = *v.as_number();
  if (how == "common")
    return v.as_integer() ? Value(*v.as_integer()) : Value(round_half_even(number, digits));
  const double unit = std::pow(10.0, static_cast<double>(digits));
  if (how == "ceil") return std::ceil(number * unit) / unit;
  return how == "floor" ? Value(std::floor(number * unit) / unit)
                        : c.fail("round: method must be common, ceil or floor");
}

Value tojson(Context& c, const Value& v, const Arguments& a) {
  JsonStyle style;
  // Hugging Face's own tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False).
  if (const Value* ascii = a.find(0, "ensure_ascii")) style.ensure_ascii = ascii->truthy();
  if (const Value* indent_by = a.find(1, "indent"); indent_by != nullptr && !indent_by->is_none()) {
    const auto columns = indent_by->as_integer();
    if (!columns && indent_by->as_string() == nullptr)
      return c.fail("tojson: indent must be a number or a string");
    style.indent =
        columns ? std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(*columns, 0, 100)), ' ')
                : *indent_by->as_string();
    style.item_separator = ",";
  }
  if (const Value* separators = a.find(2, "separators");
      separators != nullptr && separators->as_list() != nullptr) {
    const auto& pair = separators->as_list()->items;
    if (pair.size() != 2) return c.fail("tojson: separators must be a pair");
    style.item_separator = to_text(pair[0]);
    style.key_separator = to_text(pair[1]);
  }
  if (const Value* sort = a.find(3, "sort_keys")) style.sort_keys = sort->truthy();
  const std::size_t indent_bytes = style.indent ? (style.indent->size() + 1) * v.depth() : 0;
  if (!c.charge(v.weight() * (6 + indent_bytes + style.item_separator.size() + style.key_separator.size())))
    return {};
  std::string problem;
  auto text = to_json(v, style, problem);
  return text ? Value(std::move(*text)) : c.fail(problem);
}

Value format(Context& c, const Value& v, const Arguments& a) {
  if (a.named.empty()) return format_percent(c, to_text(v), make_tuple(a.positional));
  Dict dict;
  for (const auto& [name, value] : a.named) dict.set(name, value);
  return format_percent(c, to_text(v), Value(std::move(dict)));
}

Value center(Context& c, const Value& v, const Arguments& a) {
  const Value* width = a.find(0, "width");
  const std::int64_t columns = width == nullptr ? 80 : width->as_integer().value_or(80);
  if (columns > 0 && !c.charge(static_cast<std::size_t>(columns))) return {};
  return pad(to_text(v), columns, " ", Side::both);
}

Value word_count(Context& c, const Value& v, const Arguments&) {
  const std::string text = to_text(v);
  std::int64_t words = 0;
  bool inside = false;
  if (!c.charge(text.size())) return {};
  for (const std::string_view character : characters(text)) {
    const bool word = character.size() > 1
                          ? !strip(character, Side::both).empty()
                          : std::isalnum(static_cast<unsigned char>(character[0])) || character == "_";
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return words;
}

Value attribute(Context& c, const Value& v, const Arguments& a) {
  const Value* name = a.find(0, "name");
  return name == nullptr ? c.fail("attr needs a name") : get_attribute(v, to_text(*name));
}

}  // namespace

std::span<const Filter> value_filters() {
  static constexpr Filter kFilters[] = {
      {"string", string},
      {"safe", string},
      {"default", default_value},
      {"d", default_value},
      {"trim", trim},
      {"upper", map_text<upper>},
      {"lower", map_text<lower>},
      {"capitalize", map_text<capitalize>},
      {"title", map_text<jinja_title>},
      {"replace", replace_filter},
      {"indent", indent},
      {"escape", escape},
      {"e", escape},
      {"int", int_filter},
      {"float", float_filter},
      {"abs", abs_filter},
      {"round", round_filter},
      {"tojson", tojson},
      {"format", format},
      {"center", center},
      {"wordcount", word_count},
      {"attr", attribute},
  };
  return kFilters;
}

FilterFunction find_filter(std::string_view name) {
  for (const auto filters : {value_filters(), sequence_filters()}) {
    for (const Filter& filter : filters) {
      if (filter.first == name) return filter.second;
    }
  }
  return nullptr;
}

}  // namespace baton::text::jinja
