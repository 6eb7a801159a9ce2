// What the frontend counts per request, under the names that existing dashboards scrape
// (dynamo_frontend_*, vllm:*).
//
// Invariant: each request to the engines is counted once, begun and ended, whatever becomes of it.
// Thread-safe: the metrics are. Labels never carry what a client sent.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "baton/base/clock.hpp"
#include "baton/base/metrics.hpp"
#include "baton/schedule/service.hpp"
#include "frontend/routes.hpp"

namespace baton::frontend {

enum class Ending : std::uint8_t { success, error };

class RequestMetrics {
 public:
  RequestMetrics(MetricsRegistry& registry, const std::string& model_name);

  // One client request, from its arrival to its last byte.
  class Record {
   public:
    // `endpoint`: chat_completions, completions or embeddings.
    Record(RequestMetrics& metrics, Endpoint endpoint, TimePoint arrival);
    ~Record();  // counts the request; an error unless succeeded() was called
    Record(const Record&) = delete;
    Record& operator=(const Record&) = delete;

    void streaming(bool stream) { stream_ = stream; }
    void prompt(std::size_t tokens);  // one per prompt or input
    void token(bool first_of_choice, TimePoint previous, TimePoint now);
    void finished(const FinishEvent& event);                           // one per choice or input
    void choice_ended(std::string_view reason, std::uint64_t tokens);  // "stop", "length", "abort"
    void succeeded() { ending_ = Ending::success; }

   private:
    RequestMetrics& metrics_;
    const std::size_t endpoint_;
    bool stream_ = false;
    bool queued_ = true;  // no token yet
    Ending ending_ = Ending::error;
    TimePoint arrival_;
  };

 private:
  friend class Record;

  std::array<std::array<std::array<Counter*, 2>, 2>, 3> requests_{};  // by endpoint, streaming, ending
  Gauge& inflight_;
  Gauge& queued_;
  Counter& output_tokens_;
  Histogram& duration_;
  Histogram& first_token_;
  Histogram& inter_token_;
  Histogram& input_length_;
  Histogram& output_length_;
  Counter& prompt_tokens_;
  Counter& generation_tokens_;
  Histogram& vllm_e2e_;
  Histogram& vllm_first_token_;
  Histogram& vllm_inter_token_;
  Histogram& vllm_prompt_length_;
  Histogram& vllm_generation_length_;
  Histogram& queue_time_;
  Histogram& prefill_time_;
  Histogram& decode_time_;
  Counter& success_stop_;
  Counter& success_length_;
  Counter& success_abort_;
};

}  // namespace baton::frontend
