#include "text/grammar_text/schema_number.hpp"

#include <array>
#include <charconv>

namespace baton::text {

Decimal decimal_of(const Json& number) {
  if (number.is_number_integer()) return parse_decimal(number.dump());
  std::array<char, 512> digits{};  // the shortest that read as the same double: up to 309 before the point
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number.get<double>(),
                                 std::chars_format::fixed);
  return parse_decimal(std::string(digits.data(), end.ptr));
}

NumberRange number_bounds(SchemaWriter& writer, const Json& schema, const SchemaPlace& place) {
  NumberRange range;
  const auto read = [&](const char* keyword, bool exclusive, std::optional<NumberBound>& bound, int tighter) {
    const auto found = schema.find(keyword);
    if (found == schema.end()) return;
    if (!found->is_number()) {
      writer.errors().invalid(path_of(place.path, keyword), "must be a number");
      return;
    }
    const NumberBound given{decimal_of(*found), exclusive};
    const int order = bound ? compare(given.at, bound->at) * tighter : 1;
    if (order > 0 || (order == 0 && exclusive)) bound = given;
  };
  read("minimum", false, range.low, 1);
  read("exclusiveMinimum", true, range.low, 1);
  read("maximum", false, range.high, -1);
  read("exclusiveMaximum", true, range.high, -1);
  return range;
}

bool lies_in(const Decimal& value, const NumberRange& range) {
  const int above = range.low ? compare(value, range.low->at) : 1;
  const int below = range.high ? compare(range.high->at, value) : 1;
  return (above > 0 || (above == 0 && !range.low->exclusive)) &&
         (below > 0 || (below == 0 && !range.high->exclusive));
}

std::optional<std::string> write_number(SchemaWriter& writer, const Json& schema, const SchemaPlace& place,
                                        bool integer) {
  NumberRange range = number_bounds(writer, schema, place);
  range.integer = integer;
  if (!range.low && !range.high) return integer ? json_integer(writer.out()) : json_number(writer.out());
  const auto written = number_range(range);
  if (!written) return writer.nothing(place, "", "no number lies between its bounds");
  return writer.out().rule("number", *written);
}

}  // namespace baton::text
