#include "text/grammar_text/number_range.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

namespace baton::text {

namespace {

// "[0-9]{2,5}" for that many digits.
std::string digits(std::size_t least, std::size_t most, const std::string& which = "[0-9]") {
  if (most == 0) return "\"\"";
  return which + "{" + std::to_string(least) + "," + std::to_string(most) + "}";
}

std::string digit(char low, char high) {
  if (low == high) return std::string("\"") + low + "\"";
  return std::string("[") + low + "-" + high + "]";
}

std::string join(const std::vector<std::string>& alternatives) {
  if (alternatives.size() == 1) return alternatives[0];
  std::string written;
  for (const std::string& one : alternatives) written += (written.empty() ? "(" : " | ") + one;
  return written.empty() ? written : written + ")";
}

int compare_digits(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (const int order = a.whole.compare(b.whole); order != 0) return order;
  return a.fraction.compare(b.fraction);
}

// Numbers that are not negative, whose whole part has `length` digits, between bounds that may have fewer
// (low) or more (high) digits there and then do not matter.
class Digits {
 public:
  Digits(const NumberRange& range, std::size_t length) : length_(length), integer_(range.integer) {
    const auto whole_of = [&](const Decimal& bound) {
      return bound.whole.empty() ? std::string("0") : bound.whole;  // zero's own digit
    };
    if (range.low && whole_of(range.low->at).size() == length) {
      low_ = whole_of(range.low->at) + range.low->at.fraction;
      low_counts_ = true;
      low_exclusive_ = range.low->exclusive;
    }
    if (range.high && whole_of(range.high->at).size() == length) {
      high_ = whole_of(range.high->at) + range.high->at.fraction;
      high_counts_ = true;
      high_exclusive_ = range.high->exclusive;
    }
  }

  std::string written() const { return rest(0, {low_counts_, high_counts_}); }

 private:
  // Whether all digits so far are those of the bound.
  struct Tight {
    bool low = false;
    bool high = false;
  };

  // Numbers of 15 digits are still told apart as doubles: 1.0000000000000000001 is not above 1 to whoever
  // parses it.
  std::size_t last() const {
    constexpr std::size_t kExact = 15;
    if (integer_) return length_;
    return std::max(
        {length_ + 1, kExact, std::min(std::max(low_.size(), high_.size()) + 1, length_ + kMaxDigits)});
  }

  // Whether the number may end behind `at` digits.
  bool may_end(std::size_t at, Tight tight) const {
    if (tight.low && (low_exclusive_ || at < low_.size())) return false;
    return !tight.high || !high_exclusive_ || at < high_.size();
  }

  // What may follow `at` digits; "" where nothing can.
  std::string rest(std::size_t at, Tight tight) const {
    if (at != length_) return more(at, tight);
    const bool ends = may_end(at, tight);
    const std::string fraction = integer_ ? "" : more(at, tight);
    if (fraction.empty()) return ends ? "\"\"" : "";
    return ends ? "(\".\" " + fraction + ")?" : "\".\" " + fraction;
  }

  std::string more(std::size_t at, Tight tight) const {
    const bool low_ends = tight.low && at >= low_.size();
    const bool high_ends = tight.high && at >= high_.size();
    if (low_ends && !low_exclusive_) tight.low = false;
    if (!tight.low && !tight.high) return free(at);
    const std::size_t least = at == length_ ? 1 : 0;
    if (high_ends) return tight.low || high_exclusive_ ? "" : digits(least, last() - at, "\"0\"");
    if (low_ends && !tight.high && at < last()) {
      const std::size_t others = last() - at - 1;
      return digits(0, others, "\"0\"") + " [1-9] " + digits(0, others);
    }
    std::vector<std::string> alternatives;
    if (at > length_ && may_end(at, tight)) alternatives.emplace_back("\"\"");
    if (at < last()) add_digits(at, tight, alternatives);
    return join(alternatives);
  }

  void add_digits(std::size_t at, Tight tight, std::vector<std::string>& alternatives) const {
    const char smallest = at == 0 && length_ > 1 ? '1' : '0';
    const char low = tight.low ? digit_of(low_, at) : smallest;
    const char high = tight.high ? digit_of(high_, at) : '9';
    const auto add = [&](char from, char to, Tight then) {
      if (from > to) return;
      const std::string behind = rest(at + 1, then);
      if (!behind.empty()) alternatives.push_back(digit(from, to) + (behind == "\"\"" ? "" : " " + behind));
    };
    if (tight.low && tight.high && low == high) {
      add(low, low, tight);
      return;
    }
    if (tight.low) add(low, low, {true, false});
    add(static_cast<char>(low + (tight.low ? 1 : 0)), static_cast<char>(high - (tight.high ? 1 : 0)), {});
    if (tight.high) add(high, high, {false, true});
  }

  // Any digits behind `at` of them.
  std::string free(std::size_t at) const {
    if (at > length_) return digits(0, last() - at);
    if (at == length_) return digits(1, last() - at);
    const std::string first = at == 0 && length_ > 1 ? "[1-9] " : "";
    const std::size_t count = length_ - at - (first.empty() ? 0 : 1);
    return first + digits(count, count) + (integer_ ? "" : " (\".\" " + digits(1, last() - length_) + ")?");
  }

  static char digit_of(const std::string& bound, std::size_t at) {
    return at < bound.size() ? bound[at] : '0';
  }

  std::size_t length_;
  bool integer_;
  std::string low_;
  std::string high_;
  bool low_counts_ = false;
  bool high_counts_ = false;
  bool low_exclusive_ = false;
  bool high_exclusive_ = false;
};

std::size_t whole_length(const Decimal& value) { return std::max<std::size_t>(value.whole.size(), 1); }

// The numbers of a range with a bound of at least zero below.
std::vector<std::string> at_least_zero(const NumberRange& range) {
  const std::size_t shortest = whole_length(range.low->at);
  const std::size_t longest = range.high ? std::min(whole_length(range.high->at), kMaxDigits) : kMaxDigits;
  std::vector<std::string> alternatives;
  const auto add = [&](const std::string& written) {
    if (!written.empty()) alternatives.push_back(written);
  };
  if (range.high && compare_digits(range.low->at, range.high->at) > 0) return {};
  std::size_t length = shortest;
  if (length <= longest) add(Digits(range, length++).written());
  // Between the lengths of the bounds every number is one of the range.
  const bool last_bounded = range.high && whole_length(range.high->at) == longest;
  const std::size_t free_end = last_bounded ? longest : longest + 1;
  if (length < free_end) {
    add("[1-9] " + digits(length - 1, free_end - 2) +
        (range.integer ? "" : " (\".\" " + digits(1, kMaxDigits) + ")?"));
    length = free_end;
  }
  if (length <= longest) add(Digits(range, length).written());
  return alternatives;
}

bool is_zero(const Decimal& value) { return value.whole.empty() && value.fraction.empty(); }

}  // namespace

Decimal parse_decimal(const std::string& digits) {
  Decimal value;
  value.negative = digits.starts_with('-');
  const std::size_t from = value.negative ? 1 : 0;
  const std::size_t point = std::min(digits.find('.'), digits.size());
  value.whole = digits.substr(from, point - from);
  if (point < digits.size()) value.fraction = digits.substr(point + 1);
  value.whole.erase(0, std::min(value.whole.find_first_not_of('0'), value.whole.size()));
  value.fraction.erase(value.fraction.find_last_not_of('0') + 1);
  if (is_zero(value)) value.negative = false;
  return value;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  return a.negative ? compare_digits(b, a) : compare_digits(a, b);
}

std::optional<std::string> number_range(const NumberRange& range) {
  const auto opposite = [](NumberBound bound) {
    bound.at.negative = !bound.at.negative && !is_zero(bound.at);
    return bound;
  };
  std::vector<std::string> alternatives;
  if (!range.low || range.low->at.negative) {  // numbers below zero: those of the mirrored range above it
    NumberRange mirrored{NumberBound{{}, true}, std::nullopt, range.integer};
    if (range.low) mirrored.high = opposite(*range.low);
    if (range.high && (range.high->at.negative || is_zero(range.high->at))) {
      mirrored.low = opposite(*range.high);
      if (is_zero(range.high->at)) mirrored.low->exclusive = true;
    }
    for (const std::string& one : at_least_zero(mirrored)) alternatives.push_back("\"-\" " + one);
  }
  if (!range.high || !range.high->at.negative) {
    NumberRange upper = range;
    if (!range.low || range.low->at.negative) upper.low = NumberBound{};
    for (const std::string& one : at_least_zero(upper)) alternatives.push_back(one);
  }
  if (alternatives.empty()) return std::nullopt;
  return alternatives.size() == 1 ? "(" + alternatives[0] + ")" : join(alternatives);
}

}  // namespace baton::text
