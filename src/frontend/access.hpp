// Who asks, and may they: the one place that decides it, for every route of every listener. Pure.
#pragma once

#include <optional>
#include <string>

#include "baton/frontend/api_keys.hpp"
#include "frontend/errors.hpp"
#include "frontend/http_message.hpp"
#include "frontend/routes.hpp"

namespace baton::frontend {

struct Caller {
  bool known = false;  // has a key, or there are none: may learn which node answers
  std::string tenant;  // the key's name; empty without keys
};

// Fills in `caller` and gives the refusal, if it is one. `keys` null: the listener asks for none. Looks at
// the head only, so that nobody's body is read for nothing.
std::optional<ApiError> refuse_access(const HttpRequest& request, Access access, const ApiKeys* keys,
                                      Caller& caller);

// What keeps the cached prefixes of one (tenant, cache_salt) apart from every other's: the only thing that a
// client sends, beside its tokens, that reaches block hashes, peers and transfers. A digest, so that neither
// its length nor its bytes are the client's. Empty for no tenant and no salt.
std::string isolation_salt(const std::string& tenant, const std::string& cache_salt);

}  // namespace baton::frontend
