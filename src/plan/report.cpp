#include "baton/plan/report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "plan/table.hpp"

namespace baton {
namespace {

constexpr int kWidth = 100;

void rule(std::ostream& out) { out << std::string(kWidth, '-') << '\n'; }

void print_rows(std::ostream& out, const std::vector<TextRow>& rows) {
  std::vector<std::size_t> widths(rows.empty() ? 0 : rows.front().size(), 0);
  for (const TextRow& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  const auto line = [&] {
    out << '+';
    for (const std::size_t width : widths) out << std::string(width + 2, '-') << '+';
    out << '\n';
  };
  line();
  for (const TextRow& row : rows) {
    out << '|';
    for (std::size_t i = 0; i < row.size(); ++i)
      out << ' ' << row[i] << std::string(widths[i] - row[i].size(), ' ') << " |";
    out << '\n';
    if (&row == rows.data()) line();
  }
  line();
}

// Both fronts on a grid of characters: the best throughput that each column's speed allows.
void print_front(std::ostream& out, const Plan& plan) {
  constexpr int kColumns = 72, kRows = 16;
  double right = 0, top = 0;
  for (const auto* front : {&plan.aggregated_front, &plan.disaggregated_front})
    for (const FrontPoint& p : *front)
      right = std::max(right, p.tokens_per_user), top = std::max(top, p.tokens_per_gpu);
  if (right <= 0 || top <= 0) return;
  std::array<std::string, kRows> grid;
  grid.fill(std::string(kColumns, ' '));
  const auto draw = [&](const std::vector<FrontPoint>& front, char mark) {
    for (int column = 0; column < kColumns; ++column) {
      const double from = right * column / kColumns;
      double reached = -1;
      for (const FrontPoint& p : front)
        if (p.tokens_per_user >= from) reached = std::max(reached, p.tokens_per_gpu);
      if (reached <= 0) continue;
      const int row = std::clamp(static_cast<int>((1 - reached / top) * kRows), 0, kRows - 1);
      char& cell = grid[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)];
      cell = cell == ' ' ? mark : '*';
    }
  };
  draw(plan.aggregated_front, 'a');
  draw(plan.disaggregated_front, 'd');
  out << "Pareto Front: tokens/s/gpu over tokens/s/user, TTFT within its limit (a: aggregated, d: "
         "disaggregated, *: both)\n\n";
  for (int row = 0; row < kRows; ++row) {
    const std::string label = row % 5 == 0 ? fixed(top * (kRows - row) / kRows, 0) : "";
    out << std::string(10 - std::min<std::size_t>(10, label.size()), ' ') << label << " |"
        << grid[static_cast<std::size_t>(row)] << '\n';
  }
  out << std::string(11, ' ') << '+' << std::string(kColumns, '-') << '\n' << std::string(11, ' ');
  for (int tick = 0; tick < 6; ++tick) {
    const std::string label = fixed(right * tick / 6, 0);
    out << label << std::string(kColumns / 6 - std::min<std::size_t>(kColumns / 6, label.size()), ' ');
  }
  out << fixed(right, 0) << "\n\n";
}

std::string limits(const PlanRequest& r) {
  std::string text = "ISL " + fixed(r.load.input, 0) +
                     (r.load.prefix > 0 ? " (" + fixed(r.load.prefix, 0) + " cached)" : "") + ", OSL " +
                     fixed(r.load.output, 0);
  if (r.ttft > 0) text += ", TTFT <= " + fixed(r.ttft * 1e3, 2) + " ms";
  if (r.tpot > 0) text += ", TPOT <= " + fixed(r.tpot * 1e3, 2) + " ms";
  if (r.latency > 0) text += ", request latency <= " + fixed(r.latency * 1e3, 0) + " ms";
  return text;
}

std::string chosen(const Plan& plan) {
  const Choice* best = plan.best();
  if (best == nullptr) return "none";
  std::string text =
      (best->disaggregated ? "disagg at " : "agg at ") + fixed(best->tokens_per_gpu, 2) + " tokens/s/gpu";
  if (!plan.aggregated.empty() && !plan.disaggregated.empty())
    text += " (disagg " +
            fixed(plan.disaggregated.front().tokens_per_gpu / plan.aggregated.front().tokens_per_gpu, 2) +
            "x better)";
  return text;
}

std::string memory_text(const Choice& c) {
  const auto one = [](const Memory& m) {
    return fixed(m.weights / 1e9, 1) + " GB weights, " + fixed(m.kv / 1e9, 1) + " GB KV cache, " +
           fixed(m.other / 1e9, 1) + " GB beside";
  };
  if (!c.disaggregated) return one(c.estimate.decode_memory) + " on each GPU";
  return "prefill " + one(c.estimate.prefill_memory) + "; decode " + one(c.estimate.decode_memory);
}

std::vector<TextRow> inputs(const PlanRequest& r, const Plan& plan, const PlanNames& n) {
  std::vector<TextRow> rows{
      {"Model", n.model + " (is_moe: " + (r.prefill.model.experts > 0 ? "True" : "False") + ")"},
      {"System", n.system + (n.decode_system.empty() ? "" : ", decode on " + n.decode_system)},
      {"Total GPUs", std::to_string(r.gpus)},
      {"Load and SLA", limits(r)},
      {"Weights, KV cache",
       std::string(to_string(r.prefill.weights)) + ", " + std::string(to_string(r.prefill.kv))},
      {"Link", fixed(r.prefill.system.link_bandwidth * 8 / 1e9, 0) + " Gbit/s for each " +
                   (r.prefill.profile.traits.one_process ? "engine" : "GPU") +
                   (n.link.empty() ? "" : " (" + n.link + ")")},
      {"Backend", n.backend + (n.backend_version.empty() ? "" : " " + n.backend_version)},
      {"Figures from", n.efficiencies},
      {"Best Experiment Chosen", chosen(plan)},
      {"Evaluated", std::to_string(plan.evaluated) + " deployments in " + fixed(n.seconds, 3) + " s"}};
  return rows;
}

std::vector<TextRow> best_rows(const Choice& best) {
  const Estimate& e = best.estimate;
  return {{"Best Throughput", grouped(best.tokens_per_second()) + " tokens/s"},
          {"Per-GPU Throughput", fixed(best.tokens_per_gpu, 2) + " tokens/s/gpu"},
          {"Per-User Throughput", fixed(e.tokens_per_user, 2) + " tokens/s/user"},
          {"TTFT", fixed(e.ttft * 1e3, 2) + "ms"},
          {"TPOT", fixed(e.tpot * 1e3, 2) + "ms"},
          {"Request Latency", fixed(e.latency * 1e3, 2) + "ms"},
          {"Requests", fixed(e.requests_per_second * best.replicas, 2) + "/s at concurrency " +
                           fixed(best.concurrency(), 0)},
          {"Memory", memory_text(best)}};
}

nlohmann::json choice_json(const Choice& c) {
  const auto split = [](const Split& s) {
    return nlohmann::json{{"tp", s.tensor},
                          {"pp", s.pipeline},
                          {"dp", s.data},
                          {"moe_tp", s.expert_tensor},
                          {"moe_ep", s.expert_parallel()}};
  };
  const Estimate& e = c.estimate;
  nlohmann::json out{{"mode", c.disaggregated ? "disagg" : "agg"},
                     {"tokens_per_second_per_gpu", c.tokens_per_gpu},
                     {"tokens_per_second_per_user", e.tokens_per_user},
                     {"tokens_per_second", c.tokens_per_second()},
                     {"ttft_ms", e.ttft * 1e3},
                     {"tpot_ms", e.tpot * 1e3},
                     {"request_latency_ms", e.latency * 1e3},
                     {"concurrency", c.concurrency()},
                     {"gpus_used", c.gpus_used()},
                     {"replicas", c.replicas},
                     {"batch_size", c.batch},
                     {"weights_gb", e.decode_memory.weights / 1e9},
                     {"kv_gb", e.decode_memory.kv / 1e9}};
  if (!c.disaggregated) {
    out["parallel"] = split(c.split);
    return out;
  }
  out["prefill"] = {
      {"workers", c.prefill_workers}, {"batch_size", c.prefill_batch}, {"parallel", split(c.prefill)}};
  out["decode"] = {{"workers", c.decode_workers}, {"batch_size", c.batch}, {"parallel", split(c.decode)}};
  out["kv_bytes_per_prompt"] = e.kv_per_prompt;
  out["transfer_ms"] = e.transfer * 1e3;
  out["link_utilised"] = e.link_utilised;
  return out;
}

std::string escaped(const std::string& plain) {
  std::string out;
  for (const char c : plain) out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

void html_rows(std::ostream& out, const std::vector<TextRow>& rows, bool header) {
  out << "<table>\n";
  for (const TextRow& row : rows) {
    const char* cell = header && &row == rows.data() ? "th" : "td";
    out << "<tr>";
    for (const std::string& text : row) out << '<' << cell << '>' << escaped(text) << "</" << cell << '>';
    out << "</tr>\n";
  }
  out << "</table>\n";
}

}  // namespace

void print_report(std::ostream& out, const PlanRequest& request, const Plan& plan, const PlanNames& names) {
  const std::string title = "Baton plan: results";
  out << std::string(kWidth, '*') << "\n*" << std::string((kWidth - 2 - title.size()) / 2, ' ') << title
      << std::string((kWidth - 1 - title.size()) / 2, ' ') << "*\n"
      << std::string(kWidth, '*') << '\n';
  rule(out);
  out << "Input Configuration & SLA Target:\n";
  for (const TextRow& row : inputs(request, plan, names)) out << "  " << row[0] << ": " << row[1] << '\n';
  rule(out);
  if (const Choice* best = plan.best()) {
    out << "Overall Best Configuration:\n";
    for (const TextRow& row : best_rows(*best)) out << "  - " << row[0] << ": " << row[1] << '\n';
    out << '\n';
  }
  out << plan.reason(request) << '\n';
  rule(out);
  print_front(out, plan);
  for (const auto* choices : {&plan.aggregated, &plan.disaggregated}) {
    if (choices->empty()) continue;
    out << (choices->front().disaggregated ? "disagg" : "agg")
        << " Top Configurations: (Sorted by tokens/s/gpu)\n";
    print_rows(out, choice_rows(*choices));
  }
}

nlohmann::json to_json(const PlanRequest& request, const Plan& plan, const PlanNames& names) {
  nlohmann::json out{{"model", names.model},
                     {"system", names.system},
                     {"backend", names.backend},
                     {"total_gpus", request.gpus},
                     {"isl", request.load.input},
                     {"osl", request.load.output},
                     {"precision", to_string(request.prefill.weights)},
                     {"kv_dtype", to_string(request.prefill.kv)},
                     {"provenance", names.efficiencies},
                     {"reason", plan.reason(request)},
                     {"evaluated", plan.evaluated},
                     {"seconds", names.seconds}};
  const auto list = [](const std::vector<Choice>& choices) {
    nlohmann::json all = nlohmann::json::array();
    for (const Choice& choice : choices) all.push_back(choice_json(choice));
    return all;
  };
  out["best"] = plan.best() == nullptr ? nlohmann::json(nullptr) : choice_json(*plan.best());
  out["agg"] = list(plan.aggregated);
  out["disagg"] = list(plan.disaggregated);
  return out;
}

void write_choices_csv(std::ostream& out, const std::vector<Choice>& choices) {
  for (const TextRow& row : choice_rows(choices)) {
    for (std::size_t i = 0; i < row.size(); ++i) out << (i == 0 ? "" : ",") << row[i];
    out << '\n';
  }
}

void write_front_csv(std::ostream& out, const std::vector<FrontPoint>& front) {
  out << "tokens/s/user,tokens/s/gpu\n";
  for (const FrontPoint& p : front)
    out << fixed(p.tokens_per_user, 4) << ',' << fixed(p.tokens_per_gpu, 4) << '\n';
}

Chart front_chart(const PlanRequest& request, const Plan& plan, const PlanNames& names) {
  Chart chart{.title = names.model + " on " + std::to_string(request.gpus) + " " + names.system,
              .x_label = "tokens/s/user",
              .y_label = "tokens/s/gpu",
              .series = {},
              .marks = {}};
  const auto add = [&](const char* name, const std::vector<FrontPoint>& front) {
    ChartSeries series{name, {}, false};
    for (const FrontPoint& p : front) series.points.emplace_back(p.tokens_per_user, p.tokens_per_gpu);
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  };
  add("aggregated", plan.aggregated_front);
  add("disaggregated", plan.disaggregated_front);
  if (request.tpot > 0) chart.marks.emplace_back(1 / request.tpot, "TPOT limit");
  return chart;
}

void write_html(std::ostream& out, const PlanRequest& request, const Plan& plan, const PlanNames& names) {
  out << "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Baton plan: "
      << escaped(names.model)
      << "</title>\n<style>body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem "
         "auto;padding:0 1rem;color:#222}"
         "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
         "th,td{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left}th{background:#f4f4f4}"
         ".lead{font-size:1.15rem;background:#eef6fb;padding:1rem;border-left:4px solid #0072b2}</style>\n"
      << "<h1>" << escaped(names.model) << " on " << request.gpus << " &times; " << escaped(names.system)
      << "</h1>\n"
      << "<p class=\"lead\">" << escaped(plan.reason(request)) << "</p>\n<h2>Asked</h2>\n";
  html_rows(out, inputs(request, plan, names), false);
  if (const Choice* best = plan.best()) {
    out << "<h2>Best configuration</h2>\n";
    html_rows(out, best_rows(*best), false);
  }
  out << "<h2>Throughput against speed</h2>\n";
  const std::array charts{front_chart(request, plan, names)};
  if (!charts.front().series.empty()) write_svg(out, charts);
  for (const auto* choices : {&plan.aggregated, &plan.disaggregated}) {
    if (choices->empty()) continue;
    out << "<h2>" << (choices->front().disaggregated ? "Disaggregated" : "Aggregated") << "</h2>\n";
    html_rows(out, choice_rows(*choices), true);
  }
  out << "<h2>Where a step's time goes</h2>\n";
  if (const Choice* best = plan.best()) {
    std::vector<TextRow> rows{{"operation", "prefill step, ms", "decode step, ms"}};
    for (const Operation& o : best->estimate.operations)
      rows.push_back({o.name, fixed(o.prefill * 1e3, 3), fixed(o.decode * 1e3, 3)});
    html_rows(out, rows, true);
  }
  out << "</html>\n";
}

}  // namespace baton
