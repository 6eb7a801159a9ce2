#include "plan/table.hpp"

#include <cmath>
#include <cstdio>

namespace baton {
namespace {

std::string times(double a, int b) {
  return fixed(a * b, 0) + " (=" + fixed(a, 0) + "x" + std::to_string(b) + ")";
}

}  // namespace

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string grouped(double value) {
  std::string text = fixed(value, 2);
  const std::size_t point = text.find('.');
  for (std::size_t at = point; at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string parallel(const Split& split) {
  std::string text = "tp" + std::to_string(split.tensor) + "pp" + std::to_string(split.pipeline);
  if (split.data > 1) text += "dp" + std::to_string(split.data);
  if (split.tensor * split.data > 1 && split.expert_tensor < split.tensor * split.data)
    text += "etp" + std::to_string(split.expert_tensor) + "ep" + std::to_string(split.expert_parallel());
  return text;
}

std::vector<TextRow> choice_rows(const std::vector<Choice>& choices) {
  if (choices.empty()) return {};
  const bool apart = choices.front().disaggregated;
  std::vector<TextRow> rows{{"Rank", "tokens/s/gpu", "tokens/s/user", "TTFT", "TPOT", "request_latency",
                             "concurrency", "total_gpus (used)", "replicas"}};
  const TextRow last =
      apart ? TextRow{"(p)workers", "(p)parallel", "(p)bs", "(d)workers", "(d)parallel", "(d)bs"}
            : TextRow{"parallel", "bs"};
  rows.front().insert(rows.front().end(), last.begin(), last.end());
  for (const Choice& c : choices) {
    const Estimate& e = c.estimate;
    TextRow row{std::to_string(rows.size()),      fixed(c.tokens_per_gpu, 2), fixed(e.tokens_per_user, 2),
                fixed(e.ttft * 1e3, 2),           fixed(e.tpot * 1e3, 2),     fixed(e.latency * 1e3, 2),
                times(e.concurrency, c.replicas), times(e.gpus, c.replicas),  std::to_string(c.replicas)};
    const TextRow own =
        apart
            ? TextRow{std::to_string(c.prefill_workers), parallel(c.prefill), std::to_string(c.prefill_batch),
                      std::to_string(c.decode_workers),  parallel(c.decode),  std::to_string(c.batch)}
            : TextRow{parallel(c.split), std::to_string(c.batch)};
    row.insert(row.end(), own.begin(), own.end());
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace baton
