// baton plan: the deployment that meets the targets with the most tokens for each GPU.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>

#include "app/catalog.hpp"
#include "app/command.hpp"
#include "app/deployment.hpp"
#include "app/plan_check.hpp"
#include "app/plan_simulation.hpp"
#include "app/system.hpp"
#include "baton/base/hash.hpp"
#include "baton/model/capability.hpp"
#include "baton/plan/artifacts.hpp"
#include "baton/plan/report.hpp"

namespace baton {
namespace {

namespace fs = std::filesystem;

struct PlanCommand {
  DeploymentOptions choice;
  PlanCheckOptions check;
  std::string mode = "auto", save_dir, sweep_link, rdma_resource;
  std::int32_t gpus = 8, isl = 4000, osl = 500, prefix = 0, top = 5, max_context = 0;
  double ttft = 1000, tpot = 30, latency = 0, rate = 0;  // ms, requests/s
  bool json = false;
  Flags flags{settings()};

  std::vector<ConfigRow> settings() {
    std::vector<ConfigRow> all = deployment_rows(choice);
    for (ConfigRow& row : std::vector<ConfigRow>{
             int_row({"--total-gpus", "", "N", "GPUs to divide (of a CPU system: machines)"}, 1, 1 << 16,
                     gpus),
             int_row({"--isl", "", "N", "prompt tokens of a request"}, 1, 1 << 24, isl),
             int_row({"--osl", "", "N", "output tokens of a request"}, 1, 1 << 24, osl),
             int_row({"--prefix", "", "N", "prompt tokens that are in the prefix cache"}, 0, 1 << 24, prefix),
             number_row({"--ttft", "", "MS", "longest time to the first token; 0: any"}, 0, 1e9, ttft),
             number_row({"--tpot", "", "MS", "longest time between tokens; 0: any"}, 0, 1e9, tpot),
             number_row({"--request-latency", "", "MS", "longest time of a whole request; 0: any"}, 0, 1e9,
                        latency),
             choice_row({"--serving-mode", "", "auto|agg|disagg", "what to search"},
                        {"auto", "agg", "disagg"}, mode),
             int_row({"--top-n", "", "N", "layouts to show of each kind"}, 1, 100, top),
             number_row({"--target-request-rate", "", "X",
                         "requests/s wanted: no more replicas than these need; 0: all"},
                        0, 1e9, rate),
             int_row({"--max-context", "", "N", "longest prompt plus answer; 0: ISL plus OSL"}, 0, 1 << 30,
                     max_context),
             string_row(
                 {"--save-dir", "", "DIR", "write tables, pictures, a report and the files of a deployment"},
                 save_dir),
             string_row({"--rdma-resource", "", "NAME",
                         "RDMA devices as Kubernetes calls them, such as rdma/hca_shared_devices: the files "
                         "of a deployment ask for them and for RDMA transports"},
                        rdma_resource),
             string_row({"--sweep-link", "", "FILE.svg",
                         "both kinds over the link's rate: where disaggregation begins to win"},
                        sweep_link),
             switch_row({"--json", "", "", "print the plan as JSON"}, json)})
      all.push_back(std::move(row));
    for (ConfigRow& row : plan_check_rows(check)) all.push_back(std::move(row));
    return all;
  }
};

Error bad(const std::string& what, const std::string& flag) {
  return make_error(ErrorCode::invalid_argument, flag + ": " + what, flag);
}

// Other engines span a node and keep experts apart; Baton's own what its table says.
SplitLimits limits_of(const std::string& backend) {
  if (backend == "baton")
    return {capability().tensor, capability().pipeline, capability().data, false, /*even_shares=*/true};
  return {8, 4, 8, true, false};
}

Result<PlanRequest> request_of(const PlanCommand& command, Catalog& catalog) {
  PlanRequest request;
  auto prefill = find_engine(command.choice, catalog);
  if (!prefill) return prefill.error();
  auto decode = find_engine(command.choice, catalog, true);
  if (!decode) return decode.error();
  if (command.choice.backend == "baton")
    if (auto can = runnable(prefill->model, prefill->weights); !can)
      return make_error(ErrorCode::unsupported,
                        can.error().message + "; --backend vllm, trtllm or sglang estimates it",
                        can.error().field);
  const int tokens = command.isl + command.osl;
  constexpr std::string_view kNameCharacters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./";
  if (command.rdma_resource.find_first_not_of(kNameCharacters) != std::string::npos)
    return make_error(ErrorCode::invalid_argument,
                      "--rdma-resource: '" + command.rdma_resource + "' is no name of a Kubernetes resource",
                      "--rdma-resource");
  if (command.max_context > 0 && command.max_context < tokens)
    return bad("must hold a prompt and its answer, " + std::to_string(tokens) + " tokens", "--max-context");
  const int context = std::max(command.max_context, tokens);
  if (context > prefill->model.max_positions)
    return bad(std::to_string(context) + " tokens of prompt and answer are more than the model's " +
                   std::to_string(static_cast<int>(prefill->model.max_positions)),
               command.max_context > tokens ? "--max-context" : "--isl");
  if (command.mode == "disagg" && command.gpus < 2)
    return bad("disaggregated serving needs at least two", "--total-gpus");
  if (command.prefix >= command.isl) return bad("must be less than --isl", "--prefix");
  request.prefill = *std::move(prefill);
  request.decode = *std::move(decode);
  request.load = {double(command.isl), double(command.osl), double(command.prefix)};
  request.gpus = command.gpus;
  request.ttft = command.ttft / 1e3, request.tpot = command.tpot / 1e3,
  request.latency = command.latency / 1e3;
  request.aggregated = command.mode != "disagg";
  request.disaggregated = command.mode != "agg";
  request.limits = limits_of(command.choice.backend);
  request.top = command.top;
  request.request_rate = command.rate;
  return request;
}

Result<void> write_file(const fs::path& path, const std::string& text) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) return make_error(ErrorCode::io, "--save-dir: cannot write " + path.string(), "--save-dir");
  if (path.extension() == ".sh")
    fs::permissions(path, fs::perms::owner_exec | fs::perms::group_exec, fs::perm_options::add, error);
  return {};
}

std::string text_of(const std::function<void(std::ostream&)>& write) {
  std::ostringstream out;
  write(out);
  return out.str();
}

std::string config_yaml(const PlanCommand& c) {
  std::ostringstream out;
  out << "# What was asked; the flags of baton plan.\nmodel: " << c.choice.model
      << "\nsystem: " << c.choice.system << "\nbackend: " << c.choice.backend << "\ntotal_gpus: " << c.gpus
      << "\nisl: " << c.isl << "\nosl: " << c.osl << "\nprefix: " << c.prefix << "\nttft_ms: " << c.ttft
      << "\ntpot_ms: " << c.tpot << "\nrequest_latency_ms: " << c.latency << "\nserving_mode: " << c.mode
      << "\n";
  return out.str();
}

Result<fs::path> save(const PlanCommand& command, const PlanRequest& request, const Plan& plan,
                      const PlanNames& names) {
  const std::string asked = config_yaml(command);
  std::error_code ignored;
  const bool local = fs::exists(command.choice.model, ignored);  // its last name, not its path
  fs::path name = fs::absolute(command.choice.model).lexically_normal();
  if (name.filename() == "config.json" || !name.has_filename()) name = name.parent_path();
  std::ostringstream folder;
  folder << (local ? name.filename().string() : command.choice.model) << "_isl" << command.isl << "_osl"
         << command.osl << "_ttft" << std::lround(command.ttft) << "_tpot" << std::lround(command.tpot) << '_'
         << std::hex << std::setw(6) << std::setfill('0')
         << (hash_bytes(std::as_bytes(std::span(asked))).low & 0xffffff);
  const fs::path root = fs::path(command.save_dir) / folder.str();
  std::map<fs::path, std::string> files;
  for (const char* kind : {"agg", "disagg"}) {
    const bool aggregated = kind == std::string_view("agg");
    const auto& choices = aggregated ? plan.aggregated : plan.disaggregated;
    const auto& front = aggregated ? plan.aggregated_front : plan.disaggregated_front;
    files[root / kind / "best_config_topn.csv"] =
        text_of([&](std::ostream& out) { write_choices_csv(out, choices); });
    files[root / kind / "pareto.csv"] = text_of([&](std::ostream& out) { write_front_csv(out, front); });
    files[root / kind / "config.yaml"] = asked;
    if (command.choice.backend != "baton") continue;  // others are not ours to start
    DeploymentNames deployment;
    deployment.model_directory =
        local ? name.string() : "/models/" + fs::path(command.choice.model).filename().string();
    deployment.served_name = fs::path(deployment.model_directory).filename().string();
    deployment.max_context = command.max_context;
    deployment.rdma_resource = command.rdma_resource;
    if (request.prefill.system.peer_bandwidth <= 0) {
      deployment.device = "cpu";
      deployment.kv_bytes_cpu = choices.empty() ? 0 : 1.25 * choices.front().estimate.decode_memory.kv;
    }
    for (std::size_t i = 0; i < choices.size(); ++i)
      for (const auto& [path, text] : deployment_files(choices[i], request, deployment))
        files[root / kind / ("top" + std::to_string(i + 1)) / path] = text;
  }
  const std::array charts{front_chart(request, plan, names)};
  files[root / "pareto_frontier.svg"] = text_of([&](std::ostream& out) { write_svg(out, charts); });
  files[root / "report.html"] = text_of([&](std::ostream& out) { write_html(out, request, plan, names); });
  for (const auto& [path, text] : files)
    if (auto written = write_file(path, text); !written) return written.error();
  return root;
}

constexpr int kSweepSteps = 42;  // four to the double, from 1 Gbit/s

// Where one curve begins to be above another; logarithms of the rates are interpolated.
struct Crossing {
  double before = 0, lead = 0;
  std::vector<double> found;
  void add(double rate, double now) {
    if (before > 0 && (lead < 0) != (now < 0))
      found.push_back(before * std::pow(rate / before, lead / (lead - now)));
    before = rate, lead = now;
  }
};

// The best of each kind for links from 1 to 1,600 Gbit/s, and where the curves cross; beside the formulas the
// same deployments in virtual time, where the simulator can run them.
Result<void> sweep(const PlanCommand& command, PlanRequest request) {
  Chart chart{
      .title = command.choice.model + ", " + std::to_string(command.gpus) + " x " + command.choice.system,
      .x_label = request.prefill.profile.traits.one_process ? "link of each engine, Gbit/s"
                                                            : "link of each GPU, Gbit/s",
      .y_label = "tokens/s/gpu",
      .series = {{"aggregated", {}, false},
                 {"disaggregated", {}, false},
                 {"aggregated, simulated", {}, true},
                 {"disaggregated, simulated", {}, true}},
      .marks = {}};
  std::printf("%12s %14s %14s %14s %14s\n", "Gbit/s", "agg", "disagg", "agg simulated", "disagg sim.");
  const auto simulated = [&](const std::vector<Choice>& choices) {
    if (choices.empty()) return 0.0;
    const Choice& c = choices.front();
    const int concurrency = c.batch * (c.disaggregated ? c.decode_workers : 1);
    const auto estimate = simulate_choice(request, c, concurrency, 30 * concurrency);
    return estimate ? estimate->tokens_per_gpu * c.tokens_per_gpu / c.estimate.tokens_per_gpu : 0.0;
  };
  Crossing planned, ran;
  double agg_ran = -1;
  for (int step = 0; step <= kSweepSteps; ++step) {
    const double rate = std::pow(2, step / 4.0);
    request.prefill.system.link_bandwidth = request.decode.system.link_bandwidth = rate * 1e9 / 8;
    const Plan plan = search(request);
    const double agg = plan.aggregated.empty() ? 0 : plan.aggregated.front().tokens_per_gpu;
    const double disagg = plan.disaggregated.empty() ? 0 : plan.disaggregated.front().tokens_per_gpu;
    if (agg_ran < 0) agg_ran = simulated(plan.aggregated);  // has no link
    const double disagg_ran = simulated(plan.disaggregated);
    const std::array values{agg, disagg, agg_ran, disagg_ran};
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] > 0) chart.series[i].points.emplace_back(rate, values[i]);
    std::printf("%12.2f %14.2f %14.2f %14.2f %14.2f\n", rate, agg, disagg, agg_ran, disagg_ran);
    planned.add(rate, disagg - agg);
    if (disagg_ran > 0) ran.add(rate, disagg_ran - agg_ran);
  }
  const auto tell = [&](const char* who, const Crossing& crossing) {
    std::printf("%s: %zu crossing%s", who, crossing.found.size(), crossing.found.size() == 1 ? "" : "s");
    for (const double at : crossing.found) std::printf(", at %.1f Gbit/s", at);
    std::printf("; at the fastest link %s wins\n", crossing.lead > 0 ? "disaggregated" : "aggregated");
  };
  tell("planned", planned);
  if (ran.before > 0) tell("simulated", ran);
  for (const double at : planned.found)
    chart.marks.emplace_back(at, std::to_string(std::lround(at)) + " Gbit/s");
  std::erase_if(chart.series, [](const ChartSeries& series) { return series.points.empty(); });
  std::ofstream out(command.sweep_link);
  const std::array charts{chart};
  write_svg(out, charts);
  out.close();
  if (!out)
    return make_error(ErrorCode::io, "--sweep-link: cannot write " + command.sweep_link, "--sweep-link");
  return {};
}

// A bar, for searches that take longer than one cares to wait in silence.
SearchProgress search_progress() {
  const auto bar = count_progress("searching");
  if (!bar) return {};
  return [bar, begin = std::chrono::steady_clock::now(), shown = false](std::size_t done,
                                                                        std::size_t all) mutable {
    shown = shown || std::chrono::steady_clock::now() - begin > std::chrono::seconds(1);
    if (shown) bar(done, all);
  };
}

int run(PlanCommand& command) {
  const auto complain = [](const Error& error) {
    std::cerr << "baton plan: " << error.message << '\n';
    return error.code == ErrorCode::invalid_argument ? 2 : 1;
  };
  if (auto applied = command.flags.apply(); !applied) return complain(applied.error());
  if (!command.check.calibrate.empty()) {
    if (auto done = calibrate(command.check); !done) return complain(done.error());
    if (command.choice.model.empty()) return 0;
    command.choice.system = command.check.calibrate;
  }
  Catalog catalog;
  catalog.profile_file = command.choice.profile_file;
  const auto request = request_of(command, catalog);
  if (!request) return complain(request.error());
  if (!command.check.verify.empty()) {
    const auto done = verify(command.check, *request);
    return done ? 0 : complain(done.error());
  }
  if (!command.sweep_link.empty()) {
    const auto done = sweep(command, *request);
    return done ? 0 : complain(done.error());
  }
  const auto begin = std::chrono::steady_clock::now();
  Plan plan = search(*request, search_progress());
  if (command.choice.backend == "baton") refine_by_simulation(*request, plan);
  const SystemSpec& system = request->prefill.system;
  const EngineProfile& profile = request->prefill.profile;
  PlanNames names{command.choice.model,
                  system.name,
                  command.choice.decode_system,
                  profile.backend,
                  profile.version,
                  command.choice.link,
                  profile.provenance + "; " + system.name + " " + system.provenance,
                  0};
  if (command.choice.backend == "baton")
    names.efficiencies += "; the top choices are simulated with the daemon's own scheduler";
  names.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (command.json)
    std::cout << to_json(*request, plan, names).dump(2) << '\n';
  else
    print_report(std::cout, *request, plan, names);
  if (!command.save_dir.empty()) {
    const auto saved = save(command, *request, plan, names);
    if (!saved) return complain(saved.error());
    (command.json ? std::cerr : std::cout)
        << "\nWritten: " << saved->string() << "/report.html and beside it\n";
  }
  return plan.best() == nullptr ? 1 : 0;
}

}  // namespace

void add_plan(CLI::App& app, Chosen& chosen) {
  auto plan = std::make_shared<PlanCommand>();  // shared: lives as long as the callbacks of the parser
  CLI::App* command =
      app.add_subcommand("plan", "Find the deployment that meets latency targets with the most throughput");
  plan->flags.add_to(*command);
  command->callback([plan, &chosen] { chosen.run = [plan] { return run(*plan); }; });
}

}  // namespace baton
