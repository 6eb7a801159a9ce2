// What a template can call, and what a callable, filter or test sees of the renderer.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "baton/base/result.hpp"
#include "text/jinja/value.hpp"

namespace baton::text::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at `position` or called `name`; null where it was not given.
  const Value* find(std::size_t position, std::string_view name) const;
};

// The services of a running render. The first failure is kept and ends the render at the next statement;
// until then results are undefined.
class Context {
 public:
  virtual ~Context() = default;
  virtual Value fail(std::string message) = 0;   // returns undefined
  virtual Value raise(std::string message) = 0;  // the same, for the template's own words
  virtual bool failed() const = 0;
  // Accounts for about `bytes` of work or memory; false, and a failure, where the render has used up its
  // share. What a function is given is paid for by its caller; what it makes beyond that, it pays itself.
  virtual bool charge(std::size_t bytes) = 0;
  virtual Value filter(std::string_view name, const Value& input, const Arguments& arguments) = 0;
  virtual bool test(std::string_view name, const Value& input, const Arguments& arguments) = 0;
};

class Callable {
 public:
  virtual ~Callable() = default;
  virtual Value call(Context& context, const Arguments& arguments) const = 0;
  virtual std::string name() const = 0;
  virtual std::size_t depth() const { return 0; }  // of the value that it holds, plus one
  virtual Value attribute(std::string_view /*name*/) const { return {}; }
};

// The items that iterating gives: list items, dict keys, characters. Fails where Python would.
std::vector<Value> iterate(Context& context, const Value& value);

// value.name as a bound method; undefined where the type has none of that name.
Value find_method(const Value& self, std::string_view name);
// range, namespace, raise_exception, ...; undefined where there is none.
Value find_function(std::string_view name);

// Filters and tests by name; false where there is none.
using FilterFunction = Value (*)(Context&, const Value&, const Arguments&);
using TestFunction = bool (*)(Context&, const Value&, const Arguments&);
FilterFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);

// value.name and value[key] as Jinja looks them up; undefined where there is nothing.
Value get_attribute(const Value& value, std::string_view name);
Value get_item(Context& context, const Value& value, const Value& key);

// a + b and so on, by the operator's spelling.
Value apply_operator(Context& context, std::string_view op, const Value& a, const Value& b);
bool contains(Context& context, const Value& container, const Value& item);
// "..." % argument.
Value format_percent(Context& context, std::string_view format, const Value& argument);

}  // namespace baton::text::jinja
