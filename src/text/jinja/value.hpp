// The values of a template: Python's, as far as chat templates can see them.
//
// Values are cheap to copy: strings, lists and dicts are shared. Strings are valid UTF-8 and measured in code
// points, as in Python. Lists and dicts are immutable once a template can see them (the sandbox that Hugging
// Face renders in forbids changing them); only a namespace changes. Invariant: no cycles and no deep nesting,
// so reference counting frees everything and recursion over a value is safe: whoever builds a container
// checks depth() against kMaxDepth, and a namespace, the one thing that changes, counts as too deep to be put
// into anything.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace baton::text::jinja {

class Value;
class Callable;
struct Loop;

struct Undefined {
  std::shared_ptr<const std::string> what;  // "'x' is undefined", for the error where it is used
};
struct None {};

inline constexpr std::size_t kMaxDepth = 200;

struct List {
  std::vector<Value> items;
  bool tuple = false;
  std::size_t depth = 1;  // these two are set when it becomes a Value
  std::size_t weight = 1;
};

class Dict {
 public:
  const std::vector<std::pair<Value, Value>>& entries() const { return entries_; }
  void set(Value key, Value value);  // an existing key keeps its place
  const Value* find(const Value& key) const;
  const Value* find_name(std::string_view key) const;
  std::size_t depth() const { return depth_; }
  std::size_t weight() const { return weight_; }

 private:
  std::vector<std::pair<Value, Value>> entries_;
  std::unordered_map<std::string_view, std::size_t> index_;  // string keys, into entries_' own strings
  std::size_t depth_ = 1;
  std::size_t weight_ = 1;
};

struct Namespace {
  Dict attributes;
};

class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(None) : data_(None{}) {}                               // NOLINT: implicit by design, like those below
  Value(Undefined undefined) : data_(std::move(undefined)) {}  // NOLINT
  Value(bool value) : data_(value) {}                          // NOLINT
  Value(std::int64_t value) : data_(value) {}                  // NOLINT
  Value(double value) : data_(value) {}                        // NOLINT
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}  // NOLINT
  Value(std::string_view value) : Value(std::string(value)) {}                                // NOLINT
  Value(const char* value) : Value(std::string(value)) {}                                     // NOLINT
  Value(List list);                                                                           // NOLINT
  Value(Dict dict) : data_(std::make_shared<const Dict>(std::move(dict))) {}                  // NOLINT
  Value(std::shared_ptr<Namespace> space) : data_(std::move(space)) {}                        // NOLINT
  Value(std::shared_ptr<const Callable> callable) : data_(std::move(callable)) {}             // NOLINT
  Value(std::shared_ptr<const Loop> loop) : data_(std::move(loop)) {}                         // NOLINT

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_number() const { return as_integer().has_value() || as_float() != nullptr; }

  const Undefined* as_undefined() const { return std::get_if<Undefined>(&data_); }
  const bool* as_boolean() const { return std::get_if<bool>(&data_); }
  std::optional<std::int64_t> as_integer() const;  // booleans are integers
  const double* as_float() const { return std::get_if<double>(&data_); }
  std::optional<double> as_number() const;
  const std::string* as_string() const { return pointee<const std::string>(); }
  const List* as_list() const { return pointee<const List>(); }
  const Dict* as_dict() const { return pointee<const Dict>(); }
  Namespace* as_namespace() const { return pointee<Namespace>(); }
  const Callable* as_callable() const { return pointee<const Callable>(); }
  const Loop* as_loop() const { return pointee<const Loop>(); }

  bool truthy() const;
  const char* type_name() const;  // Python's
  std::size_t depth() const;      // 0 for what holds nothing
  std::size_t weight()
      const;  // about what walking over all of it costs, shared parts counted each time; saturates
  // Whether both are the same object (small immutable values: equal and of one type).
  bool same_as(const Value& other) const;

 private:
  template <class T>
  T* pointee() const {
    const auto* pointer = std::get_if<std::shared_ptr<T>>(&data_);
    return pointer == nullptr ? nullptr : pointer->get();
  }
  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
               std::shared_ptr<const Callable>, std::shared_ptr<const Loop>>
      data_;
};

// The `loop` of a for statement.
struct Loop {
  std::shared_ptr<const std::vector<Value>> items;
  std::size_t index = 0;        // from 0
  std::size_t items_depth = 0;  // the deepest item's
};

inline Value make_list(std::vector<Value> items) { return List{std::move(items), false, 1, 1}; }
inline Value make_tuple(std::vector<Value> items) { return List{std::move(items), true, 1, 1}; }
Value make_undefined(std::string what);

bool equal(const Value& a, const Value& b);
// Less than zero, zero, greater than zero; nothing where Python would raise TypeError.
std::optional<int> compare(const Value& a, const Value& b);

std::string to_text(const Value& value);  // str(value)
std::string repr(const Value& value);     // repr(value)
std::string float_text(double value);     // repr of a float

// Nesting beyond 200 levels gives nothing.
std::optional<Value> from_json(const nlohmann::ordered_json& json);

struct JsonStyle {
  std::optional<std::string> indent;  // of one level; nothing: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};
// json.dumps. Nothing where a value has no JSON form; `problem` then says which.
std::optional<std::string> to_json(const Value& value, const JsonStyle& style, std::string& problem);

}  // namespace baton::text::jinja
