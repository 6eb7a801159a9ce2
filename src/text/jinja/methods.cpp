// The methods of str, list and dict that a template may call. Those that would change a list or dict are
// missing: the sandbox forbids them.
#include <algorithm>
#include <charconv>
#include <span>

#include "text/jinja/callable.hpp"
#include "text/jinja/strings.hpp"
#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace baton::text::jinja {
namespace {

// One call of a method: its subject and arguments, with the checks that all methods share.
struct Call {
  Context& context;
  const Value& self;
  const Arguments& arguments;

  const std::string& text() const { return *self.as_string(); }
  // A string argument, or nothing where it is absent or None. Anything else fails.
  std::optional<std::string_view> string(std::size_t position, std::string_view name) const {
    const Value* value = arguments.find(position, name);
    if (value == nullptr || value->is_none()) return std::nullopt;
    if (const std::string* found = value->as_string()) return *found;
    context.fail("'" + std::string(name) + "' must be a string, not " + value->type_name());
    return std::nullopt;
  }
  std::string_view required(std::size_t position, std::string_view name) const {
    const auto found = string(position, name);
    if (!found && !context.failed()) context.fail("the argument '" + std::string(name) + "' is missing");
    return found.value_or("");
  }
  std::int64_t integer(std::size_t position, std::string_view name, std::int64_t fallback) const {
    const Value* value = arguments.find(position, name);
    if (value == nullptr) return fallback;
    const auto number = value->as_integer();
    if (!number) context.fail("'" + std::string(name) + "' must be an integer, not " + value->type_name());
    return number.value_or(fallback);
  }
};

using Body = Value (*)(const Call&);
using Method = std::pair<std::string_view, Body>;

Value strings(const std::vector<std::string_view>& parts) {
  std::vector<Value> items(parts.begin(), parts.end());
  return make_list(std::move(items));
}

template <Side side>
Value strip_text(const Call& call) {
  return strip(call.text(), side, call.string(0, "chars"));
}

template <auto Split>
Value split_text(const Call& call) {
  const auto separator = call.string(0, "sep");
  if (separator && separator->empty()) return call.context.fail("empty separator");
  const std::int64_t limit = call.integer(1, "maxsplit", -1);
  if (!call.context.charge(call.text().size() * 8)) return {};
  return strings(Split(call.text(), separator, limit));
}

// startswith and endswith take a string or a tuple of them.
template <bool (*Matches)(std::string_view, std::string_view)>
Value affix(const Call& call) {
  const Value* given = call.arguments.find(0, "prefix");
  if (given == nullptr) return call.context.fail("the argument is missing");
  if (const std::string* one = given->as_string()) return Matches(call.text(), *one);
  const List* several = given->as_list();
  if (several == nullptr || !several->tuple)
    return call.context.fail("the argument must be a string or a tuple of strings");
  return std::any_of(several->items.begin(), several->items.end(), [&](const Value& item) {
    return item.as_string() != nullptr && Matches(call.text(), *item.as_string());
  });
}
bool starts(std::string_view text, std::string_view part) { return text.starts_with(part); }
bool ends(std::string_view text, std::string_view part) { return text.ends_with(part); }

template <std::string (*Map)(std::string_view)>
Value map_text(const Call& call) {
  return Map(call.text());
}

Value replace_text(const Call& call) {
  const std::string_view from = call.required(0, "old");
  const std::string_view to = call.required(1, "new");
  const std::int64_t limit = call.integer(2, "count", -1);
  const std::size_t matches = call.text().size() / std::max<std::size_t>(1, from.size()) + 1;
  if (call.context.failed()) return {};
  if (to.size() > from.size() &&
      !call.context.charge(std::min(matches, call.text().size() + 1) * (to.size() - from.size())))
    return {};
  return replace(call.text(), from, to, limit);
}

Value join_text(const Call& call) {
  const Value* given = call.arguments.find(0, "iterable");
  if (given == nullptr) return call.context.fail("join needs an argument");
  const std::vector<Value> items = iterate(call.context, *given);
  if (!call.context.charge(given->weight() + items.size() * call.text().size())) return {};
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].as_string() == nullptr)
      return call.context.fail(std::string("sequence item: expected str instance, ") + items[i].type_name() +
                               " found");
    if (i > 0) out += call.text();
    out += *items[i].as_string();
  }
  return out;
}

// find, rfind and index, in code points.
template <bool from_right, bool must_exist>
Value find_text(const Call& call) {
  const std::string_view part = call.required(0, "sub");
  if (call.arguments.positional.size() > 1) return call.context.fail("find with bounds is not supported");
  const std::size_t at = from_right ? call.text().rfind(part) : call.text().find(part);
  if (at == std::string::npos)
    return must_exist ? call.context.fail("substring not found") : Value(std::int64_t{-1});
  return static_cast<std::int64_t>(length(std::string_view(call.text()).substr(0, at)));
}

Value count_text(const Call& call) {
  const std::string_view part = call.required(0, "sub");
  if (call.context.failed()) return {};
  if (part.empty()) return static_cast<std::int64_t>(length(call.text()) + 1);
  std::int64_t count = 0;
  for (std::size_t at = call.text().find(part); at != std::string::npos;
       at = call.text().find(part, at + part.size()))
    ++count;
  return count;
}

// isdigit and its like: every character is one, and there is at least one.
template <bool (*Accept)(char32_t)>
Value all_characters(const Call& call) {
  for (std::size_t i = 0; i < call.text().size();) {
    const CodePoint c = code_point_at(call.text(), i);
    if (!Accept(c.value)) return false;
    i += c.length;
  }
  return !call.text().empty();
}
bool is_letter_or_number(char32_t c) { return is_letter(c) || is_numeric(c); }

template <std::string (*Map)(std::string_view), std::string (*Other)(std::string_view)>
Value has_case(const Call& call) {
  return Map(call.text()) == call.text() && Other(call.text()) != call.text();
}

template <bool right>
Value partition_text(const Call& call) {
  const std::string_view separator = call.required(0, "sep");
  if (separator.empty()) return call.context.fail("empty separator");
  const std::string_view text = call.text();
  const std::size_t at = right ? text.rfind(separator) : text.find(separator);
  if (at == std::string_view::npos) return right ? make_tuple({"", "", text}) : make_tuple({text, "", ""});
  return make_tuple({text.substr(0, at), separator, text.substr(at + separator.size())});
}

template <Side side>
Value pad_text(const Call& call) {
  const std::int64_t width = call.integer(0, "width", 0);
  const std::string_view fill = call.string(1, "fillchar").value_or(" ");
  if (width > 0 && !call.context.charge(static_cast<std::size_t>(width) * 4)) return {};
  return pad(call.text(), width, fill, side);
}

Value zfill_text(const Call& call) {
  const std::int64_t width = call.integer(0, "width", 0);
  if (width > 0 && !call.context.charge(static_cast<std::size_t>(width))) return {};
  const bool sign = call.text().starts_with('-') || call.text().starts_with('+');
  return call.text().substr(0, sign ? 1 : 0) +
         pad(call.text().substr(sign ? 1 : 0), width - (sign ? 1 : 0), "0", Side::right);
}

template <bool prefix>
Value remove_affix(const Call& call) {
  const std::string_view part = call.required(0, "affix");
  std::string_view text = call.text();
  if (prefix && text.starts_with(part)) text.remove_prefix(part.size());
  if (!prefix && text.ends_with(part)) text.remove_suffix(part.size());
  return text;
}

// The field between braces: nothing for the next argument, a number, or a name, with .attributes and [items]
// behind.
Value format_field(const Call& call, std::string_view field, std::size_t& next) {
  const std::size_t end = std::min(field.find_first_of(".["), field.size());
  const std::string_view first = field.substr(0, end);
  std::size_t index = 0;
  Value value;
  const bool numbered =
      !first.empty() &&
      std::from_chars(first.data(), first.data() + first.size(), index).ptr == first.data() + first.size();
  if (first.empty()) index = next++;
  if (first.empty() || numbered) {
    if (index >= call.arguments.positional.size()) return call.context.fail("replacement index out of range");
    value = call.arguments.positional[index];
  } else {
    const Value* named = call.arguments.find(SIZE_MAX, first);
    if (named == nullptr) return call.context.fail("format has no argument '" + std::string(first) + "'");
    value = *named;
  }
  if (end < field.size()) return call.context.fail("format fields with attributes are not supported");
  return value;
}

Value format_text(const Call& call) {
  std::string out;
  std::size_t next = 0;
  const std::string& text = call.text();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool doubled = i + 1 < text.size() && text[i + 1] == text[i];
    if (text[i] != '{' && text[i] != '}') {
      out += text[i];
    } else if (doubled) {
      out += text[i++];
    } else {
      const std::size_t close = text.find('}', i);
      if (text[i] == '}' || close == std::string::npos)
        return call.context.fail("single brace in a format string");
      const std::string_view inside = std::string_view(text).substr(i + 1, close - i - 1);
      const std::size_t colon = std::min(inside.find(':'), inside.size());
      const Value value = format_field(call, inside.substr(0, colon), next);
      if (call.context.failed() || !call.context.charge(value.weight())) return {};
      const std::string_view spec = inside.substr(std::min(colon + 1, inside.size()));
      // Only the numeric specifications, which % knows as well.
      out += spec.empty()
                 ? to_text(value)
                 : to_text(format_percent(call.context, "%" + std::string(spec), make_tuple({value})));
      i = close;
    }
  }
  return out;
}

Value split_lines_text(const Call& call) {
  const Value* keep = call.arguments.find(0, "keepends");
  if (!call.context.charge(call.text().size() * 8)) return {};
  return strings(split_lines(call.text(), keep != nullptr && keep->truthy()));
}

Value list_count(const Call& call) {
  const Value* wanted = call.arguments.find(0, "value");
  const auto& items = call.self.as_list()->items;
  if (wanted == nullptr || !call.context.charge(call.self.weight()))
    return call.context.fail("count needs an argument");
  return static_cast<std::int64_t>(
      std::count_if(items.begin(), items.end(), [&](const Value& item) { return equal(item, *wanted); }));
}

Value list_index(const Call& call) {
  const Value* wanted = call.arguments.find(0, "value");
  const auto& items = call.self.as_list()->items;
  if (wanted == nullptr || !call.context.charge(call.self.weight()))
    return call.context.fail("index needs an argument");
  const auto at =
      std::find_if(items.begin(), items.end(), [&](const Value& item) { return equal(item, *wanted); });
  if (at == items.end()) return call.context.fail("the value is not in the list");
  return static_cast<std::int64_t>(at - items.begin());
}

Value dict_get(const Call& call) {
  const Value* key = call.arguments.find(0, "key");
  if (key == nullptr) return call.context.fail("get needs a key");
  if (const Value* found = call.self.as_dict()->find(*key)) return *found;
  const Value* fallback = call.arguments.find(1, "default");
  return fallback == nullptr ? Value(None{}) : *fallback;
}

template <bool keys, bool values>
Value dict_parts(const Call& call) {
  const auto& entries = call.self.as_dict()->entries();
  if (!call.context.charge(entries.size() * sizeof(Value) * 2)) return {};
  std::vector<Value> parts;
  parts.reserve(entries.size());
  for (const auto& [key, value] : entries)
    parts.push_back(keys && values ? make_tuple({key, value}) : keys ? key : value);
  return make_list(std::move(parts));
}

constexpr Method kTextMethods[] = {
    {"strip", strip_text<Side::both>},
    {"lstrip", strip_text<Side::left>},
    {"rstrip", strip_text<Side::right>},
    {"split", split_text<split>},
    {"rsplit", split_text<split_right>},
    {"splitlines", split_lines_text},
    {"startswith", affix<starts>},
    {"endswith", affix<ends>},
    {"upper", map_text<upper>},
    {"lower", map_text<lower>},
    {"casefold", map_text<lower>},
    {"title", map_text<title>},
    {"capitalize", map_text<capitalize>},
    {"replace", replace_text},
    {"join", join_text},
    {"find", find_text<false, false>},
    {"rfind", find_text<true, false>},
    {"index", find_text<false, true>},
    {"rindex", find_text<true, true>},
    {"count", count_text},
    {"format", format_text},
    {"isdigit", all_characters<is_numeric>},
    {"isdecimal", all_characters<is_numeric>},
    {"isnumeric", all_characters<is_numeric>},
    {"isalpha", all_characters<is_letter>},
    {"isalnum", all_characters<is_letter_or_number>},
    {"isspace", all_characters<is_space>},
    {"isupper", has_case<upper, lower>},
    {"islower", has_case<lower, upper>},
    {"partition", partition_text<false>},
    {"rpartition", partition_text<true>},
    {"center", pad_text<Side::both>},
    {"ljust", pad_text<Side::left>},
    {"rjust", pad_text<Side::right>},
    {"zfill", zfill_text},
    {"removeprefix", remove_affix<true>},
    {"removesuffix", remove_affix<false>},
};
constexpr Method kListMethods[] = {{"count", list_count}, {"index", list_index}};
constexpr Method kDictMethods[] = {{"get", dict_get},
                                   {"items", dict_parts<true, true>},
                                   {"keys", dict_parts<true, false>},
                                   {"values", dict_parts<false, true>},
                                   {"copy", [](const Call& call) { return call.self; }}};

// loop.cycle("a", "b")
Value loop_cycle(const Call& call) {
  const auto& choices = call.arguments.positional;
  return choices.empty() ? call.context.fail("no items for cycling given")
                         : choices[call.self.as_loop()->index % choices.size()];
}
constexpr Method kLoopMethods[] = {{"cycle", loop_cycle}};

class BoundMethod final : public Callable {
 public:
  BoundMethod(Value self, const Method& method) : self_(std::move(self)), method_(&method) {}
  Value call(Context& context, const Arguments& arguments) const override {
    if (!context.charge(self_.as_string() != nullptr ? self_.weight() : 1)) return {};
    return method_->second({context, self_, arguments});
  }
  std::string name() const override { return "method " + std::string(method_->first); }
  std::size_t depth() const override { return self_.depth() + 1; }

 private:
  Value self_;
  const Method* method_;
};

}  // namespace

Value find_method(const Value& self, std::string_view name) {
  std::span<const Method> methods;
  if (self.as_string() != nullptr) methods = kTextMethods;
  if (self.as_list() != nullptr) methods = kListMethods;
  if (self.as_dict() != nullptr) methods = kDictMethods;
  if (self.as_loop() != nullptr) methods = kLoopMethods;
  for (const Method& method : methods) {
    if (method.first == name)
      return std::shared_ptr<const Callable>(std::make_shared<BoundMethod>(self, method));
  }
  return {};
}

}  // namespace baton::text::jinja
