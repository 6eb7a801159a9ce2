// Stand-ins below the frontend: a tokenizer of bytes, a template that writes "role:content" lines, and an
// InferenceService whose answers and failures the test chooses.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "baton/schedule/service.hpp"
#include "baton/text/chat_template.hpp"
#include "baton/text/tokenizer.hpp"

namespace baton::test {

inline constexpr TokenId kBos = 256;
inline constexpr TokenId kEos = 257;
inline constexpr TokenId kLong = 258;  // 200 letters, to fill buffers
inline constexpr std::int32_t kVocab = 259;

class ByteTokenizer final : public Tokenizer {
 public:
  // `bos`: how the special token kBos is spelled.
  explicit ByteTokenizer(std::string bos = "<s>") : bos_(std::move(bos)) {}
  std::vector<TokenId> encode(std::string_view text, EncodeOptions options) const override {
    std::vector<TokenId> ids;
    if (options.add_special_tokens) ids.push_back(kBos);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override {
    std::string out;
    for (const TokenId id : ids) {
      if (!skip_special_tokens || !is_special(id)) out += token_bytes(id);
    }
    return out;
  }
  std::size_t vocab_size() const override { return kVocab; }
  std::optional<TokenId> token_to_id(std::string_view token) const override {
    return token == bos_ ? std::optional(kBos) : std::nullopt;
  }
  std::string_view id_to_token(TokenId id) const override {
    return id == kBos ? std::string_view(bos_) : id == kEos ? "</s>" : id == kLong ? "long" : "byte";
  }
  bool is_special(TokenId id) const override { return id == kBos || id == kEos; }
  std::string token_bytes(TokenId id) const override {
    if (id == kLong) return std::string(200, 'x');
    return id < 256 ? std::string(1, static_cast<char>(id)) : std::string(id_to_token(id));
  }

 private:
  std::string bos_;
};

class LinesTemplate final : public ChatTemplate {
 public:
  Result<std::string> render(const nlohmann::ordered_json& variables) const override {
    std::string out;
    for (const auto& message : variables["messages"]) {
      const std::string role = message["role"];
      if (role == "forbidden") return make_error(ErrorCode::invalid_argument, "roles must alternate");
      out +=
          role + ":" + (message["content"].is_string() ? message["content"].get<std::string>() : "") + "\n";
    }
    return variables["add_generation_prompt"] ? out + ">" + variables.value("tail", "") : out;
  }
};

inline std::vector<TokenId> ids_of(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

// Answers on a thread of its own, one token a round for each request, as an engine's steps do.
class FakeService final : public InferenceService {
 public:
  FakeService() : thread_([this] { run(); }) {}
  ~FakeService() override {
    {
      std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  // What the next requests get; set under `configure`.
  struct Behaviour {
    std::function<std::vector<TokenId>(const Request&)> script = [](const Request&) {
      return ids_of("Hello");
    };
    bool eos = true;               // an EOS follows the script
    std::optional<Error> refuse;   // submit fails
    std::size_t accept_first = 0;  // but only after so many
    std::optional<Error> fail;     // on_error ...
    std::size_t fail_after = 0;    // ... after so many tokens
    bool deaf = false;             // neither tokens nor cancellation: a hung engine
    HandoffInfo handoff;
    std::uint32_t cached_tokens = 0;
    // Of Request::embed: what it gets, or which fail; and what waits (but hears a cancellation).
    std::function<std::vector<float>(const Request&)> embed = [](const Request& request) {
      return std::vector{static_cast<float>(request.prompt.size()), static_cast<float>(request.prompt.back()),
                         0.0F, -1.0F};
    };
    std::function<std::optional<Error>(const Request&)> fail_if = [](const Request&) { return std::nullopt; };
    std::function<bool(const Request&)> held = [](const Request&) { return false; };
  };
  void configure(Behaviour behaviour) {
    std::lock_guard lock(mutex_);
    behaviour_ = std::move(behaviour);
    accepted_ = 0;
  }
  // Tokens that may still be given, all requests together; none by default set to "no limit".
  void allow_tokens(long n) {
    {
      std::lock_guard lock(mutex_);
      allowance_ = n;
    }
    changed_.notify_all();
  }

  Result<void> submit(Request request, std::stop_token stop, std::shared_ptr<TokenSink> sink) override {
    std::lock_guard lock(mutex_);
    if (behaviour_.refuse && accepted_ >= behaviour_.accept_first) return *behaviour_.refuse;
    ++accepted_;
    requests_.push_back(request);
    Job job{std::move(request), std::move(stop), std::move(sink), behaviour_, {}, 0};
    job.tokens = job.behaviour.script(job.request);
    if (job.behaviour.eos) job.tokens.push_back(kEos);
    jobs_.push_back(std::move(job));
    most_live_ = std::max(most_live_, jobs_.size());
    changed_.notify_all();
    return {};
  }

  std::vector<Request> requests() const {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  std::size_t live() const {
    std::lock_guard lock(mutex_);
    return jobs_.size();
  }
  std::size_t most_live() const {
    std::lock_guard lock(mutex_);
    return most_live_;
  }
  int cancelled() const { return cancelled_; }
  long tokens_given() const { return tokens_given_; }

 private:
  struct Job {
    Request request;
    std::stop_token stop;
    std::shared_ptr<TokenSink> sink;
    Behaviour behaviour;
    std::vector<TokenId> tokens;
    std::size_t given = 0;
  };

  void run() {
    std::unique_lock lock(mutex_);
    while (!ending_) {
      changed_.wait_for(lock, std::chrono::milliseconds(1));
      for (auto job = jobs_.begin(); job != jobs_.end();)
        job = step(*job) ? jobs_.erase(job) : std::next(job);
    }
    jobs_.clear();
  }

  // True where the job is over.
  bool step(Job& job) {
    if (job.behaviour.deaf) return false;
    if (job.stop.stop_requested()) {
      ++cancelled_;
      job.sink->on_error(make_error(ErrorCode::cancelled, "cancelled"));
      return true;
    }
    if (job.behaviour.held(job.request)) return false;
    for (int burst = 0; burst < 64; ++burst) {
      if (job.behaviour.fail && job.given >= job.behaviour.fail_after) {
        job.sink->on_error(*job.behaviour.fail);
        return true;
      }
      if (job.request.embed) {
        if (const auto error = job.behaviour.fail_if(job.request)) {
          job.sink->on_error(*error);
        } else {
          finish(job, false);
        }
        return true;
      }
      if (allowance_ == 0) return false;
      const bool by_length = job.given >= static_cast<std::size_t>(job.request.stop.max_tokens);
      if (by_length || job.given >= job.tokens.size()) {
        finish(job, by_length);
        return true;
      }
      give(job);
      if (job.tokens[job.given - 1] == kEos && !job.request.stop.ignore_eos) {
        finish(job, false);
        return true;
      }
    }
    return false;
  }

  void give(Job& job) {
    if (allowance_ > 0) --allowance_;
    TokenEvent event;
    event.key = key_of(job.request);
    event.index = static_cast<std::uint32_t>(job.given);
    event.token.token = job.tokens[job.given++];
    if (job.request.sampling.logprobs >= 0) {
      event.token.logprob = -0.25F;
      event.token.top.push_back({event.token.token, -0.25F});
      event.token.top.push_back({'z', -1.5F});
      event.token.top.resize(std::min<std::size_t>(2, job.request.sampling.logprobs));
    }
    ++tokens_given_;
    job.sink->on_token(event);
  }

  void finish(Job& job, bool by_length) {
    FinishEvent event;
    event.key = key_of(job.request);
    event.reason = by_length ? FinishReason::length : FinishReason::stop;
    event.prompt_tokens = static_cast<std::uint32_t>(job.request.prompt.size());
    event.cached_tokens = job.behaviour.cached_tokens;
    event.output_tokens = static_cast<std::uint32_t>(job.given);
    event.handoff = job.behaviour.handoff;
    if (job.request.embed) event.embedding = job.behaviour.embed(job.request);
    job.sink->on_finish(event);
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Job> jobs_;
  std::vector<Request> requests_;
  Behaviour behaviour_;
  std::size_t accepted_ = 0, most_live_ = 0;
  long allowance_ = -1;
  bool ending_ = false;
  std::atomic<int> cancelled_{0};
  std::atomic<long> tokens_given_{0};
  std::thread thread_;
};

// Waits for what must happen; the bound is only there so that a failure ends.
inline bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace baton::test
