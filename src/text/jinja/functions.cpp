// The global functions of a template: Jinja's own that chat templates use, and the two that Hugging Face
// adds.
#include <ctime>

#include "text/jinja/callable.hpp"

namespace baton::text::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;  // the sandbox's limit

using Body = Value (*)(Context&, const Arguments&);

class Function final : public Callable {
 public:
  Function(std::string name, Body body) : name_(std::move(name)), body_(body) {}
  Value call(Context& context, const Arguments& arguments) const override {
    return body_(context, arguments);
  }
  std::string name() const override { return "function " + name_; }

 private:
  std::string name_;
  Body body_;
};

Value range(Context& context, const Arguments& arguments) {
  std::int64_t bounds[3] = {0, 0, 1};
  const std::size_t count = arguments.positional.size();
  if (count < 1 || count > 3) return context.fail("range expects 1 to 3 arguments");
  for (std::size_t i = 0; i < count; ++i) {
    const auto number = arguments.positional[i].as_integer();
    if (!number)
      return context.fail(std::string("'") + arguments.positional[i].type_name() +
                          "' object cannot be interpreted as an integer");
    bounds[count == 1 ? 1 : i] = *number;
  }
  const auto [begin, end, step] = bounds;
  if (step == 0) return context.fail("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<std::int64_t>(items.size()) >= kMaxRange)
      return context.fail("a range longer than 100000");
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (!context.charge(items.size() * sizeof(Value))) return {};
  return make_list(std::move(items));
}

bool fill(Context& context, const Arguments& arguments, Dict& dict) {
  for (const Value& value : arguments.positional) {
    const Dict* other = value.as_dict();
    if (other == nullptr) {
      context.fail(std::string("expected a dict, got '") + value.type_name() + "'");
      return false;
    }
    for (const auto& [key, item] : other->entries()) dict.set(key, item);
  }
  for (const auto& [name, value] : arguments.named) dict.set(name, value);
  if (dict.depth() <= kMaxDepth) return true;
  context.fail("a value nested too deep, or a namespace inside another value");
  return false;
}

Value make_dict(Context& context, const Arguments& arguments) {
  Dict dict;
  return fill(context, arguments, dict) ? Value(std::move(dict)) : Value();
}

Value make_namespace(Context& context, const Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  return fill(context, arguments, space->attributes) ? Value(std::move(space)) : Value();
}

Value raise_exception(Context& context, const Arguments& arguments) {
  const Value* message = arguments.find(0, "message");
  return context.raise(message == nullptr ? "the chat template raised an exception" : to_text(*message));
}

Value strftime_now(Context& context, const Arguments& arguments) {
  const Value* format = arguments.find(0, "format");
  if (format == nullptr || format->as_string() == nullptr) return context.fail("strftime_now needs a format");
  const std::string& pattern = *format->as_string();
  if (pattern.empty() || pattern.size() > 256)
    return pattern.empty() ? Value("") : context.fail("a time format too long");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[4096];
  const std::size_t size = std::strftime(buffer, sizeof buffer, pattern.c_str(), &local);
  return std::string(buffer, size);
}

Value joiner(Context& /*context*/, const Arguments& arguments);

// joiner(): nothing the first time, the separator ever after.
class Joiner final : public Callable {
 public:
  explicit Joiner(std::string separator) : separator_(std::move(separator)) {}
  Value call(Context& context, const Arguments& /*arguments*/) const override {
    if (std::exchange(used_, true) && context.charge(separator_.size())) return separator_;
    return "";
  }
  std::string name() const override { return "Joiner"; }

 private:
  std::string separator_;
  mutable bool used_ = false;
};

Value joiner(Context& /*context*/, const Arguments& arguments) {
  const Value* separator = arguments.find(0, "sep");
  return std::shared_ptr<const Callable>(
      std::make_shared<Joiner>(separator == nullptr ? ", " : to_text(*separator)));
}

}  // namespace

Value find_function(std::string_view name) {
  static constexpr std::pair<std::string_view, Body> kFunctions[] = {{"range", range},
                                                                     {"dict", make_dict},
                                                                     {"namespace", make_namespace},
                                                                     {"raise_exception", raise_exception},
                                                                     {"joiner", joiner},
                                                                     {"strftime_now", strftime_now}};
  for (const auto& [known, body] : kFunctions) {
    if (known == name)
      return std::shared_ptr<const Callable>(std::make_shared<Function>(std::string(name), body));
  }
  return {};
}

}  // namespace baton::text::jinja
