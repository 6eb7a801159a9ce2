// What gpt-oss's chat template wants otherwise than others: it knows reasoning as `thinking`, takes either
// that or content beside a call, and fails on a content that is null and on a function without description.
#pragma once

#include "frontend/openai/json_fields.hpp"

namespace baton::frontend {

// Of checked messages and tools.
void make_harmony_variables(Json& variables);

}  // namespace baton::frontend
