// Runs a load against an OpenAI-compatible server and records when every piece of every answer came. One
// thread.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "baton/base/result.hpp"
#include "baton/bench/prompts.hpp"
#include "baton/bench/record.hpp"

namespace baton::bench {

struct Target {
  std::string host;
  std::uint16_t port = 80;
  bool tls = false;
  std::string ca_file;  // of the certificate's issuer; empty: the system's
  std::string path;     // "/v1/chat/completions"
  std::string api_key;
  std::string model;
  bool chat = true, streaming = true;
  nlohmann::json extra = nlohmann::json::object();  // merged into every request
};
// "http://host:port", "https://...", "host:port". An error names --url.
Result<Target> parse_target(const std::string& url);

struct LoadOptions {
  int concurrency = 0;                // closed loop, or at most so many at a time in an open one; 0: no limit
  std::vector<double> arrivals = {};  // open loop: when conversations begin; empty: closed loop
  std::size_t conversations =
      0;                 // to begin; those given are used again from the first where they do not last
  double ramp = 0;       // closed loop: seconds until all of them have started
  double duration = 0;   // seconds after which none begins; 0: until all are through
  double grace = 30;     // seconds that running ones get then
  double timeout = 600;  // of one request
  double cancel_share = 0, cancel_after = 0;  // of requests; seconds after their send
  bool warm_up = false;                       // its records say so
  std::uint64_t seed = 0;
};

struct Progress {
  double seconds = 0;
  std::size_t begun = 0, done = 0, failed = 0, running = 0;
  std::int64_t output_tokens = 0;
};

// `progress` is called about ten times a second.
Result<RunResult> run_load(const Target& target, const std::vector<Conversation>& conversations,
                           const LoadOptions& options,
                           const std::function<void(const Progress&)>& progress = {});

}  // namespace baton::bench
