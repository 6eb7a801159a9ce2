// Jinja's tests: the words behind "is".
#include "text/jinja/callable.hpp"
#include "text/jinja/strings.hpp"
#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace baton::text::jinja {
namespace {

using Test = std::pair<std::string_view, TestFunction>;

Value first_argument(Context& context, const Arguments& arguments) {
  const Value* other = arguments.find(0, "other");
  return other == nullptr ? context.fail("the test needs an argument") : *other;
}

bool is_integer(const Value& value) {
  return value.as_boolean() == nullptr && value.as_integer().has_value();
}

// Python's isupper and islower: at least one cased character, and none of the other case.
bool has_case(const Value& value, std::string (*map)(std::string_view),
              std::string (*other)(std::string_view)) {
  const std::string text = to_text(value);
  return map(text) == text && other(text) != text;
}

template <bool (*Accept)(int)>
bool ordered(Context& context, const Value& value, const Arguments& arguments) {
  const Value other = first_argument(context, arguments);
  if (context.failed()) return false;
  const auto order = compare(value, other);
  if (!order)
    context.fail(std::string("cannot compare '") + value.type_name() + "' with '" + other.type_name() + "'");
  return order && Accept(*order);
}
bool less(int order) { return order < 0; }
bool less_or_equal(int order) { return order <= 0; }
bool greater(int order) { return order > 0; }
bool greater_or_equal(int order) { return order >= 0; }

bool is_equal(Context& context, const Value& value, const Arguments& arguments) {
  return equal(value, first_argument(context, arguments));
}

bool divisible(Context& context, const Value& value, const Value& by) {
  if (!value.is_number() || !by.is_number()) {
    context.fail(std::string("'") + value.type_name() + "' cannot be divided");
    return false;
  }
  return equal(apply_operator(context, "%", value, by), Value(std::int64_t{0}));
}

constexpr Test kTests[] = {
    {"defined", [](Context&, const Value& v, const Arguments&) { return !v.is_undefined(); }},
    {"undefined", [](Context&, const Value& v, const Arguments&) { return v.is_undefined(); }},
    {"none", [](Context&, const Value& v, const Arguments&) { return v.is_none(); }},
    {"boolean", [](Context&, const Value& v, const Arguments&) { return v.as_boolean() != nullptr; }},
    {"true",
     [](Context&, const Value& v, const Arguments&) { return v.as_boolean() != nullptr && *v.as_boolean(); }},
    {"false", [](Context&, const Value& v,
                 const Arguments&) { return v.as_boolean() != nullptr && !*v.as_boolean(); }},
    {"integer", [](Context&, const Value& v, const Arguments&) { return is_integer(v); }},
    {"float", [](Context&, const Value& v, const Arguments&) { return v.as_float() != nullptr; }},
    {"number", [](Context&, const Value& v, const Arguments&) { return v.is_number(); }},
    {"string", [](Context&, const Value& v, const Arguments&) { return v.as_string() != nullptr; }},
    {"mapping", [](Context&, const Value& v, const Arguments&) { return v.as_dict() != nullptr; }},
    {"sequence",
     [](Context&, const Value& v, const Arguments&) {
       return v.as_string() != nullptr || v.as_list() != nullptr || v.as_dict() != nullptr ||
              v.is_undefined();
     }},
    {"iterable",
     [](Context&, const Value& v, const Arguments&) {
       return v.as_string() != nullptr || v.as_list() != nullptr || v.as_dict() != nullptr ||
              v.is_undefined();
     }},
    {"callable", [](Context&, const Value& v, const Arguments&) { return v.as_callable() != nullptr; }},
    {"escaped", [](Context&, const Value&, const Arguments&) { return false; }},
    {"lower", [](Context&, const Value& v, const Arguments&) { return has_case(v, lower, upper); }},
    {"upper", [](Context&, const Value& v, const Arguments&) { return has_case(v, upper, lower); }},
    {"even",
     [](Context& c, const Value& v, const Arguments&) { return divisible(c, v, Value(std::int64_t{2})); }},
    {"odd",
     [](Context& c, const Value& v, const Arguments&) { return !divisible(c, v, Value(std::int64_t{2})); }},
    {"divisibleby",
     [](Context& c, const Value& v, const Arguments& a) {
       const Value* by = a.find(0, "num");
       return by != nullptr && divisible(c, v, *by);
     }},
    {"sameas",
     [](Context& c, const Value& v, const Arguments& a) { return v.same_as(first_argument(c, a)); }},
    {"in",
     [](Context& c, const Value& v, const Arguments& a) {
       const Value* container = a.find(0, "seq");
       return container != nullptr && contains(c, *container, v);
     }},
    {"filter",
     [](Context&, const Value& v, const Arguments&) {
       return v.as_string() != nullptr && find_filter(*v.as_string()) != nullptr;
     }},
    {"test",
     [](Context&, const Value& v, const Arguments&) {
       return v.as_string() != nullptr && find_test(*v.as_string()) != nullptr;
     }},
    {"eq", is_equal},
    {"equalto", is_equal},
    {"==", is_equal},
    {"ne", [](Context& c, const Value& v, const Arguments& a) { return !is_equal(c, v, a); }},
    {"!=", [](Context& c, const Value& v, const Arguments& a) { return !is_equal(c, v, a); }},
    {"lt", ordered<less>},
    {"lessthan", ordered<less>},
    {"<", ordered<less>},
    {"le", ordered<less_or_equal>},
    {"<=", ordered<less_or_equal>},
    {"gt", ordered<greater>},
    {"greaterthan", ordered<greater>},
    {">", ordered<greater>},
    {"ge", ordered<greater_or_equal>},
    {">=", ordered<greater_or_equal>},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  for (const auto& [known, function] : kTests) {
    if (known == name) return function;
  }
  return nullptr;
}

}  // namespace baton::text::jinja
