#include "frontend/routes.hpp"

#include <array>

namespace baton::frontend {
namespace {

enum class Method : std::uint8_t { get, post, put };  // get: HEAD, too

struct Row {
  std::string_view path;
  Method method;
  Endpoint endpoint;
  Access access = Access::api;
};

constexpr std::array kRows = {
    Row{"/v1/chat/completions", Method::post, Endpoint::chat_completions},
    Row{"/v1/completions", Method::post, Endpoint::completions},
    Row{"/v1/embeddings", Method::post, Endpoint::embeddings},
    Row{"/v1/models", Method::get, Endpoint::models},
    Row{"/tokenize", Method::post, Endpoint::tokenize},
    Row{"/detokenize", Method::post, Endpoint::detokenize},
    Row{"/version", Method::get, Endpoint::version},
    Row{"/health", Method::get, Endpoint::health, Access::open},
    Row{"/health/live", Method::get, Endpoint::live, Access::open},
    Row{"/health/ready", Method::get, Endpoint::ready, Access::open},
    Row{"/metrics", Method::get, Endpoint::metrics, Access::admin},
    Row{"/cluster", Method::get, Endpoint::cluster, Access::admin},
    Row{"/route/explain", Method::post, Endpoint::explain, Access::admin},
};
constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kEnginePrefix = "/engines/", kRoleSuffix = "/role";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "http://host:port/path" (a proxy's form) to "/path"; the query goes.
std::string_view path_of(std::string_view target) {
  for (const std::string_view scheme : {std::string_view("http://"), std::string_view("https://")}) {
    if (!target.starts_with(scheme)) continue;
    const std::size_t slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  return target.substr(0, target.find_first_of("?#"));
}

bool has(const ListenerRoutes& listener, Access access) {
  return access == Access::open || (access == Access::api ? listener.api : listener.admin);
}

Route with_method(std::string_view method, const Row& row) {
  Route route;
  route.endpoint = row.endpoint;
  route.access = row.access;
  const bool get = row.method == Method::get;
  route.head_only = get && method == "HEAD";
  const std::string_view wanted = get ? "GET" : row.method == Method::post ? "POST" : "PUT";
  if (method != wanted && !route.head_only) {
    route.status = 405;
    route.allow = get ? "GET, HEAD" : wanted;
  }
  return route;
}

}  // namespace

Route find_route(std::string_view method, std::string_view target, const ListenerRoutes& listener) {
  std::string_view path = path_of(target);
  for (const Row& row : kRows) {
    if (path == row.path && has(listener, row.access)) return with_method(method, row);
  }
  if (path.size() > kModelPrefix.size() && path.starts_with(kModelPrefix) && listener.api) {
    Route route = with_method(method, {kModelPrefix, Method::get, Endpoint::model});
    route.argument = percent_decode(path.substr(kModelPrefix.size()));
    return route;
  }
  if (path.starts_with(kEnginePrefix) && path.ends_with(kRoleSuffix) && listener.admin &&
      path.size() > kEnginePrefix.size() + kRoleSuffix.size()) {
    Route route = with_method(method, {kEnginePrefix, Method::put, Endpoint::role, Access::admin});
    path = path.substr(kEnginePrefix.size());
    route.argument = percent_decode(path.substr(0, path.size() - kRoleSuffix.size()));
    return route;
  }
  Route none;
  none.status = 404;
  none.head_only = method == "HEAD";
  return none;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const int high = hex_digit(text[i + 1]);
      const int low = hex_digit(text[i + 2]);
      if (high >= 0 && low >= 0) {
        out.push_back(static_cast<char>(high * 16 + low));
        i += 2;
        continue;
      }
    }
    out.push_back(text[i]);
  }
  return out;
}

}  // namespace baton::frontend
