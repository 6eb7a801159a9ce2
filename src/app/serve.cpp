// baton serve: options, the daemon, and its signals. SIGTERM or SIGINT: stop accepting, finish, exit 0; a
// second one exits at once. SIGHUP: read API keys and certificate again, as also happens when they change.
// With --devices this process is not a daemon but watches over several.
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <thread>

#include "app/command.hpp"
#include "app/config_file.hpp"
#include "app/daemon.hpp"
#include "app/devices.hpp"
#include "app/pull_options.hpp"
#include "app/serve_options.hpp"
#include "app/signals.hpp"
#include "app/supervisor.hpp"

namespace baton {
namespace {

constexpr int kCannotServe = 1, kWrongOptions = 2;  // exit statuses, see cannot_serve()
constexpr int kDeviceFailed = 3;
constexpr Duration kFileLook = std::chrono::seconds(1);  // how often files are looked at for changes

struct Serve {
  ServeOptions options;
  Flags flags{serve_rows(options)};
  std::string config;
  bool several() const { return flags.given("--devices"); }
};

LogLevel parse_level(const std::string& text) {
  if (text == "debug") return LogLevel::debug;
  if (text == "warn") return LogLevel::warn;
  return text == "error" ? LogLevel::error : LogLevel::info;
}

// Other servers fetch a model by its name on a Hub; here that is said, where a path might be meant as one.
Result<void> check_model(const std::string& model) {
  std::error_code ignored;
  if (model.empty() || std::filesystem::exists(model, ignored)) return {};
  const std::string hint = pull_hint(model, environment);
  if (hint.empty()) return {};  // what reads the directory says that there is none
  return make_error(ErrorCode::not_found, "no model directory " + model + "; " + hint, "--model");
}

Result<void> settle_options(Serve& serve) {
  if (!serve.config.empty()) {
    if (auto read = apply_config_file(serve.config, serve.flags.rows(), {"ucx", &serve.options.ucx}); !read)
      return read;
  }
  if (auto applied = serve.flags.apply(); !applied) return applied;
  if (auto model = check_model(serve.options.model); !model) return model;
  if (serve.several()) {
    if (!serve.flags.given("--device")) return {};  // each daemon's options are checked when they are made
    return make_error(ErrorCode::invalid_argument,
                      "--devices: it is there instead of --device, and both are given", "--devices");
  }
  if (has_cluster(serve.options) && serve.options.peer_listen.empty())
    serve.options.peer_listen = "127.0.0.1:0";
  return check(serve.options);
}

// The exit status after the drain: 0 for a signal.
int serve_until_stopped(Daemon& daemon, const ServeOptions& options) {
  const sigset_t signals = signal_set({SIGTERM, SIGINT, SIGHUP});
  while (true) {
    const int signal = wait_signal(signals, kFileLook);
    if (signal != 0 && signal != SIGHUP) return 0;
    if (options.exit_on_device_failure && daemon.device_failed()) return kDeviceFailed;
    daemon.reload(signal == SIGHUP);
  }
}

// Whether a signal asked for it, in the end; the second one exits at once.
bool drain(Daemon& daemon, const ServeOptions& options, bool asked, Logger& logger) {
  logger.info("draining: no new requests; a second signal exits at once");
  daemon.begin_drain();
  const sigset_t signals = signal_set({SIGTERM, SIGINT});
  const SteadyClock clock;
  const TimePoint give_up = clock.now() + options.drain_timeout;
  while (!daemon.drained() && clock.now() < give_up) {
    if (wait_signal(signals, std::chrono::milliseconds(20)) == 0) continue;
    if (asked) ::_exit(kStoppedAtOnce);
    asked = true;
  }
  if (!daemon.drained()) logger.warn("the drain timeout is over: dropping what is left");
  return asked;
}

int run_daemon(const ServeOptions& options, Logger& logger) {
  block_signals(signal_set({SIGTERM, SIGINT, SIGHUP}));
  std::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_NAME, "baton");  // started from /proc/self/exe, its name would be "exe"

  auto daemon = Daemon::create(options, logger);
  if (!daemon) {
    logger.error("cannot serve: " + daemon.error().message);
    return kCannotServe;
  }
  const int status = serve_until_stopped(**daemon, options);
  const bool asked = drain(**daemon, options, status == 0, logger);
  (*daemon)->stop();
  logger.info("stopped");
  return asked ? 0 : status;
}

int refuse(const Error& error) {
  std::cerr << "baton serve: " << error.message << '\n';
  return kWrongOptions;
}

// Here, before any process is started, is where wrong options are said, once.
int run_several(ServeOptions& options, Logger& logger) {
  auto devices = devices_here(options.devices);
  if (!devices) return refuse(devices.error());
  options.devices = *std::move(devices);
  const auto each = options_for_devices(options, std::thread::hardware_concurrency());
  if (!each) return refuse(each.error());
  std::vector<SupervisedDaemon> daemons;
  for (const ServeOptions& own : *each) {
    daemons.push_back({own.device, own.port, {"serve"}});
    for (std::string& flag : serve_flags(own)) daemons.back().arguments.push_back(std::move(flag));
  }
  return supervise(daemons, options.drain_timeout, SteadyClock(), logger);
}

int run(Serve& serve) {
  if (auto settled = settle_options(serve); !settled) return refuse(settled.error());
  const auto logger =
      make_stderr_logger(parse_level(serve.options.log_level), serve.options.log_format == "json");
  return serve.several() ? run_several(serve.options, *logger) : run_daemon(serve.options, *logger);
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
