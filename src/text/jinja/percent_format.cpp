// "..." % argument, in the conversions that templates use: s r d i x X o f F e E g G, with flags, width,
// precision and (keys).
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "text/jinja/callable.hpp"
#include "text/jinja/strings.hpp"

namespace baton::text::jinja {
namespace {

struct Conversion {
  std::optional<std::string_view> key;
  std::string flags;
  int width = 0;
  std::optional<int> precision;
  char kind = '\0';
};

class Formatter {
 public:
  Formatter(Context& context, std::string_view format, const Value& argument)
      : context_(context), format_(format), argument_(argument) {
    if (const List* list = argument.as_list(); list != nullptr && list->tuple) tuple_ = list;
  }

  Value run() {
    while (at_ < format_.size() && !context_.failed()) {
      const std::size_t percent = std::min(format_.find('%', at_), format_.size());
      out_ += format_.substr(at_, percent - at_);
      at_ = percent + 1;
      if (percent < format_.size()) convert();
    }
    if (tuple_ != nullptr && next_ < tuple_->items.size())
      context_.fail("not all arguments converted during string formatting");
    return context_.failed() ? Value() : Value(std::move(out_));
  }

 private:
  // A number of at most 5 digits; what is longer makes the conversion wrong.
  int number() {
    int value = 0;
    for (int digits = 0; digits < 5 && at_ < format_.size() && format_[at_] >= '0' && format_[at_] <= '9';
         ++digits) {
      value = value * 10 + (format_[at_++] - '0');
    }
    return value;
  }

  Conversion read() {
    Conversion conversion;
    const std::size_t close = format_.find(')', at_);
    if (format_.substr(at_).starts_with('(') && close != std::string_view::npos) {
      conversion.key = format_.substr(at_ + 1, close - at_ - 1);
      at_ = close + 1;
    }
    while (at_ < format_.size() && std::string_view("-+ #0").find(format_[at_]) != std::string_view::npos &&
           conversion.flags.size() < 5) {
      conversion.flags += format_[at_++];
    }
    conversion.width = number();
    if (format_.substr(at_).starts_with('.')) {
      ++at_;
      conversion.precision = number();
    }
    if (at_ < format_.size()) conversion.kind = format_[at_++];
    return conversion;
  }

  void convert() {
    const Conversion conversion = read();
    if (conversion.kind == '%') {
      out_ += '%';
      return;
    }
    const Value value = next_value(conversion);
    if (context_.failed() || !context_.charge(static_cast<std::size_t>(conversion.width))) return;
    if (conversion.kind == 's' || conversion.kind == 'r') {
      text(conversion, value);
    } else {
      numeric(conversion, value);
    }
  }

  Value next_value(const Conversion& conversion) {
    if (conversion.key) return get_item(context_, argument_, Value(*conversion.key));
    const std::size_t position = next_++;
    if (tuple_ == nullptr && position == 0) return argument_;
    if (tuple_ == nullptr || position >= tuple_->items.size())
      return context_.fail("not enough arguments for format string");
    return tuple_->items[position];
  }

  void text(const Conversion& conversion, const Value& value) {
    if (!context_.charge(value.weight())) return;
    std::string shown = conversion.kind == 's' ? to_text(value) : repr(value);
    if (conversion.precision) {
      const auto parts = characters(shown);
      std::string cut;
      for (std::size_t i = 0; i < std::min(parts.size(), static_cast<std::size_t>(*conversion.precision));
           ++i)
        cut += parts[i];
      shown = std::move(cut);
    }
    const bool left = conversion.flags.find('-') != std::string::npos;
    out_ += pad(shown, conversion.width, " ", left ? Side::left : Side::right);
  }

  void numeric(const Conversion& conversion, const Value& value) {
    const bool integral = std::string_view("dixXo").find(conversion.kind) != std::string_view::npos;
    const bool known = integral || std::string_view("fFeEgG").find(conversion.kind) != std::string_view::npos;
    const auto number = value.as_number();
    if (conversion.kind == '\0' || !known) {
      context_.fail("unsupported format character");
    } else if (!number) {
      context_.fail(std::string("%") + conversion.kind + " format: a real number is required, not " +
                    value.type_name());
    } else {
      const std::string spec = "%" + conversion.flags + "*.*";  // a negative precision is none
      const int precision = conversion.precision.value_or(-1);
      char buffer[512];
      const auto whole = static_cast<long long>(
          value.as_integer().value_or(static_cast<std::int64_t>(std::clamp(*number, -9e18, 9e18))));
      const int size = integral
                           ? std::snprintf(buffer, sizeof buffer, (spec + "ll" + conversion.kind).c_str(),
                                           conversion.width, precision, whole)
                           : std::snprintf(buffer, sizeof buffer, (spec + conversion.kind).c_str(),
                                           conversion.width, precision, *number);
      if (size < 0 || static_cast<std::size_t>(size) >= sizeof buffer) {
        context_.fail("a formatted number too long");
      } else {
        out_ += buffer;
      }
    }
  }

  Context& context_;
  std::string_view format_;
  const Value& argument_;
  const List* tuple_ = nullptr;
  std::size_t at_ = 0;
  std::size_t next_ = 0;
  std::string out_;
};

}  // namespace

Value format_percent(Context& context, std::string_view format, const Value& argument) {
  return Formatter(context, format, argument).run();
}

}  // namespace baton::text::jinja
