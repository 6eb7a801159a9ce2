// The flags of `baton bench` that describe a load, and how they become prompts and requests. `baton plan
// --verify` sends the same loads.
#pragma once

#include <string>
#include <vector>

#include "baton/base/config.hpp"
#include "baton/bench/client.hpp"
#include "baton/bench/prompts.hpp"

namespace baton::bench {

struct BenchOptions {
  std::string url = "http://127.0.0.1:8000", model, endpoint = "chat", api_key, ca_file, tokenizer,
              pattern = "poisson";
  std::vector<std::string> extra;
  std::string input_file, input_type = "auto", streaming = "on";
  std::int32_t requests = 0, warm_up = 0, seed = 0, prefixes = 0, prefix_length = 0, conversations = 0,
               shrink = 1, runs = 1;
  double isl = 550, isl_stddev = 0, osl = 0, osl_stddev = 0, rate = 0, smoothness = 1, turns = 1,
         turns_stddev = 0, turn_delay = 0, turn_delay_stddev = 0, cancel = 0, speed = 1;
  Duration duration{}, ramp{}, timeout = std::chrono::minutes(10), cancel_after{},
                               grace = std::chrono::seconds(30);
  bool open_loop() const { return rate > 0 || !input_file.empty(); }
  std::string base_url() const;
};
std::vector<ConfigRow> bench_rows(BenchOptions& options);

struct Prepared {
  Target target;
  std::vector<Conversation> conversations;
};
// Asks the server for its model and its tokenizer, and writes the prompts.
Result<Prepared> prepare(const BenchOptions& options,
                         const std::function<void(std::size_t, std::size_t)>& progress);

// The warm-up, if any, and then the load; the `turn`-th of `options.runs`, each with prompts of its own.
// `shown` gets the progress and how many requests there will be.
Result<RunResult> run_prepared(const Prepared& prepared, const BenchOptions& options, int concurrency,
                               int turn, const std::function<void(const Progress&, std::size_t)>& shown);

}  // namespace baton::bench
