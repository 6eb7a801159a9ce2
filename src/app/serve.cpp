// baton serve: options, the daemon, and its signals. SIGTERM or SIGINT: stop accepting, finish, exit 0; a
// second one exits at once. SIGHUP: read API keys and certificate again, as also happens when they change.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <memory>

#include "app/command.hpp"
#include "app/config_file.hpp"
#include "app/daemon.hpp"
#include "app/serve_options.hpp"

namespace baton {
namespace {

constexpr int kStopped = 130;                            // by a second signal
constexpr Duration kFileLook = std::chrono::seconds(1);  // how often files are looked at for changes

struct Serve {
  ServeOptions options;
  Flags flags{serve_rows(options)};
  std::string config;
};

LogLevel parse_level(const std::string& text) {
  if (text == "debug") return LogLevel::debug;
  if (text == "warn") return LogLevel::warn;
  return text == "error" ? LogLevel::error : LogLevel::info;
}

Result<void> settle_options(Serve& serve) {
  if (!serve.config.empty()) {
    if (auto read = apply_config_file(serve.config, serve.flags.rows(), {"ucx", &serve.options.ucx}); !read)
      return read;
  }
  if (auto applied = serve.flags.apply(); !applied) return applied;
  if (has_cluster(serve.options) && serve.options.peer_listen.empty())
    serve.options.peer_listen = "127.0.0.1:0";
  return check(serve.options);
}

// Waits for one of the signals, at most so long; 0: none came. They are blocked in every thread and taken
// here.
int wait_signal(const sigset_t& signals, Duration timeout) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timespec wait{static_cast<time_t>(seconds.count()), static_cast<long>((timeout - seconds).count())};
  return std::max(0, ::sigtimedwait(&signals, nullptr, &wait));
}

void serve_until_stopped(Daemon& daemon, const sigset_t& stop) {
  sigset_t signals = stop;
  sigaddset(&signals, SIGHUP);
  while (true) {
    const int signal = wait_signal(signals, kFileLook);
    if (signal != 0 && signal != SIGHUP) return;
    daemon.reload(signal == SIGHUP);
  }
}

void drain(Daemon& daemon, const sigset_t& signals, const Serve& serve, Logger& logger) {
  logger.info("draining: no new requests; a second signal exits at once");
  daemon.begin_drain();
  const SteadyClock clock;
  const TimePoint give_up = clock.now() + serve.options.drain_timeout;
  while (!daemon.drained() && clock.now() < give_up) {
    if (wait_signal(signals, std::chrono::milliseconds(20)) != 0) ::_exit(kStopped);
  }
  if (!daemon.drained()) logger.warn("the drain timeout is over: dropping what is left");
}

int run(Serve& serve) {
  if (auto settled = settle_options(serve); !settled) {
    std::cerr << "baton serve: " << settled.error().message << '\n';
    return 2;
  }
  const auto logger =
      make_stderr_logger(parse_level(serve.options.log_level), serve.options.log_format == "json");
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigset_t blocked = signals;
  sigaddset(&blocked, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  auto daemon = Daemon::create(serve.options, *logger);
  if (!daemon) {
    logger->error("cannot serve: " + daemon.error().message);
    return 1;
  }
  serve_until_stopped(**daemon, signals);
  drain(**daemon, signals, serve, *logger);
  (*daemon)->stop();
  logger->info("stopped");
  return 0;
}

}  // namespace

void add_serve(CLI::App& app, Chosen& chosen) {
  auto serve = std::make_shared<Serve>();  // shared: lives as long as the callbacks of the parser
  CLI::App* command = app.add_subcommand(
      "serve", "Serve a model: OpenAI-compatible HTTP, KV-affinity routing, prefill and decode");
  command->add_option("--config", serve->config, "TOML file with settings; flags override it")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  serve->flags.add_to(*command);
  command->callback([serve, &chosen] { chosen.run = [serve] { return run(*serve); }; });
}

}  // namespace baton
