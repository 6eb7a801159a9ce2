// What was measured of one request. All times are seconds of the client's steady clock since the run began.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace baton::bench {

enum class Outcome : std::uint8_t { completed, failed, cancelled };

struct Record {
  std::int64_t index = 0;
  std::int32_t turn = 0;  // of its conversation
  Outcome outcome = Outcome::failed;
  bool warm_up = false;
  double scheduled = 0;  // when the load wanted it sent
  double sent = 0;       // when its first byte left
  double first = 0;      // first non-empty content; 0: none came
  double second = 0;     // the next one
  double last = 0;       // the last one
  double ended = 0;      // the answer's end, usage included
  std::int64_t input_tokens = 0, output_tokens = 0;
  std::int64_t chunks = 0;  // with content
  std::string error;        // empty unless failed
};

struct RunResult {
  std::vector<Record> records;
  double begin = 0, end = 0;  // first send to last answer, warm-up left out
  double client_cpu = 0;      // seconds of processor time of this process meanwhile
};

}  // namespace baton::bench
