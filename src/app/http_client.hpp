// One HTTP request to a daemon, for the subcommands that look at a running cluster. Over libcurl.
#pragma once

#include <string>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"

namespace baton {

struct HttpCall {
  std::string url;
  std::string method = "GET";
  std::string body = {};     // JSON; empty: none
  std::string api_key = {};  // empty: none
  Duration timeout = std::chrono::seconds(5);
};

// The body of a 2xx answer. Otherwise the daemon's own error, unavailable where it could not be reached.
Result<std::string> http_call(const HttpCall& call);

// What `--api-key` gives, else the environment's BATON_API_KEY, so that it need not stand on a command line.
std::string api_key_or_environment(const std::string& flag);

}  // namespace baton
