// Numbers between bounds, as digits: "-"? then what may follow digit by digit while the number is still equal
// to the beginning of a bound, and any digits from where it differs.
//
// Numbers are written without exponent, with at most kMaxDigits digits before the point and behind it: enough
// for 64-bit integers, and no model writes digits for ever.
#pragma once

#include <optional>
#include <string>

namespace baton::text {

inline constexpr std::size_t kMaxDigits = 20;

// A number in decimal digits. Invariant: no zeros at the left of `whole` ("" for what is below one) and none
// at the right of `fraction`; zero is not negative.
struct Decimal {
  bool negative = false;
  std::string whole;
  std::string fraction;
};

// From "-12.50" or "3"; the digits of a JSON number without exponent.
Decimal parse_decimal(const std::string& digits);
int compare(const Decimal& a, const Decimal& b);  // as <=> does

struct NumberBound {
  Decimal at;
  bool exclusive = false;
};

struct NumberRange {
  std::optional<NumberBound> low;
  std::optional<NumberBound> high;
  bool integer = false;
};

// An expression for the numbers in the range; none where it is empty.
std::optional<std::string> number_range(const NumberRange& range);

}  // namespace baton::text
