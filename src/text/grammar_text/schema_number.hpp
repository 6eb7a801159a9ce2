// The bounds that a schema sets to numbers.
#pragma once

#include "text/grammar_text/number_range.hpp"
#include "text/grammar_text/schema_writer.hpp"

namespace baton::text {

Decimal decimal_of(const Json& number);
NumberRange number_bounds(SchemaWriter& writer, const Json& schema, const SchemaPlace& place);
bool lies_in(const Decimal& value, const NumberRange& range);

}  // namespace baton::text
