// baton top: the cluster on a terminal. baton role: an engine's role, read or changed.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <ctime>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command.hpp"
#include "app/http_client.hpp"
#include "app/top_view.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton {
namespace {

using nlohmann::json;

constexpr const char* kEnterScreen = "\x1b[?1049h\x1b[?25l";
constexpr const char* kLeaveScreen = "\x1b[?25h\x1b[?1049l";
constexpr const char* kFromTop = "\x1b[H";
constexpr const char* kClearLine = "\x1b[K";
constexpr const char* kClearBelow = "\x1b[J";

struct Where {
  std::string url = "http://127.0.0.1:8000", api_key;
  std::vector<ConfigRow> rows() {
    return {
        string_row({"--url", "", "URL", "a daemon's HTTP address, or its admin listener's"}, url),
        string_row({"--api-key", "", "KEY", "if it wants one; better in the environment as BATON_API_KEY"},
                   api_key)};
  }
  HttpCall call(const std::string& path) const {
    HttpCall call;
    call.url = url + path;
    call.api_key = api_key_or_environment(api_key);
    return call;
  }
};

Result<json> fetch_cluster(const Where& where) {
  auto body = http_call(where.call("/cluster"));
  if (!body) return body.error();
  json document = json::parse(*body, nullptr, false);
  if (!document.is_object()) return make_error(ErrorCode::corrupt, where.url + "/cluster is no JSON object");
  return document;
}

int complain(const char* command, const Error& error) {
  std::cerr << "baton " << command << ": " << error.message << '\n';
  return error.code == ErrorCode::invalid_argument ? 2 : 1;
}

// ---- top

struct Top {
  Where where;
  Duration interval = std::chrono::seconds(1);
  bool once = false;
  Flags flags{rows()};
  std::vector<ConfigRow> rows() {
    std::vector<ConfigRow> all = where.rows();
    all.push_back(duration_row({"--interval", "", "TIME", "between two looks"}, std::chrono::milliseconds(50),
                               interval));
    all.push_back(switch_row({"--once", "", "", "print once and end"}, once));
    return all;
  }
};

std::string heading(const json& cluster) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  char clock[16] = {};
  std::strftime(clock, sizeof clock, "%H:%M:%S", &local);
  const std::size_t nodes = cluster.contains("nodes") ? cluster["nodes"].size() : 0;
  return "baton top  " + std::string(clock) + "  seen by " + cluster.value("node", "?") + ": " +
         std::to_string(nodes) + (nodes == 1 ? " node" : " nodes") + "\n\n";
}

// Over the last frame, line by line, so that nothing flickers.
void draw(const std::string& frame) {
  std::string out = kFromTop;
  for (const char c : frame) {
    if (c == '\n') out += kClearLine;
    out += c;
  }
  std::cout << out << kClearBelow << std::flush;
}

bool interrupted_within(const sigset_t& signals, Duration wait) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(wait);
  const timespec time{static_cast<time_t>(seconds.count()), static_cast<long>((wait - seconds).count())};
  return ::sigtimedwait(&signals, nullptr, &time) > 0;
}

int run_top(Top& top) {
  if (auto applied = top.flags.apply(); !applied) return complain("top", applied.error());
  auto cluster = fetch_cluster(top.where);
  if (!cluster) return complain("top", cluster.error());
  if (top.once) {
    std::cout << cluster_table(*cluster, nullptr, 0);
    return 0;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  const SteadyClock clock;
  if (terminal) std::cout << kEnterScreen;
  json before;
  TimePoint then = clock.now();
  for (;;) {
    const TimePoint now = clock.now();
    std::string frame = cluster ? heading(*cluster) + cluster_table(*cluster, before, to_seconds(now - then))
                                : "baton top: " + cluster.error().message + " (trying again)\n";
    if (terminal)
      draw(frame);
    else
      std::cout << frame << '\n' << std::flush;
    if (cluster) before = *std::move(cluster), then = now;
    if (interrupted_within(signals, top.interval)) break;
    cluster = fetch_cluster(top.where);
  }
  if (terminal) std::cout << kLeaveScreen << std::flush;
  return 0;
}

// ---- role

struct RoleCommand {
  Where where;
  std::string node, role;
  Flags flags{where.rows()};
};

int run_role(RoleCommand& command) {
  if (auto applied = command.flags.apply(); !applied) return complain("role", applied.error());
  if (command.role.empty()) {
    const auto cluster = fetch_cluster(command.where);
    if (!cluster) return complain("role", cluster.error());
    for (const json& node : cluster->value("nodes", json::array()))
      if (command.node.empty() || node.value("name", "") == command.node)
        std::cout << node.value("name", "?") << ' ' << node.value("role", "?") << '\n';
    return 0;
  }
  if (!parse_role(command.role))
    return complain("role", make_error(ErrorCode::invalid_argument,
                                       "'" + command.role + "' is not mixed, prefill or decode"));
  HttpCall call = command.where.call("/engines/" + command.node + "/role");
  call.method = "PUT";
  call.body = json{{"role", command.role}}.dump();
  const auto answer = http_call(call);
  if (!answer) return complain("role", answer.error());
  std::cout << command.node << ' ' << command.role << '\n';
  return 0;
}

}  // namespace

void add_top(CLI::App& app, Chosen& chosen) {
  auto top = std::make_shared<Top>();  // shared: lives as long as the callbacks of the parser
  CLI::App* command =
      app.add_subcommand("top", "Watch a running cluster: nodes, roles, load, transfers, latency");
  top->flags.add_to(*command);
  command->callback([top, &chosen] { chosen.run = [top] { return run_top(*top); }; });
}

void add_role(CLI::App& app, Chosen& chosen) {
  auto role = std::make_shared<RoleCommand>();  // shared: as above
  CLI::App* command =
      app.add_subcommand("role", "Show the engines' roles, or give one another role while it runs");
  command->add_option("node", role->node, "the engine's node; without it all are shown");
  command->add_option("role", role->role, "mixed, prefill or decode; without it the present one is shown");
  role->flags.add_to(*command);
  command->callback([role, &chosen] { chosen.run = [role] { return run_role(*role); }; });
}

}  // namespace baton
