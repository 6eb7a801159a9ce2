// baton bench: measures an OpenAI-compatible server under a load.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <thread>

#include "app/bench_load.hpp"
#include "app/command.hpp"
#include "app/http_client.hpp"
#include "app/system.hpp"
#include "baton/bench/report.hpp"

namespace baton {
namespace {

namespace fs = std::filesystem;

struct BenchCommand {
  bench::BenchOptions options;
  std::string concurrency = "1", out, slo;
  bool no_metrics = false, json = false;
  Flags flags{settings()};

  std::vector<ConfigRow> settings() {
    std::vector<ConfigRow> all = bench::bench_rows(options);
    for (ConfigRow& row : std::vector<ConfigRow>{
             string_row(
                 {"--concurrency", "", "N,...", "requests at a time; several make a sweep, one run each"},
                 concurrency),
             string_row({"--slo", "", "ttft=2s,itl=25ms", "what counts as good: ttft, itl, latency"}, slo),
             string_row({"--out", "", "DIR", "write JSON, CSV, a line for each request, and plots"}, out),
             switch_row(
                 {"--no-server-metrics", "", "", "do not scrape the server's /metrics beside the load"},
                 no_metrics),
             switch_row({"--json", "", "", "print the results as JSON instead of tables"}, json)})
      all.push_back(std::move(row));
    return all;
  }
};

Error bad(const std::string& what, const std::string& flag) {
  return make_error(ErrorCode::invalid_argument, flag + ": " + what, flag);
}

Result<std::vector<int>> parse_sweep(const std::string& text) {
  std::vector<int> values;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    int value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc{} || end != part.data() + part.size() || value < 0 || value > 100000)
      return bad("'" + part + "' is not a number of requests", "--concurrency");
    values.push_back(value);
  }
  if (values.empty()) return bad("no number given", "--concurrency");
  return values;
}

Result<bench::Goodput> parse_goodput(const std::string& text) {
  bench::Goodput goodput;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    const std::size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    double* target = name == "ttft"      ? &goodput.ttft
                     : name == "itl"     ? &goodput.itl
                     : name == "latency" ? &goodput.latency
                                         : nullptr;
    if (equals == part.npos || target == nullptr)
      return bad("'" + part + "' is not ttft=TIME, itl=TIME or latency=TIME", "--slo");
    Duration value{};
    if (auto set =
            duration_row({"--slo " + name, "", "TIME", ""}, Duration(1), value).set(part.substr(equals + 1));
        !set)
      return set.error();
    *target = to_seconds(value);
  }
  return goodput;
}

// Asks for /metrics once a second while a load runs; what it gets belongs to the thread until it is joined.
class Scraper {
 public:
  explicit Scraper(std::string url) : url_(std::move(url)), thread_([this] { run(); }) {}
  std::map<std::string, std::vector<double>> stop() {
    stop_ = true;
    thread_.join();
    return std::move(values_);
  }

 private:
  void run() {
    for (int wait = 0;; ++wait) {
      const bool last = stop_;
      if (last || wait % 10 == 0) {
        const auto text = http_call({.url = url_, .timeout = std::chrono::seconds(1)});
        if (!text) return;  // not every server has them
        for (const auto& [name, value] : bench::parse_metrics(*text)) values_[name].push_back(value);
      }
      if (last) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  std::string url_;
  std::atomic<bool> stop_ = false;  // set by the command's thread
  std::map<std::string, std::vector<double>> values_;
  std::thread thread_;
};

void show(const bench::Progress& p, std::size_t total) {
  if (::isatty(STDERR_FILENO) == 0) return;
  std::fprintf(stderr, "\r%7.1f s  %zu of %zu answered, %zu running, %zu failed, %.0f tokens/s   ", p.seconds,
               p.done, total, p.running, p.failed,
               static_cast<double>(p.output_tokens) / std::max(p.seconds, 1e-3));
}

Result<void> write(const fs::path& file, const std::function<void(std::ostream&)>& content) {
  std::ofstream out(file);
  content(out);
  out.close();
  if (!out) return make_error(ErrorCode::io, "--out: cannot write " + file.string(), "--out");
  return {};
}

Result<void> save(const std::string& folder, const std::vector<bench::BenchRun>& runs) {
  std::error_code error;
  fs::create_directories(folder, error);
  nlohmann::json all = nlohmann::json::array();
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::string suffix = runs.size() == 1 ? "" : "_" + std::to_string(i + 1);
    all.push_back(bench::to_json(runs[i]));
    for (const auto& done : {write(fs::path(folder) / ("summary" + suffix + ".csv"),
                                   [&](std::ostream& out) { bench::write_csv(out, runs[i]); }),
                             write(fs::path(folder) / ("requests" + suffix + ".jsonl"),
                                   [&](std::ostream& out) { bench::write_records(out, runs[i]); })})
      if (!done) return done;
  }
  if (auto done = write(fs::path(folder) / "summary.json",
                        [&](std::ostream& out) { out << (all.size() == 1 ? all[0] : all).dump(2) << '\n'; });
      !done)
    return done;
  return write(fs::path(folder) / "plots.svg",
               [&](std::ostream& out) { write_svg(out, bench::charts(runs)); });
}

int run(BenchCommand& command) {
  const auto complain = [](const Error& error) {
    std::cerr << "baton bench: " << error.message << '\n';
    return error.code == ErrorCode::invalid_argument ? 2 : 1;
  };
  if (auto applied = command.flags.apply(); !applied) return complain(applied.error());
  const auto sweep = parse_sweep(command.concurrency);
  if (!sweep) return complain(sweep.error());
  const auto goodput = parse_goodput(command.slo);
  if (!goodput) return complain(goodput.error());
  bench::BenchOptions& options = command.options;
  options.runs = static_cast<std::int32_t>(sweep->size());
  if (options.requests == 0 && options.duration == Duration{} && options.input_file.empty())
    options.requests = 10 * std::max(1, *std::ranges::max_element(*sweep));
  auto prepared = bench::prepare(command.options, count_progress("Writing prompts"));
  if (!prepared) return complain(prepared.error());
  std::vector<bench::BenchRun> runs;
  bool failed = false;
  for (const int concurrency : *sweep) {
    bench::BenchRun run;
    run.label =
        command.options.open_loop()
            ? (concurrency > 1 ? "at most " + std::to_string(concurrency) + " at a time" : "open loop")
            : "concurrency " + std::to_string(std::max(1, concurrency));
    std::optional<Scraper> scraper;
    if (!command.no_metrics) scraper.emplace(command.options.base_url() + "/metrics");
    // A limit of one is what a closed loop has by default; an open one has none unless asked for.
    auto result = bench::run_prepared(*prepared, command.options,
                                      command.options.open_loop() && concurrency == 1 ? 0 : concurrency,
                                      static_cast<int>(runs.size()), show);
    if (scraper) run.server = scraper->stop();
    if (::isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r%80s\r", "");
    if (!result) return complain(result.error());
    run.result = *std::move(result);
    run.summary = bench::summarize(run.result, *goodput);
    if (!command.json) bench::print_table(std::cout, run);
    failed = failed || run.summary.completed == 0;
    runs.push_back(std::move(run));
  }
  if (command.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const bench::BenchRun& run : runs) all.push_back(bench::to_json(run));
    std::cout << (all.size() == 1 ? all[0] : all).dump(2) << '\n';
  }
  if (!command.out.empty())
    if (auto saved = save(command.out, runs); !saved) return complain(saved.error());
  return failed ? 1 : 0;
}

}  // namespace

void add_bench(CLI::App& app, Chosen& chosen) {
  auto bench_command =
      std::make_shared<BenchCommand>();  // shared: lives as long as the callbacks of the parser
  CLI::App* command = app.add_subcommand("bench", "Measure an OpenAI-compatible server under a load");
  bench_command->flags.add_to(*command);
  command->callback(
      [bench_command, &chosen] { chosen.run = [bench_command] { return run(*bench_command); }; });
}

}  // namespace baton
