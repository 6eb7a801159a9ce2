#include "frontend/access.hpp"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace baton::frontend {
namespace {

// The credentials of "Bearer ..." (RFC 6750), else x-api-key, which some clients send instead.
std::string_view presented_key(const HttpRequest& request) {
  constexpr std::string_view kBearer = "bearer ";
  const std::string_view header = request.authorization;
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  if (header.size() < kBearer.size() ||
      !std::equal(kBearer.begin(), kBearer.end(), header.begin(), [&](char b, char a) { return same(a, b); }))
    return request.x_api_key;
  const std::string_view key = header.substr(kBearer.size());
  return key.substr(std::min(key.find_first_not_of(' '), key.size()));
}

}  // namespace

std::optional<ApiError> refuse_access(const HttpRequest& request, Access access, const ApiKeys* keys,
                                      Caller& caller) {
  caller = Caller();
  caller.known = keys == nullptr;
  if (keys == nullptr || access == Access::open) return std::nullopt;
  const std::string_view presented = presented_key(request);
  const auto denied = [](const char* why) { return api_error(make_error(ErrorCode::unauthenticated, why)); };
  if (presented.empty()) {
    return denied("This server needs an API key: send it as 'Authorization: Bearer KEY'.");
  }
  const ApiKey* key = keys->find(presented);
  if (key == nullptr) return denied("Incorrect API key provided.");
  if (access == Access::admin && !key->admin) {
    return http_error(403, "This API key may not use the administration's routes.");
  }
  caller.known = true;
  caller.tenant = key->name;
  return std::nullopt;
}

std::string isolation_salt(const std::string& tenant, const std::string& cache_salt) {
  if (tenant.empty() && cache_salt.empty()) return {};
  // The length in front: no tenant and salt can be taken for another pair.
  return to_hex(sha256(std::to_string(tenant.size()) + ":" + tenant + cache_salt));
}

}  // namespace baton::frontend
