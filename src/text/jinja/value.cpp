#include "text/jinja/value.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "text/jinja/callable.hpp"
#include "text/jinja/strings.hpp"

namespace baton::text::jinja {
namespace {

constexpr int kMaxJsonDepth = 200;

std::optional<Value> convert(const nlohmann::ordered_json& json, int depth) {
  if (depth > kMaxJsonDepth) return std::nullopt;
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean:
      return Value(json.get<bool>());
    case nlohmann::ordered_json::value_t::number_integer:
      return Value(json.get<std::int64_t>());
    case nlohmann::ordered_json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      return number > INT64_MAX ? Value(static_cast<double>(number))
                                : Value(static_cast<std::int64_t>(number));
    }
    case nlohmann::ordered_json::value_t::number_float:
      return Value(json.get<double>());
    case nlohmann::ordered_json::value_t::string:
      return Value(json.get_ref<const std::string&>());
    case nlohmann::ordered_json::value_t::array: {
      List list;
      list.items.reserve(json.size());
      for (const auto& item : json) {
        auto value = convert(item, depth + 1);
        if (!value) return std::nullopt;
        list.items.push_back(std::move(*value));
      }
      return Value(std::move(list));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) {
        auto value = convert(item, depth + 1);
        if (!value) return std::nullopt;
        dict.set(key, std::move(*value));
      }
      return Value(std::move(dict));
    }
    default:
      return Value(None{});
  }
}

std::size_t add_weights(std::size_t a, std::size_t b) { return std::min(a + b, std::size_t{1} << 40); }

int sign(auto a, auto b) { return a < b ? -1 : b < a ? 1 : 0; }

std::optional<int> compare_lists(const List& a, const List& b) {
  for (std::size_t i = 0; i < std::min(a.items.size(), b.items.size()); ++i) {
    if (equal(a.items[i], b.items[i])) continue;
    return compare(a.items[i], b.items[i]);
  }
  return sign(a.items.size(), b.items.size());
}

std::string join_reprs(const std::vector<Value>& items) {
  std::string out;
  for (const Value& item : items) {
    if (!out.empty()) out += ", ";
    out += repr(item);
  }
  return out;
}

const void* identity(const Value& value) {
  if (const void* space = value.as_namespace()) return space;
  if (const void* callable = value.as_callable()) return callable;
  return value.as_loop();
}

std::string dict_repr(const Dict& dict) {
  std::string out = "{";
  for (const auto& [key, value] : dict.entries()) {
    if (out.size() > 1) out += ", ";
    out += repr(key) + ": " + repr(value);
  }
  return out + "}";
}

}  // namespace

Value::Value(List list) {
  for (const Value& item : list.items) {
    list.depth = std::max(list.depth, item.depth() + 1);
    list.weight = add_weights(list.weight, item.weight());
  }
  data_ = std::make_shared<const List>(std::move(list));
}

std::size_t Value::depth() const {
  if (const auto* list = as_list()) return list->depth;
  if (const auto* dict = as_dict()) return dict->depth();
  if (const auto* loop = as_loop()) return loop->items_depth + 1;
  if (const auto* callable = as_callable()) return callable->depth();
  return as_namespace() != nullptr ? kMaxDepth + 1 : 0;
}

std::size_t Value::weight() const {
  if (const auto* text = as_string()) return text->size() + 1;
  if (const auto* list = as_list()) return list->weight;
  if (const auto* dict = as_dict()) return dict->weight();
  if (const auto* space = as_namespace()) return space->attributes.weight();
  return 1;
}

void Dict::set(Value key, Value value) {
  weight_ = add_weights(weight_, add_weights(key.weight(), value.weight()));
  depth_ = std::max({depth_, key.depth() + 1, value.depth() + 1});
  if (const std::string* text = key.as_string()) {
    const auto [place, fresh] = index_.try_emplace(*text, entries_.size());
    if (!fresh) {
      entries_[place->second].second = std::move(value);
      return;
    }
  } else if (Value* old = const_cast<Value*>(find(key))) {
    *old = std::move(value);
    return;
  }
  entries_.emplace_back(std::move(key), std::move(value));
}

const Value* Dict::find(const Value& key) const {
  if (const std::string* text = key.as_string()) return find_name(*text);
  for (const auto& [existing, value] : entries_) {
    if (equal(existing, key)) return &value;
  }
  return nullptr;
}

const Value* Dict::find_name(std::string_view key) const {
  const auto place = index_.find(key);
  return place == index_.end() ? nullptr : &entries_[place->second].second;
}

std::optional<std::int64_t> Value::as_integer() const {
  if (const auto* number = std::get_if<std::int64_t>(&data_)) return *number;
  if (const auto* flag = std::get_if<bool>(&data_)) return *flag ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::as_number() const {
  if (const auto* number = as_float()) return *number;
  if (const auto number = as_integer()) return static_cast<double>(*number);
  return std::nullopt;
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (const auto number = as_number()) return *number != 0;
  if (const auto* text = as_string()) return !text->empty();
  if (const auto* list = as_list()) return !list->items.empty();
  if (const auto* dict = as_dict()) return !dict->entries().empty();
  return true;
}

const char* Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (as_boolean() != nullptr) return "bool";
  if (as_integer()) return "int";
  if (as_float() != nullptr) return "float";
  if (as_string() != nullptr) return "str";
  if (const auto* list = as_list()) return list->tuple ? "tuple" : "list";
  if (as_dict() != nullptr) return "dict";
  if (as_namespace() != nullptr) return "Namespace";
  return as_loop() != nullptr ? "LoopContext" : "function";
}

bool Value::same_as(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (as_list() != nullptr || as_dict() != nullptr)
    return as_list() == other.as_list() && as_dict() == other.as_dict();
  return equal(*this, other);
}

Value make_undefined(std::string what) {
  return Undefined{std::make_shared<const std::string>(std::move(what))};
}

bool equal(const Value& a, const Value& b) {
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_number() && b.is_number()) {
    const auto left = a.as_integer();
    const auto right = b.as_integer();
    return left && right ? *left == *right : *a.as_number() == *b.as_number();
  }
  if (a.as_string() != nullptr && b.as_string() != nullptr) return *a.as_string() == *b.as_string();
  if (a.as_list() != nullptr && b.as_list() != nullptr) {
    const List& left = *a.as_list();
    const List& right = *b.as_list();
    return left.tuple == right.tuple &&
           std::equal(left.items.begin(), left.items.end(), right.items.begin(), right.items.end(), equal);
  }
  if (a.as_dict() != nullptr && b.as_dict() != nullptr) {
    const auto& entries = a.as_dict()->entries();
    return entries.size() == b.as_dict()->entries().size() &&
           std::all_of(entries.begin(), entries.end(), [&](const auto& entry) {
             const Value* other = b.as_dict()->find(entry.first);
             return other != nullptr && equal(entry.second, *other);
           });
  }
  return identity(a) != nullptr && identity(a) == identity(b);
}

std::optional<int> compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    const auto left = a.as_integer();
    const auto right = b.as_integer();
    return left && right ? sign(*left, *right) : sign(*a.as_number(), *b.as_number());
  }
  if (a.as_string() != nullptr && b.as_string() != nullptr)
    return sign(a.as_string()->compare(*b.as_string()), 0);
  if (a.as_list() != nullptr && b.as_list() != nullptr && a.as_list()->tuple == b.as_list()->tuple) {
    return compare_lists(*a.as_list(), *b.as_list());
  }
  return std::nullopt;
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char digits[32];
  // Python writes the shortest form that reads back, with an exponent below 1e-4 and from 1e16.
  const double size = std::fabs(value);
  const bool fixed = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto end = std::to_chars(digits, digits + sizeof digits, value,
                                 fixed ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(digits, end.ptr);
  if (fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string to_text(const Value& value) {
  if (const auto* text = value.as_string()) return *text;
  return value.is_undefined() ? std::string() : repr(value);
}

std::string repr(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (const bool* flag = value.as_boolean()) return *flag ? "True" : "False";
  if (const auto number = value.as_integer()) return std::to_string(*number);
  if (const double* number = value.as_float()) return float_text(*number);
  if (const auto* text = value.as_string()) return quoted_text(*text);
  if (const auto* list = value.as_list()) {
    if (!list->tuple) return "[" + join_reprs(list->items) + "]";
    return "(" + join_reprs(list->items) + (list->items.size() == 1 ? ",)" : ")");
  }
  if (const auto* dict = value.as_dict()) return dict_repr(*dict);
  if (const auto* space = value.as_namespace()) return "<Namespace " + dict_repr(space->attributes) + ">";
  if (const auto* callable = value.as_callable()) return "<" + callable->name() + ">";
  return "<LoopContext>";
}

std::optional<Value> from_json(const nlohmann::ordered_json& json) { return convert(json, 0); }

}  // namespace baton::text::jinja
