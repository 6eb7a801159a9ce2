#include "frontend/request_metrics.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

namespace baton::frontend {
namespace {

const std::vector<double> kSeconds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,   2.5,
                                      5,     10,   20,    40,   80,  160,  320, 640, 1280};
const std::vector<double> kTokenSeconds = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075,
                                           0.1,   0.15,   0.2,   0.3,  0.5,  0.75, 1,    2.5,  5};
const std::vector<double> kTokens = {1,    2,    5,    10,    20,    50,    100,    200,    500,
                                     1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

Labels dynamo(const std::string& model) { return {{"model", lower(model)}}; }
Labels vllm(const std::string& model) { return {{"engine", "0"}, {"model_name", model}}; }
Labels with(Labels labels, const std::string& key, const std::string& value) {
  labels[key] = value;
  return labels;
}

constexpr std::array kEndpointNames{"chat_completions", "completions", "embeddings"};

std::size_t place_of(Endpoint endpoint) {
  return endpoint == Endpoint::chat_completions ? 0 : endpoint == Endpoint::completions ? 1 : 2;
}

constexpr const char* kSuccessHelp = "Choices that ended, by reason";

}  // namespace

RequestMetrics::RequestMetrics(MetricsRegistry& r, const std::string& m)
    : inflight_(r.gauge("dynamo_frontend_inflight_requests", "Requests being answered", dynamo(m))),
      queued_(r.gauge("dynamo_frontend_queued_requests", "Requests without a first token yet", dynamo(m))),
      output_tokens_(r.counter("dynamo_frontend_output_tokens_total", "Tokens generated", dynamo(m))),
      duration_(r.histogram("dynamo_frontend_request_duration_seconds", "From arrival to the last byte",
                            kSeconds, dynamo(m))),
      first_token_(r.histogram("dynamo_frontend_time_to_first_token_seconds",
                               "From arrival to the first token", kSeconds, dynamo(m))),
      inter_token_(r.histogram("dynamo_frontend_inter_token_latency_seconds", "Between tokens of a choice",
                               kTokenSeconds, dynamo(m))),
      input_length_(
          r.histogram("dynamo_frontend_input_sequence_tokens", "Prompt lengths", kTokens, dynamo(m))),
      output_length_(
          r.histogram("dynamo_frontend_output_sequence_tokens", "Output lengths", kTokens, dynamo(m))),
      prompt_tokens_(r.counter("vllm:prompt_tokens_total", "Prompt tokens", vllm(m))),
      generation_tokens_(r.counter("vllm:generation_tokens_total", "Tokens generated", vllm(m))),
      vllm_e2e_(r.histogram("vllm:e2e_request_latency_seconds", "From arrival to the last byte", kSeconds,
                            vllm(m))),
      vllm_first_token_(r.histogram("vllm:time_to_first_token_seconds", "From arrival to the first token",
                                    kSeconds, vllm(m))),
      vllm_inter_token_(r.histogram("vllm:inter_token_latency_seconds", "Between tokens of a choice",
                                    kTokenSeconds, vllm(m))),
      vllm_prompt_length_(r.histogram("vllm:request_prompt_tokens", "Prompt lengths", kTokens, vllm(m))),
      vllm_generation_length_(
          r.histogram("vllm:request_generation_tokens", "Output lengths", kTokens, vllm(m))),
      queue_time_(
          r.histogram("vllm:request_queue_time_seconds", "Waiting for the engine", kSeconds, vllm(m))),
      prefill_time_(r.histogram("vllm:request_prefill_time_seconds", "In prefill", kSeconds, vllm(m))),
      decode_time_(r.histogram("vllm:request_decode_time_seconds", "In decode", kSeconds, vllm(m))),
      success_stop_(
          r.counter("vllm:request_success_total", kSuccessHelp, with(vllm(m), "finished_reason", "stop"))),
      success_length_(
          r.counter("vllm:request_success_total", kSuccessHelp, with(vllm(m), "finished_reason", "length"))),
      success_abort_(
          r.counter("vllm:request_success_total", kSuccessHelp, with(vllm(m), "finished_reason", "abort"))) {
  for (std::size_t i = 0; i < requests_.size() * 4; ++i) {
    Labels labels = dynamo(m);
    const std::size_t endpoint = i / 4, stream = i / 2 % 2, ending = i % 2;
    if (endpoint == place_of(Endpoint::embeddings) && stream != 0) continue;  // there are none
    labels["endpoint"] = kEndpointNames[endpoint];
    labels["request_type"] = stream != 0 ? "stream" : "unary";
    labels["status"] = ending != 0 ? "error" : "success";
    requests_[endpoint][stream][ending] =
        &r.counter("dynamo_frontend_requests_total", "Requests by endpoint and outcome", labels);
  }
}

RequestMetrics::Record::Record(RequestMetrics& metrics, Endpoint endpoint, TimePoint arrival)
    : metrics_(metrics), endpoint_(place_of(endpoint)), arrival_(arrival) {
  metrics_.inflight_.add(1);
  metrics_.queued_.add(1);
}

RequestMetrics::Record::~Record() {
  metrics_.inflight_.add(-1);
  if (queued_) metrics_.queued_.add(-1);
  metrics_.requests_[endpoint_][stream_ ? 1 : 0][ending_ == Ending::error ? 1 : 0]->add();
  if (ending_ != Ending::success) return;
  const double seconds = to_seconds(std::chrono::steady_clock::now() - arrival_);
  metrics_.duration_.observe(seconds);
  metrics_.vllm_e2e_.observe(seconds);
}

void RequestMetrics::Record::prompt(std::size_t tokens) {
  const auto n = static_cast<double>(tokens);
  metrics_.prompt_tokens_.add(n);
  metrics_.input_length_.observe(n);
  metrics_.vllm_prompt_length_.observe(n);
}

void RequestMetrics::Record::token(bool first_of_choice, TimePoint previous, TimePoint now) {
  metrics_.output_tokens_.add();
  metrics_.generation_tokens_.add();
  if (queued_) {
    queued_ = false;
    metrics_.queued_.add(-1);
    const double seconds = to_seconds(now - arrival_);
    metrics_.first_token_.observe(seconds);
    metrics_.vllm_first_token_.observe(seconds);
  }
  if (!first_of_choice) {
    const double seconds = to_seconds(now - previous);
    metrics_.inter_token_.observe(seconds);
    metrics_.vllm_inter_token_.observe(seconds);
  }
}

void RequestMetrics::Record::finished(const FinishEvent& event) {
  metrics_.queue_time_.observe(event.queue_ms / 1e3);
  metrics_.prefill_time_.observe(event.prefill_ms / 1e3);
  if (event.embedding.empty()) metrics_.decode_time_.observe(event.decode_ms / 1e3);
}

void RequestMetrics::Record::choice_ended(std::string_view reason, std::uint64_t tokens) {
  const auto n = static_cast<double>(tokens);
  metrics_.output_length_.observe(n);
  metrics_.vllm_generation_length_.observe(n);
  (reason == "stop"     ? metrics_.success_stop_
   : reason == "length" ? metrics_.success_length_
                        : metrics_.success_abort_)
      .add();
}

}  // namespace baton::frontend
