// baton pull: a model from a Hugging Face Hub into a directory that `baton serve --model` takes. What it does
// with the network and the disk is hub's; here are flags, signals and what people see of it.
#include "baton/hub/pull.hpp"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>

#include "app/command.hpp"
#include "app/pull_options.hpp"
#include "app/signals.hpp"
#include "app/system.hpp"
#include "app/transfer_rate.hpp"
#include "baton/base/log.hpp"
#include "baton/base/units.hpp"

namespace baton {
namespace {

constexpr Duration kRedraw = std::chrono::milliseconds(200);
constexpr int kSignalled = 128;  // + the signal, as shells have it
constexpr const char* kClearLine = "\r\x1b[K";

struct PullCommand {
  std::string repository, directory, endpoint, token_file;
  hub::PullOptions options;
  Flags flags{rows()};

  std::vector<ConfigRow> rows() {
    return {
        string_row({"--to", "", "DIR", "where it goes; default: baton/models/ORG/NAME in ~/.cache"},
                   directory),
        string_row({"--endpoint", "", "URL", "the Hub; default: HF_ENDPOINT, else https://huggingface.co"},
                   endpoint),
        string_row(
            {"--token-file", "", "FILE",
             "access token for gated and private models; default: HF_TOKEN, the file HF_TOKEN_PATH, or "
             "what huggingface-cli login left"},
            token_file),
        int_row({"--jobs", "", "N", "files at once"}, 1, 64, options.jobs),
        list_row({"--include", "", "GLOB",
                  "fetch also the files that match, beside those that Baton reads; may be repeated"},
                 options.include),
        list_row({"--exclude", "", "GLOB", "do not fetch the files that match; may be repeated"},
                 options.exclude),
        switch_row({"--dry-run", "", "", "print what would be fetched, and write nothing"}, options.dry_run),
    };
  }
};

// On a terminal a bar; elsewhere a line for each file.
class Screen final : public hub::PullObserver {
 public:
  explicit Screen(const std::string& name)
      : name_(name),
        terminal_(::isatty(STDERR_FILENO) != 0),
        logger_(make_stderr_logger(LogLevel::info, false)) {
    block_signals(signals_);
    std::signal(SIGPIPE, SIG_IGN);
  }
  int signal() const { return signal_; }  // that ended it; 0: none

  bool keep_going() override {
    if (signal_ == 0) signal_ = wait_signal(signals_, Duration(0));
    return signal_ == 0;
  }
  void planned(const hub::PullReport& report) override {
    std::size_t wanted = 0;
    for (const hub::PulledFile& file : report.files) wanted += file.state != hub::FileState::there;
    clear();
    logger_->info("pulling " + name_, {{"commit", report.commit},
                                       {"files", report.files.size()},
                                       {"there", report.files.size() - wanted},
                                       {"size", format_size(report.bytes)},
                                       {"to_fetch", format_size(report.fetched)}});
  }
  void progress(std::uint64_t done, std::uint64_t total) override { draw("pulling " + name_, done, total); }
  void checked(std::uint64_t done, std::uint64_t total) override { draw("checking " + name_, done, total); }
  void fetched(const hub::PulledFile& file, std::uint64_t resumed_at) override {
    if (terminal_) return;
    if (resumed_at > 0)
      logger_->info(
          "fetched",
          {{"file", file.path}, {"bytes", file.size}, {"hash", file.hash}, {"resumed_at", resumed_at}});
    else
      logger_->info("fetched", {{"file", file.path}, {"bytes", file.size}, {"hash", file.hash}});
  }
  void note(const std::string& text) override {
    clear();
    logger_->warn(text);
  }
  void clear() {
    if (std::exchange(drawn_, false)) std::fputs(kClearLine, stderr);
  }

 private:
  void draw(const std::string& what, std::uint64_t done, std::uint64_t total) {
    if (!terminal_) return;
    const TimePoint now = clock_.now();
    if (what != what_) what_ = what, rate_ = {}, last_ = {};
    if (now - last_ < kRedraw && done < total) return;
    last_ = now;
    rate_.add(now, done);
    const auto percent = static_cast<int>(total == 0 ? 100 : done * 100 / total);
    std::fprintf(stderr, "%s%s", kClearLine, bar_text(what, percent, rate_.text(total)).c_str());
    drawn_ = true;
  }

  const std::string name_;
  const bool terminal_;
  std::unique_ptr<Logger> logger_;
  const sigset_t signals_ = signal_set({SIGINT, SIGTERM});
  int signal_ = 0;
  SteadyClock clock_;
  std::string what_;  // is being drawn
  TransferRate rate_;
  TimePoint last_{};
  bool drawn_ = false;
};

const char* to_text(hub::FileState state) {
  switch (state) {
    case hub::FileState::wanted:
      return "fetch";
    case hub::FileState::partial:
      return "continue";
    case hub::FileState::unknown:
      return "check";
    case hub::FileState::there:
      return "there";
  }
  return "fetch";
}

void print_plan(const hub::PullReport& report, const PullCommand& command) {
  for (const hub::PulledFile& file : report.files)
    std::printf("%-8s  %10s  %s\n", to_text(file.state), format_size(file.size).c_str(), file.path.c_str());
  std::printf("%s of %s in %zu files would be fetched to %s\n", format_size(report.fetched).c_str(),
              format_size(report.bytes).c_str(), report.files.size(), command.options.directory.c_str());
}

void print_done(const hub::PullReport& report, const PullCommand& command) {
  const std::string directory = command.options.directory.string();
  std::cout << directory << ": " << command.options.repository.text() << " at commit " << report.commit
            << ", " << report.files.size() << " files, " << format_size(report.bytes)
            << (report.fetched == 0 ? ", all there already" : ", " + format_size(report.fetched) + " fetched")
            << '\n';
  const auto is_config = [](const hub::PulledFile& file) { return file.path == "config.json"; };
  if (std::ranges::any_of(report.files, is_config))
    std::cout << "serve it with: baton serve --model " << shell_word(directory) << '\n';
}

Result<void> settle(PullCommand& command) {
  if (auto applied = command.flags.apply(); !applied) return applied;
  auto repository = hub::parse_repository(command.repository);
  if (!repository) return repository.error();
  command.options.repository = *std::move(repository);
  command.options.directory = command.directory;
  if (command.directory.empty()) {
    auto directory = default_model_directory(command.options.repository, environment);
    if (!directory) return directory.error();
    command.options.directory = *std::move(directory);
  }
  auto token = hub_token(command.token_file, environment);
  if (!token) return token.error();
  command.options.token = *std::move(token);
  command.options.endpoint = hub_endpoint(command.endpoint, environment);
  command.options.user_agent = std::string("baton/") + version_text();
  return {};
}

int run(PullCommand& command) {
  if (auto settled = settle(command); !settled) {
    std::cerr << "baton pull: " << settled.error().message << '\n';
    return 2;
  }
  Screen screen(command.options.repository.text());
  const auto report = hub::pull(command.options, screen);
  screen.clear();
  if (!report && report.error().code == ErrorCode::cancelled) {
    std::cerr << "baton pull: interrupted; the same command goes on from here\n";
    return kSignalled + screen.signal();
  }
  if (!report) {
    std::cerr << "baton pull: " << report.error().message << '\n';
    return report.error().code == ErrorCode::invalid_argument ? 2 : 1;
  }
  if (command.options.dry_run)
    print_plan(*report, command);
  else
    print_done(*report, command);
  return 0;
}

}  // namespace

void add_pull(CLI::App& app, Chosen& chosen) {
  auto pull = std::make_shared<PullCommand>();  // shared: lives as long as the callbacks of the parser
  CLI::App* command = app.add_subcommand(
      "pull", "Fetch a model from the Hugging Face Hub: verified, and resumed where it broke off");
  command->add_option("repository", pull->repository, "ORG/NAME, with @REVISION for another one than main")
      ->required()
      ->type_name("ORG/NAME");
  pull->flags.add_to(*command);
  command->callback([pull, &chosen] { chosen.run = [pull] { return run(*pull); }; });
}

}  // namespace baton
