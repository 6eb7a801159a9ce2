// The expressions of a render.
#include <optional>

#include "text/jinja/evaluator.hpp"
#include "text/jinja/strings.hpp"

namespace baton::text::jinja {

Value Evaluator::checked(Value value) {
  if (value.as_namespace() == nullptr && value.depth() > kMaxDepth)
    return fail("a value nested too deep, or a namespace inside another value");
  return value;
}

Value Evaluator::evaluate(const Expression& expression) {
  const Step step(*this);
  if (failed()) return {};
  switch (expression.kind) {
    case Kind::literal:
      return expression.value;
    case Kind::name:
      return look_up(expression.text);
    case Kind::list:
    case Kind::tuple:
      return evaluate_sequence(expression);
    case Kind::dict:
      return evaluate_dict(expression);
    case Kind::attribute: {
      const Value object = evaluate(*expression.children[0]);
      if (const Undefined* undefined = object.as_undefined(); undefined != nullptr && !failed()) {
        return fail(undefined->what != nullptr
                        ? *undefined->what
                        : "an undefined value has no attribute '" + expression.text + "'");
      }
      return get_attribute(object, expression.text);
    }
    case Kind::item: {
      const Value object = evaluate(*expression.children[0]);
      const Value key = evaluate(*expression.children[1]);
      return failed() ? Value() : get_item(*this, object, key);
    }
    case Kind::slice:
      return evaluate_slice(expression);
    case Kind::call:
      return evaluate_call(expression, nullptr);
    case Kind::filter:
      return evaluate_filter(expression, nullptr);
    case Kind::test: {
      const Value input = evaluate(*expression.children[0]);
      const Arguments arguments = evaluate_arguments(expression);
      return !failed() && test(expression.text, input, arguments);
    }
    case Kind::logical_not:
      return !evaluate(*expression.children[0]).truthy();
    case Kind::negate:
    case Kind::plus: {
      const Value operand = evaluate(*expression.children[0]);
      if (failed()) return {};
      if (!operand.is_number())
        return fail(std::string("bad operand type for unary operator: '") + operand.type_name() + "'");
      return apply_operator(*this, expression.kind == Kind::negate ? "-" : "+", Value(std::int64_t{0}),
                            operand);
    }
    case Kind::binary: {
      const Value left = evaluate(*expression.children[0]);
      const Value right = evaluate(*expression.children[1]);
      if (failed() || !charge(left.weight() + right.weight())) return {};
      return checked(apply_operator(*this, expression.text, left, right));
    }
    case Kind::concat:
      return evaluate_concat(expression);
    case Kind::compare:
      return evaluate_compare(expression);
    case Kind::logical_and: {
      Value left = evaluate(*expression.children[0]);
      return left.truthy() ? evaluate(*expression.children[1]) : left;
    }
    case Kind::logical_or: {
      Value left = evaluate(*expression.children[0]);
      return left.truthy() ? left : evaluate(*expression.children[1]);
    }
    case Kind::conditional: {
      const bool chosen = evaluate(*expression.children[0]).truthy();
      const Expression* value = expression.children[chosen ? 1 : 2].get();
      if (value == nullptr)
        return make_undefined("the inline if-expression evaluated to false and no else section was defined");
      return evaluate(*value);
    }
  }
  return {};
}

Value Evaluator::evaluate_sequence(const Expression& expression) {
  List list;
  list.tuple = expression.kind == Kind::tuple;
  for (const ExpressionPtr& child : expression.children) list.items.push_back(evaluate(*child));
  return checked(std::move(list));
}

Value Evaluator::evaluate_dict(const Expression& expression) {
  Dict dict;
  for (std::size_t i = 0; i + 1 < expression.children.size(); i += 2) {
    Value key = evaluate(*expression.children[i]);
    if (key.as_dict() != nullptr || (key.as_list() != nullptr && !key.as_list()->tuple)) {
      return fail(std::string("unhashable type: '") + key.type_name() + "'");
    }
    dict.set(std::move(key), evaluate(*expression.children[i + 1]));
  }
  return checked(std::move(dict));
}

Value Evaluator::evaluate_slice(const Expression& expression) {
  const Value object = evaluate(*expression.children[0]);
  std::optional<std::int64_t> bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    const Expression* part = expression.children[i + 1].get();
    if (part == nullptr) continue;
    const Value value = evaluate(*part);
    if (value.is_none()) continue;
    bounds[i] = value.as_integer();
    if (!bounds[i]) return fail("slice indices must be integers or None");
  }
  if (failed() || !charge(object.weight())) return {};
  const std::string* text = object.as_string();
  const List* list = object.as_list();
  if (text == nullptr && list == nullptr) {
    const Undefined* undefined = object.as_undefined();
    if (undefined != nullptr && undefined->what != nullptr) return fail(*undefined->what);
    return fail(std::string("'") + object.type_name() + "' object cannot be sliced");
  }
  const auto parts = text != nullptr ? characters(*text) : std::vector<std::string_view>();
  const auto positions =
      slice_positions(text != nullptr ? parts.size() : list->items.size(), bounds[0], bounds[1], bounds[2]);
  if (!positions) return fail("slice step cannot be zero");
  if (text != nullptr) {
    std::string chosen;
    for (const std::size_t i : *positions) chosen += parts[i];
    return chosen;
  }
  List chosen;
  chosen.tuple = list->tuple;
  for (const std::size_t i : *positions) chosen.items.push_back(list->items[i]);
  return chosen;
}

Arguments Evaluator::evaluate_arguments(const Expression& expression) {
  Arguments arguments;
  for (std::size_t i = 1; i < expression.children.size(); ++i)
    arguments.positional.push_back(evaluate(*expression.children[i]));
  for (const auto& [name, value] : expression.named) arguments.named.emplace_back(name, evaluate(*value));
  std::size_t weight = 0;
  for (const Value& value : arguments.positional) weight += value.weight();
  for (const auto& [name, value] : arguments.named) weight += value.weight();
  charge(weight);
  return arguments;
}

Value Evaluator::evaluate_call(const Expression& expression, const Value* caller) {
  const Value callee = evaluate(*expression.children[0]);
  Arguments arguments = evaluate_arguments(expression);
  if (failed()) return {};
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  if (const Callable* callable = callee.as_callable()) return checked(callable->call(*this, arguments));
  if (const Undefined* undefined = callee.as_undefined(); undefined != nullptr && undefined->what != nullptr)
    return fail(*undefined->what);
  return fail(std::string("'") + callee.type_name() + "' object is not callable");
}

Value Evaluator::evaluate_filter(const Expression& expression, const Value* block_input) {
  const Expression* input = expression.children[0].get();
  Value value;
  if (input == nullptr) {
    value = block_input != nullptr ? *block_input : Value();
  } else if (input->kind == Kind::filter) {
    value = evaluate_filter(*input, block_input);  // a chain that may begin at a block's text
  } else {
    value = evaluate(*input);
  }
  const Arguments arguments = evaluate_arguments(expression);
  return failed() ? Value() : filter(expression.text, value, arguments);
}

Value Evaluator::filter(std::string_view name, const Value& input, const Arguments& arguments) {
  const Step step(*this);
  if (failed() || !charge(input.weight())) return {};
  const FilterFunction function = find_filter(name);
  if (function == nullptr) return fail("no filter named '" + std::string(name) + "'");
  return checked(function(*this, input, arguments));
}

bool Evaluator::test(std::string_view name, const Value& input, const Arguments& arguments) {
  const Step step(*this);
  if (failed() || !charge(input.weight() / 8 + 1)) return false;
  const TestFunction function = find_test(name);
  if (function == nullptr) {
    fail("no test named '" + std::string(name) + "'");
    return false;
  }
  return function(*this, input, arguments);
}

Value Evaluator::evaluate_concat(const Expression& expression) {
  std::string text;
  for (const ExpressionPtr& child : expression.children) {
    const Value value = evaluate(*child);
    if (failed() || !charge(value.weight())) return {};
    text += to_text(value);
  }
  return text;
}

Value Evaluator::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.children[0]);
  for (std::size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = evaluate(*expression.children[i + 1]);
    if (failed() || !charge(left.weight() / 8 + right.weight() / 8)) return {};
    if (!compare_pair(expression.operators[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

bool Evaluator::compare_pair(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(*this, b, a);
  if (op == "not in") return !contains(*this, b, a);
  const auto order = compare(a, b);
  if (!order) {
    const Value& undefined = a.is_undefined() ? a : b;
    if (undefined.is_undefined() && undefined.as_undefined()->what != nullptr) {
      fail(*undefined.as_undefined()->what);
    } else {
      fail("'" + op + "' not supported between instances of '" + a.type_name() + "' and '" + b.type_name() +
           "'");
    }
    return false;
  }
  return op == "<" ? *order < 0 : op == "<=" ? *order <= 0 : op == ">" ? *order > 0 : *order >= 0;
}

}  // namespace baton::text::jinja
