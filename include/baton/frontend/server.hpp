// The HTTP frontend: OpenAI-compatible endpoints, health, metrics and admin, over one InferenceService.
//
// It owns connections and nothing else. The accepting daemon owns the client's stream for its whole life:
// text, stop strings and response assembly live here, so they survive the death of any engine. Plain
// interface: Beast stays in the .cpp files.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/log.hpp"
#include "baton/base/metrics.hpp"
#include "baton/base/result.hpp"
#include "baton/base/token_mask.hpp"
#include "baton/model/adapter.hpp"
#include "baton/model/config.hpp"
#include "baton/schedule/scheduler.hpp"
#include "baton/schedule/service.hpp"
#include "baton/text/answer_format.hpp"
#include "baton/text/chat_template.hpp"
#include "baton/text/tokenizer.hpp"

namespace baton {

struct ListenAddress {
  std::string host;
  std::uint16_t port = 0;  // 0: any free one
};

struct FrontendOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;  // 0: any free one
  int io_threads = 1;
  int text_threads = 1;
  int format_threads = 2;                // for what binds answers: one slow format does not hold up others
  std::size_t max_queued_formats = 256;  // requests that wait for these threads; beyond it 429
  std::size_t max_body_bytes = 4 << 20;
  std::size_t max_connections = 4096;
  std::size_t max_queued_requests = 1024;    // choices in flight towards the engines; beyond it 429 with
                                             // Retry-After
  std::size_t max_buffered_bytes = 1 << 20;  // of one response, waiting for a slow client; then it is dropped
  Duration header_timeout =
      std::chrono::seconds(15);  // request line and headers; before it, the TLS handshake
  Duration body_timeout = std::chrono::seconds(30);
  Duration write_timeout = std::chrono::seconds(30);    // a client that stops reading
  Duration idle_timeout = std::chrono::seconds(75);     // keep-alive
  Duration request_timeout = std::chrono::minutes(10);  // whole request; its deadline at the engine
  std::string node_name;                                // header x-baton-node, for who may ask; empty: none
  ListenAddress admin;          // where the admin routes are instead; an empty host: with the others
  std::string api_key_file;     // api_keys.hpp; empty: everybody may ask everything
  std::string tls_certificate;  // chain in PEM, with tls_key; then every listener speaks TLS only
  std::string tls_key;          // PEM
};

struct ServedModel {
  std::vector<std::string> names;  // at least one; the first is what responses say
  std::int32_t context = 0;        // tokens
  std::int64_t created = 0;        // seconds since 1970
  GenerationDefaults generation;
  std::int32_t vocab = 0;
  AnswerFormat answer;                // how it writes tool calls and reasoning
  std::int32_t hidden = 0;            // numbers in an embedding
  std::string no_embeddings;          // why it makes none; empty: POST /v1/embeddings answers
  std::vector<AdapterInfo> adapters;  // which clients call by their names, as models of their own
};

// All references outlive the server.
struct FrontendServices {
  InferenceService& inference;
  const Tokenizer& tokenizer;
  const ChatTemplate* chat_template = nullptr;  // null: /v1/chat/completions answers 400
  ServedModel model;
  MetricsRegistry& metrics;
  std::function<std::string()> metrics_text;                      // the exposition for GET /metrics
  std::function<EngineStats()> engine_stats;                      // called at each scrape
  std::function<bool()> ready;                                    // GET /health/ready
  std::function<nlohmann::json()> cluster;                        // GET /cluster: nodes, roles, links
  std::function<Result<nlohmann::json>(const Request&)> explain;  // POST /route/explain
  // PUT /engines/{node}/role: waits until the engine has it; the role before.
  std::function<Result<Role>(const std::string& node, Role role)> set_role;
  Logger& logger;
  GrammarCompiler* grammars = nullptr;  // null: answers cannot be bound to a format
};

class HttpServer {
 public:
  HttpServer(FrontendOptions options, FrontendServices services);
  ~HttpServer();

  // The bound port; io with host:port where it is taken, and what is wrong with a file of keys or
  // certificates.
  Result<std::uint16_t> start();
  std::uint16_t admin_port() const;  // 0: no admin listener
  // Reads API keys and certificate again if their files have changed, or anyway. What cannot be used is
  // logged and changes nothing. Reads files: not for an io thread.
  void reload(bool even_if_unchanged);
  void stop_accepting();         // closes the listener and idle connections; running requests go on
  bool drain(Duration timeout);  // waits for running requests; false where some were left
  void stop();                   // drops everything, joins the threads

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A MetricsRegistry over prometheus-cpp, with its text exposition.
class PrometheusMetrics final : public MetricsRegistry {
 public:
  PrometheusMetrics();
  ~PrometheusMetrics() override;
  Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {}) override;
  Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {}) override;
  Histogram& histogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                       const Labels& labels = {}) override;
  std::string text() const;  // format 0.0.4

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace baton
