// baton estimate: what exact deployments do, without a search.
#include "baton/plan/estimate.hpp"

#include <CLI/CLI.hpp>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/catalog.hpp"
#include "app/command.hpp"
#include "app/deployment.hpp"
#include "baton/base/units.hpp"
#include "baton/plan/rows.hpp"

namespace baton {
namespace {

struct EstimateCommand {
  DeploymentOptions choice;
  std::string mode = "agg", rows_file;
  std::int32_t isl = 4000, osl = 500, prefix = 0, batch = 1, tp = 1, pp = 1, dp = 1, ep = 1, prefill_tp = 1,
               decode_tp = 1, prefill_workers = 1, decode_workers = 1, prefill_batch = 1, decode_batch = 1;
  bool json = false;
  Flags flags{settings()};

  std::vector<ConfigRow> settings() {
    std::vector<ConfigRow> all = deployment_rows(choice);
    for (ConfigRow& row : std::vector<ConfigRow>{
             choice_row({"--mode", "", "agg|disagg", "engines that do both phases, or engines for each"},
                        {"agg", "disagg"}, mode),
             int_row({"--isl", "", "N", "prompt tokens of a request"}, 1, 1 << 24, isl),
             int_row({"--osl", "", "N", "output tokens of a request"}, 1, 1 << 24, osl),
             int_row({"--prefix", "", "N", "prompt tokens that are in the prefix cache"}, 0, 1 << 24, prefix),
             int_row({"--tp", "", "N", "GPUs that share each layer"}, 1, 1024, tp),
             int_row({"--pp", "", "N", "stages of a pipeline"}, 1, 64, pp),
             int_row({"--dp", "", "N", "groups of GPUs whose attention has requests of its own"}, 1, 1024,
                     dp),
             int_row({"--ep", "", "N", "GPUs that have experts of their own; 1: each expert is cut"}, 1, 1024,
                     ep),
             int_row({"--batch-size", "", "N", "concurrent requests of an engine (agg)"}, 1, 1 << 20, batch),
             int_row({"--prefill-tp", "", "N", "GPUs of a prefill engine (disagg)"}, 1, 1024, prefill_tp),
             int_row({"--decode-tp", "", "N", "GPUs of a decode engine (disagg)"}, 1, 1024, decode_tp),
             int_row({"--prefill-workers", "", "N", "prefill engines (disagg)"}, 1, 1 << 20, prefill_workers),
             int_row({"--decode-workers", "", "N", "decode engines (disagg)"}, 1, 1 << 20, decode_workers),
             int_row({"--prefill-batch-size", "", "N", "prompts in one step (disagg)"}, 1, 1 << 20,
                     prefill_batch),
             int_row({"--decode-batch-size", "", "N", "concurrent requests of a decode engine (disagg)"}, 1,
                     1 << 20, decode_batch),
             string_row({"--rows", "", "FILE.csv",
                         "many at once: a header and a line for each, with AIConfigurator's column names"},
                        rows_file),
             switch_row({"--json", "", "", "print JSON: an array, one object for each deployment"}, json)})
      all.push_back(std::move(row));
    return all;
  }
};

nlohmann::json memory_json(const Memory& m) {
  return {{"weights_gb", m.weights / 1e9}, {"kv_gb", m.kv / 1e9},          {"other_gb", m.other / 1e9},
          {"total_gb", m.total / 1e9},     {"kv_requests", m.kv_requests}, {"fits", m.fits}};
}

nlohmann::json to_json(const DeploymentRow& row, const Estimate& e, const std::string& provenance) {
  nlohmann::json out{{"backend", row.backend},
                     {"backend_version", row.version},
                     {"model", row.model},
                     {"system", row.system},
                     {"precision", to_string(row.precision)},
                     {"mode", row.disaggregated ? "disagg" : "agg"},
                     {"isl", row.load.input},
                     {"osl", row.load.output},
                     {"ttft_ms", e.ttft * 1e3},
                     {"tpot_ms", e.tpot * 1e3},
                     {"request_latency_ms", e.latency * 1e3},
                     {"tokens_per_second_per_gpu", e.tokens_per_gpu},
                     {"tokens_per_second_per_user", e.tokens_per_user},
                     {"requests_per_second", e.requests_per_second},
                     {"concurrency", e.concurrency},
                     {"gpus", e.gpus},
                     {"memory", memory_json(e.decode_memory)},
                     {"provenance", provenance}};
  if (row.disaggregated) {
    out["prefill_memory"] = memory_json(e.prefill_memory);
    out["kv_bytes_per_prompt"] = e.kv_per_prompt;
    out["transfer_ms"] = e.transfer * 1e3;
    out["link_utilised"] = e.link_utilised;
  }
  nlohmann::json operations = nlohmann::json::array();
  for (const Operation& o : e.operations)
    operations.push_back({{"name", o.name}, {"prefill_ms", o.prefill * 1e3}, {"decode_ms", o.decode * 1e3}});
  out["operations"] = std::move(operations);
  return out;
}

void print(std::ostream& out, const DeploymentRow& row, const Estimate& e, const std::string& provenance) {
  const auto ms = [](double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f ms", seconds * 1e3);
    return std::string(text);
  };
  const auto line = [&](const char* name, const std::string& value) {
    out << "  " << std::left << std::setw(34) << name << std::right << value << '\n';
  };
  const auto number = [](double value, const char* format) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return std::string(text);
  };
  out << row.model << " on " << row.system << ", " << to_string(row.precision) << ", "
      << (row.disaggregated ? "disaggregated" : "aggregated") << ", by " << row.backend << '\n'
      << "  efficiencies: " << provenance << "\n\n";
  line("TTFT", ms(e.ttft));
  line("TPOT", ms(e.tpot));
  line("request latency", ms(e.latency));
  line("tokens/s/GPU", number(e.tokens_per_gpu, "%.1f"));
  line("tokens/s/user", number(e.tokens_per_user, "%.1f"));
  line("requests/s", number(e.requests_per_second, "%.3f"));
  line("concurrent requests", number(e.concurrency, "%.0f"));
  line("GPUs", number(e.gpus, "%.0f"));
  if (row.disaggregated) {
    line("KV cache of a prompt", format_size(static_cast<std::uint64_t>(e.kv_per_prompt)));
    line("transfer after the prefill", ms(e.transfer));
    line("busiest link", number(e.link_utilised * 100, "%.1f %%"));
  }
  const auto memory = [&](const char* name, const Memory& m) {
    line(name, number(m.weights / 1e9, "%.1f GB weights, ") + number(m.kv / 1e9, "%.1f GB KV cache, ") +
                   number(m.other / 1e9, "%.1f GB beside; ") +
                   (m.fits ? "fits, " + number(m.kv_requests, "%.0f requests at most")
                           : "does not fit: room for " + number(m.kv_requests, "%.0f requests")));
  };
  if (row.disaggregated) memory("memory of a prefill GPU", e.prefill_memory);
  memory(row.disaggregated ? "memory of a decode GPU" : "memory of a GPU", e.decode_memory);
  out << "\n  " << std::left << std::setw(34) << "operation" << std::right << std::setw(14) << "prefill step"
      << std::setw(14) << "decode step" << '\n';
  for (const Operation& o : e.operations)
    out << "  " << std::left << std::setw(34) << o.name << std::right << std::setw(14) << ms(o.prefill)
        << std::setw(14) << ms(o.decode) << '\n';
}

int run(EstimateCommand& command) {
  const auto complain = [](const Error& error) {
    std::cerr << "baton estimate: " << error.message << '\n';
    return error.code == ErrorCode::invalid_argument ? 2 : 1;
  };
  if (auto applied = command.flags.apply(); !applied) return complain(applied.error());
  std::vector<DeploymentRow> rows;
  if (!command.rows_file.empty()) {
    std::ifstream in(command.rows_file);
    if (!in) return complain(make_error(ErrorCode::io, "--rows: cannot read " + command.rows_file, "--rows"));
    auto read = read_rows(in, command.rows_file);
    if (!read) return complain(read.error());
    rows = *std::move(read);
  } else {
    DeploymentRow row;
    row.backend = command.choice.backend;
    row.model = command.choice.model;
    row.system = command.choice.system;
    row.disaggregated = command.mode == "disagg";
    row.load = {double(command.isl), double(command.osl), double(std::min(command.prefix, command.isl - 1))};
    row.batch = command.batch;
    row.split = {double(command.tp), double(command.pp), double(command.dp),
                 std::max(1.0, double(command.tp) * command.dp / command.ep), double(command.ep)};
    row.prefill.tensor = command.prefill_tp, row.decode.tensor = command.decode_tp;
    row.prefill_workers = command.prefill_workers, row.decode_workers = command.decode_workers;
    row.prefill_batch = command.prefill_batch, row.decode_batch = command.decode_batch;
    rows.push_back(std::move(row));
  }
  Catalog catalog;
  catalog.profile_file = command.choice.profile_file;
  nlohmann::json results = nlohmann::json::array();
  for (DeploymentRow& row : rows) {
    std::string provenance;
    const auto estimate =
        estimate_row(row, command.rows_file.empty() ? &command.choice : nullptr, catalog, provenance);
    if (!estimate) return complain(estimate.error());
    if (command.json)
      results.push_back(to_json(row, *estimate, provenance));
    else
      print(std::cout, row, *estimate, provenance);
  }
  if (command.json) std::cout << results.dump(rows.size() == 1 ? 2 : -1) << '\n';
  return 0;
}

}  // namespace

void add_estimate(CLI::App& app, Chosen& chosen) {
  auto estimate =
      std::make_shared<EstimateCommand>();  // shared: lives as long as the callbacks of the parser
  CLI::App* command =
      app.add_subcommand("estimate", "What one exact deployment would do: latency, throughput, memory");
  estimate->flags.add_to(*command);
  command->callback([estimate, &chosen] { chosen.run = [estimate] { return run(*estimate); }; });
}

}  // namespace baton
