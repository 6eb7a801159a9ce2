// Operators, look-ups and iteration, as Python does them.
#include <algorithm>
#include <cmath>

#include "text/jinja/callable.hpp"
#include "text/jinja/strings.hpp"

namespace baton::text::jinja {
namespace {

Value wrong_operands(Context& context, std::string_view op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    const Undefined* undefined = value->as_undefined();
    if (undefined != nullptr)
      return context.fail(undefined->what != nullptr ? *undefined->what : "an undefined operand");
  }
  return context.fail("unsupported operand types for " + std::string(op) + ": '" + a.type_name() + "' and '" +
                      b.type_name() + "'");
}

// Python's floor division and modulo; b is not 0.
std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
}
double floor_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value integer_power(Context& context, std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  std::int64_t result = 1;
  bool overflow = false;
  for (; exponent > 0 && !overflow; exponent >>= 1) {
    if ((exponent & 1) != 0) overflow = __builtin_mul_overflow(result, base, &result);
    if (exponent > 1) overflow = overflow || __builtin_mul_overflow(base, base, &base);
  }
  return overflow ? context.fail("an integer beyond 64 bits") : Value(result);
}

Value integers(Context& context, std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  if (op == "**") return integer_power(context, a, b);
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (b == 0) {
    return context.fail("division by zero");
  } else if (op == "/") {
    return static_cast<double>(a) / static_cast<double>(b);
  } else if (b == -1) {  // INT64_MIN / -1 would trap
    overflow = op == "//" && __builtin_sub_overflow(std::int64_t{0}, a, &result);
  } else {
    const std::int64_t quotient = floor_divide(a, b);
    result = op == "//" ? quotient : a - quotient * b;
  }
  return overflow ? context.fail("an integer beyond 64 bits") : Value(result);
}

Value floats(Context& context, std::string_view op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) return context.fail("float division by zero");
  if (op == "/") return a / b;
  return op == "//" ? std::floor(a / b) : floor_modulo(a, b);
}

Value repeat(Context& context, const Value& sequence, std::int64_t count) {
  count = std::max<std::int64_t>(count, 0);
  const std::size_t weight = sequence.weight();
  if (count > INT32_MAX || !context.charge(weight * static_cast<std::size_t>(count)))
    return context.fail("a repetition too long");
  if (const std::string* text = sequence.as_string()) {
    std::string out;
    for (std::int64_t i = 0; i < count; ++i) out += *text;
    return out;
  }
  const List& list = *sequence.as_list();
  List out;
  out.tuple = list.tuple;
  for (std::int64_t i = 0; i < count; ++i)
    out.items.insert(out.items.end(), list.items.begin(), list.items.end());
  return out;
}

std::optional<std::size_t> position(std::int64_t index, std::size_t size) {
  const auto count = static_cast<std::int64_t>(size);
  if (index < 0) index += count;
  return index < 0 || index >= count ? std::nullopt : std::optional(static_cast<std::size_t>(index));
}

Value loop_attribute(const Loop& loop, std::string_view name) {
  const auto index = static_cast<std::int64_t>(loop.index);
  const auto size = static_cast<std::int64_t>(loop.items->size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == size;
  if (name == "length") return size;
  if (name == "depth") return std::int64_t{1};  // only recursive loops go deeper
  if (name == "depth0") return std::int64_t{0};
  if (name == "previtem")
    return index == 0 ? make_undefined("there is no previous item") : (*loop.items)[loop.index - 1];
  if (name == "nextitem")
    return index + 1 == size ? make_undefined("there is no next item") : (*loop.items)[loop.index + 1];
  return {};
}

}  // namespace

const Value* Arguments::find(std::size_t position_, std::string_view name) const {
  if (position_ < positional.size()) return &positional[position_];
  for (const auto& [given, value] : named) {
    if (given == name) return &value;
  }
  return nullptr;
}

Value apply_operator(Context& context, std::string_view op, const Value& a, const Value& b) {
  const auto left = a.as_integer();
  const auto right = b.as_integer();
  if (left && right) return integers(context, op, *left, *right);
  if (a.is_number() && b.is_number()) return floats(context, op, *a.as_number(), *b.as_number());
  const std::string* text = a.as_string();
  const List* list = a.as_list();
  if (op == "%" && text != nullptr) return format_percent(context, *text, b);
  if (op == "*" && (text != nullptr || list != nullptr) && right) return repeat(context, a, *right);
  if (op == "*" && (b.as_string() != nullptr || b.as_list() != nullptr) && left)
    return repeat(context, b, *left);
  if (op == "+" && text != nullptr && b.as_string() != nullptr) return *text + *b.as_string();
  if (op == "+" && list != nullptr && b.as_list() != nullptr && list->tuple == b.as_list()->tuple) {
    List joined = *list;
    joined.items.insert(joined.items.end(), b.as_list()->items.begin(), b.as_list()->items.end());
    joined.weight = 1;
    return joined;
  }
  return wrong_operands(context, op, a, b);
}

bool contains(Context& context, const Value& container, const Value& item) {
  if (const std::string* text = container.as_string()) {
    if (const std::string* part = item.as_string()) return text->find(*part) != std::string::npos;
    context.fail(std::string("'in <string>' requires string as left operand, not ") + item.type_name());
    return false;
  }
  if (const Dict* dict = container.as_dict()) return dict->find(item) != nullptr;
  for (const Value& value : iterate(context, container)) {
    if (equal(value, item)) return true;
  }
  return false;
}

std::vector<Value> iterate(Context& context, const Value& value) {
  if (value.is_undefined()) return {};
  if (const List* list = value.as_list()) return list->items;
  std::vector<Value> items;
  if (const Dict* dict = value.as_dict()) {
    for (const auto& [key, item] : dict->entries()) items.push_back(key);
  } else if (const std::string* text = value.as_string()) {
    if (!context.charge(text->size() * 16)) return {};
    for (const std::string_view character : characters(*text)) items.emplace_back(character);
  } else {
    context.fail(std::string("'") + value.type_name() + "' object is not iterable");
  }
  return items;
}

Value get_attribute(const Value& value, std::string_view name) {
  if (const Loop* loop = value.as_loop()) {
    Value found = loop_attribute(*loop, name);
    if (!found.is_undefined() || name == "previtem" || name == "nextitem") return found;
  }
  if (const Namespace* space = value.as_namespace()) {
    if (const Value* found = space->attributes.find_name(name)) return *found;
  }
  if (const Callable* callable = value.as_callable()) {
    if (Value found = callable->attribute(name); !found.is_undefined()) return found;
  }
  if (Value method = find_method(value, name); !method.is_undefined()) return method;
  if (const Dict* dict = value.as_dict()) {
    if (const Value* found = dict->find_name(name)) return *found;
  }
  const std::string object = value.is_none() ? "'None'" : std::string("'") + value.type_name() + " object'";
  return make_undefined(object + " has no attribute '" + std::string(name) + "'");
}

Value get_item(Context& context, const Value& value, const Value& key) {
  if (const Undefined* undefined = value.as_undefined()) {
    return context.fail(undefined->what != nullptr ? *undefined->what : "an undefined value has no items");
  }
  const auto index = key.as_integer();
  if (const List* list = value.as_list(); list != nullptr && index) {
    const auto at = position(*index, list->items.size());
    return at ? list->items[*at] : make_undefined("list object has no element " + std::to_string(*index));
  }
  if (const std::string* text = value.as_string(); text != nullptr && index) {
    if (!context.charge(text->size() / 8)) return {};
    const auto at = position(*index, length(*text));
    return at ? Value(characters(*text)[*at])
              : make_undefined("str object has no element " + std::to_string(*index));
  }
  if (const Dict* dict = value.as_dict()) {
    if (const Value* found = dict->find(key)) return *found;
  }
  if (const std::string* name = key.as_string()) return get_attribute(value, *name);
  return make_undefined(std::string("'") + value.type_name() + " object' has no item " + repr(key));
}

}  // namespace baton::text::jinja
