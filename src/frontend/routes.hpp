// The routing table: method and target to an endpoint. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace baton::frontend {

enum class Endpoint : std::uint8_t {
  chat_completions,
  completions,
  models,
  model,  // Route::argument is the id
  tokenize,
  detokenize,
  health,
  ready,
  version,
  metrics,
  cluster,
  explain,
};

struct Route {
  int status = 200;  // 404 or 405 where there is no endpoint
  Endpoint endpoint = Endpoint::health;
  std::string argument;
  std::string_view allow;  // with 405: the methods that the path knows
  bool head_only = false;
};

Route find_route(std::string_view method, std::string_view target);

// %41 to A; a broken escape stays as it is.
std::string percent_decode(std::string_view text);

}  // namespace baton::frontend
