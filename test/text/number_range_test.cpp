// Numbers between bounds, against comparing them.
#include "text/grammar_text/number_range.hpp"

#include <algorithm>

#include "baton/text/grammar.hpp"
#include "support/catch.hpp"

using namespace baton;
using text::Decimal;
using text::NumberBound;
using text::NumberRange;

namespace {

bool lies_in(const Decimal& value, const NumberRange& range) {
  const int low = range.low ? text::compare(value, range.low->at) : 1;
  const int high = range.high ? text::compare(range.high->at, value) : 1;
  return (low > 0 || (low == 0 && !range.low->exclusive)) &&
         (high > 0 || (high == 0 && !range.high->exclusive));
}

// Fails at the first one; an assertion for each would take most of the time.
void check_all(const NumberRange& range, const std::vector<std::string>& numbers) {
  const auto written = text::number_range(range);
  const std::string grammar = "root ::= " + written.value_or("");
  for (const std::string& number : numbers) {
    const bool expected = lies_in(text::parse_decimal(number), range) &&
                          !(range.integer && number.find('.') != std::string::npos);
    const auto result = written ? follows_grammar(grammar, number) : Result<bool>(false);
    if (!result.has_value() || *result != expected) FAIL(grammar << " with " << number);
  }
}

// Every pair of bounds, with and without themselves, also one bound alone.
void check_pairs(const std::vector<std::string>& bounds, bool integer,
                 const std::vector<std::string>& numbers) {
  std::vector<std::optional<NumberBound>> choices = {std::nullopt};
  for (const std::string& bound : bounds) {
    for (const bool exclusive : {false, true})
      choices.push_back(NumberBound{text::parse_decimal(bound), exclusive});
  }
  for (const auto& low : choices) {
    for (const auto& high : choices) {
      if (low || high) check_all({low, high, integer}, numbers);
    }
  }
}

}  // namespace

TEST_CASE("decimals compare by value") {
  const std::vector<std::string> ascending = {"-100", "-20.5", "-20", "-3",   "-0.01", "0",     "0.009",
                                              "0.01", "0.1",   "1",   "9.99", "10",    "100.01"};
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    for (std::size_t j = 0; j < ascending.size(); ++j) {
      const int order = text::compare(text::parse_decimal(ascending[i]), text::parse_decimal(ascending[j]));
      INFO(ascending[i] << " and " << ascending[j]);
      CHECK((order < 0) == (i < j));
      CHECK((order > 0) == (i > j));
    }
  }
  CHECK(text::compare(text::parse_decimal("-0.00"), text::parse_decimal("0")) == 0);
  CHECK(text::compare(text::parse_decimal("007.50"), text::parse_decimal("7.5")) == 0);
}

TEST_CASE("integers between bounds") {
  std::vector<std::string> numbers = {
      "999", "1000", "-999", "-1000", "5.0", "12345678901234567890", "-12345678901234567890"};
  for (int i = -125; i <= 125; i += std::abs(i) > 21 && std::abs(i) < 97 ? 7 : 1)
    numbers.push_back(std::to_string(i));
  check_pairs({"-101", "-100", "-11", "-1.5", "0", "0.5", "9", "10", "19", "99", "110"}, true, numbers);
}

TEST_CASE("numbers between bounds") {
  std::vector<std::string> numbers = {
      "100",    "-100", "0.001", "-0.001", "1.0005", "0.50000000000001", "9.99999999999999",
      "-1.500", "1.00", "0.0"};
  for (int i = -56; i <= 56; i += std::abs(i) > 14 && std::abs(i) < 44 ? 5 : 1) {
    const std::string whole = std::to_string(std::abs(i) / 5) + "." + std::to_string(std::abs(i) % 5 * 2);
    numbers.push_back((i < 0 ? "-" : "") + whole + "5");
    if (i % 5 == 0 && i >= 0) numbers.push_back(std::to_string(i / 5));
  }
  check_pairs({"-10.25", "-2", "-0.05", "0", "0.5", "1.25", "9.95"}, false, numbers);
}

TEST_CASE("spellings of numbers between bounds") {
  const NumberRange range{NumberBound{text::parse_decimal("0.5"), false},
                          NumberBound{text::parse_decimal("20"), false}, false};
  const std::string grammar = "root ::= " + text::number_range(range).value();
  for (const char* number : {"0.5", "0.50", "1", "1.000", "20", "20.00", "0.51"})
    CHECK(*follows_grammar(grammar, number));
  for (const char* number :
       {"", "-1", "01", "1.", ".5", "0", "0.4", "0.49", "20.01", "1e1", "020", "0.", "2.0.0", "5 "})
    CHECK_FALSE(*follows_grammar(grammar, number));
  const NumberRange to_zero{std::nullopt, NumberBound{}, true};
  CHECK(*follows_grammar("root ::= " + text::number_range(to_zero).value(), "0"));
  CHECK_FALSE(*follows_grammar("root ::= " + text::number_range(to_zero).value(), "-0"));
  const NumberBound small{text::parse_decimal("1"), false};
  const NumberBound large{text::parse_decimal("100000000000000000000000"), false};  // 24 digits
  CHECK_FALSE(text::number_range({large, std::nullopt, false}).has_value());
  CHECK(text::number_range({small, large, true}).has_value());
  CHECK_FALSE(text::number_range({large, small, false}).has_value());
}
