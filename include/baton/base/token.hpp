// TokenId: an index into a model's vocabulary. Here because text, model and everything above speak of it.
#pragma once

#include <cstdint>

namespace baton {

using TokenId = std::int32_t;

}  // namespace baton
