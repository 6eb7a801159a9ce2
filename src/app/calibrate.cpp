// baton plan --calibrate: forward passes of this machine's engine over a synthetic model, and its loopback
// link.
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <thread>

#include "app/bench_load.hpp"
#include "app/http_client.hpp"
#include "app/plan_check.hpp"
#include "app/system.hpp"
#include "baton/bench/statistics.hpp"
#include "baton/model/model.hpp"
#include "baton/model/synth.hpp"
#include "baton/plan/calibration.hpp"
#include "baton/tensor/buffer.hpp"
#include "baton/tensor/ops.hpp"

namespace baton {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::int32_t kBlock = 16, kRoom = 1536;  // tokens that a sequence may have
constexpr std::int32_t kMostSequences = 16;

double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

Batch make_batch(std::int32_t sequences, std::int32_t context, std::int32_t rows, std::int32_t vocab,
                 const KvGroups& groups) {
  Batch batch;
  constexpr std::int32_t kBlocks = kRoom / kBlock;
  for (std::int32_t s = 0; s < sequences; ++s) {
    batch.sequences.push_back({static_cast<std::int32_t>(batch.tokens.size()), rows, context,
                               static_cast<std::int32_t>(batch.block_table.size())});
    for (std::int32_t b = 0; b < kBlocks; ++b) batch.block_table.push_back(s * kBlocks + b);
    for (std::int32_t p = context; p < context + rows; ++p) {
      batch.tokens.push_back((s * 7919 + p * 104729) % vocab);
      batch.positions.push_back(p);
    }
    batch.logit_rows.push_back(static_cast<std::int32_t>(batch.tokens.size()) - 1);
  }
  batch.repeat_table(groups.count(), kMostSequences * kBlocks);
  return batch;
}

// A synthetic model in a folder of its own, gone when this is.
class Subject {
 public:
  static Result<std::unique_ptr<Subject>> make(SynthOptions options, Ops& ops) {
    auto subject = std::make_unique<Subject>();
    std::string folder = (fs::temp_directory_path() / "baton-calibrate-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr)
      return make_error(ErrorCode::io, "cannot make a folder in " + fs::temp_directory_path().string());
    subject->folder_ = folder;
    options.directory = fs::path(folder) / "model";
    if (auto written = write_synthetic_model(options); !written) return written.error();
    if (auto opened = subject->open(options.directory, ops); !opened) return opened.error();
    return subject;
  }
  Result<void> open(const fs::path& directory, Ops& ops) {
    auto model = load_model(directory, ops);
    if (!model) return model.error();
    model_ = *std::move(model);
    directory_ = directory;
    layout_ = model_->kv_spec(kBlock).layout;
    blocks_ = layout_.groups.count() * kMostSequences * (kRoom / kBlock);
    auto memory =
        Buffer::allocate({}, layout_.block_bytes() * static_cast<std::size_t>(blocks_), {.huge_pages = true});
    if (!memory) return memory.error();
    memory_ = *std::move(memory);
    return {};
  }
  ~Subject() {
    std::error_code ignored;
    if (!folder_.empty()) fs::remove_all(folder_, ignored);
  }
  const ModelConfig& config() const { return model_->config(); }
  const fs::path& directory() const { return directory_; }

  // The mean of passes in about half a second, after one that is not counted: what disturbs them
  // disturbs a server, too.
  MeasuredPass measure(Ops& ops, std::int32_t sequences, std::int32_t context, std::int32_t rows) {
    const KvView kv{memory_.data(), layout_, blocks_};
    const Batch batch = make_batch(sequences, context, rows, config().vocab, layout_.groups);
    (void)model_->forward(batch, kv, ops);
    double sum = 0, squares = 0;
    int passes = 0;
    for (; passes < 4 || (sum < 0.5 && passes < 300); ++passes) {
      const auto begin = Clock::now();
      (void)model_->forward(batch, kv, ops);
      const double seconds = since(begin);
      sum += seconds;
      squares += seconds * seconds;
    }
    const double mean = sum / passes, variance = std::max(0.0, squares / passes - mean * mean);
    return {double(sequences), double(rows), double(context), mean, std::sqrt(variance) / mean};
  }

 private:
  fs::path folder_, directory_;
  std::unique_ptr<Model> model_;
  KvLayout layout_;
  std::int32_t blocks_ = 0;
  Buffer memory_;
};

// Bytes a second through TCP's loopback, one stream. 0: no socket to be had.
double loopback_rate() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool ready = listener >= 0 && ::bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::listen(listener, 1) == 0 &&
                     ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  const int sender = ready ? ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
  const bool connected = sender >= 0 && ::connect(sender, reinterpret_cast<sockaddr*>(&address), size) == 0;
  const int receiver = connected ? ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC) : -1;
  double rate = 0;
  if (receiver >= 0) {
    constexpr std::size_t kPiece = 512 << 10, kPieces = 1024;
    std::jthread writing([sender] {
      const std::vector<char> piece(kPiece, 'x');
      for (std::size_t i = 0; i < kPieces; ++i)
        for (std::size_t at = 0; at < kPiece;) {
          const ssize_t count = ::send(sender, piece.data() + at, kPiece - at, MSG_NOSIGNAL);
          if (count <= 0) return;
          at += static_cast<std::size_t>(count);
        }
      ::shutdown(sender, SHUT_WR);
    });
    std::vector<char> piece(kPiece);
    double bytes = 0;
    const auto begin = Clock::now();
    for (ssize_t count = 0; (count = ::recv(receiver, piece.data(), piece.size(), 0)) > 0;)
      bytes += static_cast<double>(count);
    rate = bytes / since(begin);
  }
  for (const int socket : {receiver, sender, listener})
    if (socket >= 0) ::close(socket);
  return rate;
}

// A daemon of this binary, ended when this is.
class OwnDaemon {
 public:
  static Result<std::unique_ptr<OwnDaemon>> start(const fs::path& model, int threads) {
    for (int tries = 0; tries < 20; ++tries) {
      const auto port = static_cast<std::uint16_t>(20000 + std::random_device{}() % 12000);
      if (!port_is_free(port)) continue;
      auto daemon = std::make_unique<OwnDaemon>();
      daemon->url = "http://127.0.0.1:" + std::to_string(port);
      std::vector<std::string> words{"baton",       "serve",
                                     "--model",     model.string(),
                                     "--port",      std::to_string(port),
                                     "--threads",   std::to_string(threads),
                                     "--kv-memory", "256M",
                                     "--log-level", "error"};
      std::vector<char*> arguments;
      arguments.reserve(words.size() + 1);
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      if (::posix_spawn(&daemon->pid_, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ) != 0)
        break;
      for (int wait = 0; wait < 300; ++wait) {
        if (http_call({.url = daemon->url + "/health/ready"})) return daemon;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
      break;
    }
    return make_error(ErrorCode::unavailable, "--calibrate: the daemon to measure did not start",
                      "--calibrate");
  }
  ~OwnDaemon() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    for (int wait = 0; wait < 100; ++wait) {
      if (::waitpid(pid_, nullptr, WNOHANG) != 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  std::string url;

 private:
  pid_t pid_ = 0;
};

// What a token costs beside the forward pass, sampling, text, HTTP, the client, and what all of these take
// from the engine's threads where they have no cores of their own: the same model, served.
Result<double> host_seconds(Subject& subject, Ops& ops, int threads) {
  constexpr std::int32_t kTogether = 8, kInput = 16, kOutput = 64;
  const double pass = subject.measure(ops, kTogether, kInput + kOutput / 2, 1).seconds;
  auto daemon = OwnDaemon::start(subject.directory(), threads);
  if (!daemon) return daemon.error();
  bench::BenchOptions load;
  load.url = (*daemon)->url;
  load.isl = kInput, load.osl = kOutput;
  load.requests = 4 * kTogether, load.warm_up = kTogether;
  load.extra = {"ignore_eos:true"};
  const auto prepared = bench::prepare(load, {});
  if (!prepared) return prepared.error();
  const auto run = bench::run_prepared(*prepared, load, kTogether, 0, {});
  if (!run) return run.error();
  const bench::Summary summary = bench::summarize(*run, {});
  return std::max(0.0, summary.find("inter_token_latency")->spread.p50 / 1e3 - pass) / kTogether;
}

struct Passes {
  std::int32_t sequences, context, rows;
};
// One row, few, many; then contexts, of a prefill and of decodes.
constexpr Passes kPasses[]{{1, 0, 1},     {2, 0, 1},     {4, 0, 1},     {8, 0, 1},    {16, 0, 1},
                           {1, 0, 64},    {1, 0, 256},   {1, 0, 512},   {1, 1024, 1}, {8, 1024, 1},
                           {16, 1024, 1}, {1, 512, 512}, {1, 1024, 256}};

}  // namespace

std::vector<ConfigRow> plan_check_rows(PlanCheckOptions& o) {
  return {
      string_row({"--calibrate", "", "FILE.json",
                  "measure this machine first and write its system file; with --model, plan for it"},
                 o.calibrate),
      string_row({"--verify", "", "URL",
                  "measure a running deployment under the plan's load, and print it beside the prediction"},
                 o.verify),
      int_row({"--verify-concurrency", "", "N", "requests at a time; 0: the plan's"}, 0, 100000,
              o.concurrency),
      int_row({"--verify-requests", "", "N", "requests in all; 0: 8 for each at a time"}, 0, 1 << 24,
              o.requests),
      int_row(
          {"--calibrate-threads", "", "N", "threads of the engine; 0: one per core, as baton serve has them"},
          0, 1024, o.threads)};
}

Result<void> calibrate(const PlanCheckOptions& options) {
  const int threads = options.threads > 0
                          ? options.threads
                          : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  auto ops = make_ops({.threads = threads});
  if (!ops) return ops.error();
  std::cerr << "Calibrating: forward passes with " << threads << " threads (" << (*ops)->numerics_id()
            << ")\n";
  SynthOptions small = *synth_shape("150M");
  small.hidden = 64, small.query_heads = 2, small.kv_heads = 1, small.head_dim = 32, small.ffn = 64,
  small.vocab = 300;
  auto tiny = Subject::make(small, **ops);
  if (!tiny) return tiny.error();
  const double layer = (*tiny)->measure(**ops, 1, 0, 1).seconds / small.layers;
  tiny->reset();
  auto subject = Subject::make(*synth_shape("150M"), **ops);
  if (!subject) return subject.error();
  std::vector<MeasuredPass> passes;
  const auto progress = count_progress("Measuring");
  for (const Passes& p : kPasses) {
    passes.push_back((*subject)->measure(**ops, p.sequences, p.context, p.rows));
    if (progress) progress(passes.size(), std::size(kPasses));
  }
  EngineSetup setup;
  setup.model = shape_of((*subject)->config());
  setup.weights = setup.kv = setup.model.stored;
  setup.system.link_bandwidth = 1;
  const Calibration c = fit_passes(setup, layer, passes);
  const PerfProfile profile = make_perf_profile(calibrated(setup, c));
  std::fprintf(stderr, "%10s %8s %6s %14s %14s\n", "sequences", "context", "rows", "measured, ms",
               "modelled, ms");
  for (const MeasuredPass& p : passes)
    std::fprintf(stderr, "%10.0f %8.0f %6.0f %14.3f %14.3f\n", p.sequences, p.context, p.rows,
                 p.seconds * 1e3, profile.step_seconds(shape_of(p)) * 1e3);
  const double link = loopback_rate();
  const auto host = host_seconds(**subject, **ops, threads);
  if (!host) return host.error();
  std::fprintf(stderr,
               "products %.1f GFLOP/s, weights %.1f GB/s, attention %.1f GFLOP/s, K and V %.1f GB/s, overlap "
               "%.0f %%, a layer's overhead %.1f us, a token's host work %.0f us, jitter %.0f %%, loopback "
               "%.2f GB/s\n",
               c.flops / 1e9, c.memory_bandwidth / 1e9, c.attention_flops / 1e9, c.kv_bandwidth / 1e9,
               100 * (1 - std::min(1.0, c.serial)), c.layer * 1e6, *host * 1e6, c.jitter * 100, link / 1e9);
  const std::string name = fs::path(options.calibrate).stem().string();
  std::ofstream out(options.calibrate);
  out << system_file(name, std::to_string(threads) + " threads, " + (*ops)->numerics_id(), c, *host,
                     static_cast<double>(memory_info().total), link > 0 ? link : 1e9, 1e-3);
  out.close();
  if (!out) return make_error(ErrorCode::io, "--calibrate: cannot write " + options.calibrate, "--calibrate");
  std::cerr << "Written: " << options.calibrate << " (baton plan --system " << options.calibrate << ")\n";
  return {};
}

}  // namespace baton
