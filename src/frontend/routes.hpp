// The routing table: method and target to an endpoint, and who may use it where. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace baton::frontend {

enum class Endpoint : std::uint8_t {
  chat_completions,
  completions,
  embeddings,
  models,
  model,  // Route::argument is the id
  tokenize,
  detokenize,
  health,
  live,
  ready,
  version,
  metrics,
  cluster,
  explain,
  role,  // Route::argument is the engine's node
};

enum class Access : std::uint8_t {
  open,   // everybody, on every listener, without a key: what load balancers and probes ask
  api,    // clients: any key, where there are keys
  admin,  // operators: a key marked `admin`, where there are keys
};

// Which routes a listener has, the open ones aside.
struct ListenerRoutes {
  bool api = true;
  bool admin = true;
};

struct Route {
  int status = 200;  // 404 or 405 where there is no endpoint
  Endpoint endpoint = Endpoint::health;
  Access access = Access::api;  // also of what is not there: who has no key is not told
  std::string argument;
  std::string_view allow;  // with 405: the methods that the path knows
  bool head_only = false;
};

Route find_route(std::string_view method, std::string_view target, const ListenerRoutes& listener = {});

// %41 to A; a broken escape stays as it is.
std::string percent_decode(std::string_view text);

}  // namespace baton::frontend
