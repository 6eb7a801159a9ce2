// The report has what the guide's has; its files parse.
#include "baton/plan/report.hpp"

#include <nlohmann/json.hpp>
#include <sstream>

#include "plan/setups.hpp"
#include "support/catch.hpp"

using namespace baton;

namespace {

const PlanNames kNames{"org/model<1>", "card", "", "vllm", "0.1", "", "fitted to rows", 0.01};

std::string printed(const PlanRequest& request, const Plan& plan) {
  std::ostringstream out;
  print_report(out, request, plan, kNames);
  return out.str();
}

}  // namespace

TEST_CASE("the report shows inputs, best choice, front and both tables") {
  const PlanRequest request = plan_test::request();
  const Plan plan = search(request);
  const std::string text = printed(request, plan);
  for (const char* part :
       {"Input Configuration & SLA Target", "Total GPUs: 8", "is_moe: False", "Best Experiment Chosen: ",
        "x better)", "Overall Best Configuration", "Per-GPU Throughput", "Per-User Throughput",
        "Request Latency", "Pareto Front", "agg Top Configurations", "disagg Top Configurations",
        "| Rank | tokens/s/gpu | tokens/s/user | TTFT", "(p)parallel", "(d)parallel", "fitted to rows"})
    CHECK(text.find(part) != std::string::npos);
}

TEST_CASE("an empty plan is still a report") {
  PlanRequest request = plan_test::request();
  request.tpot = 1e-6;
  const std::string text = printed(request, search(request));
  CHECK(text.find("Nothing meets the targets") != std::string::npos);
  CHECK(text.find("Top Configurations") == std::string::npos);
}

TEST_CASE("JSON, CSV and HTML say the same") {
  const PlanRequest request = plan_test::request();
  const Plan plan = search(request);
  const nlohmann::json json = to_json(request, plan, kNames);
  CHECK(json["agg"].size() == plan.aggregated.size());
  CHECK(json["disagg"].size() == plan.disaggregated.size());
  CHECK(json["best"]["tokens_per_second_per_gpu"].get<double>() == plan.best()->tokens_per_gpu);
  std::ostringstream csv, html, front;
  write_choices_csv(csv, plan.aggregated);
  write_front_csv(front, plan.aggregated_front);
  write_html(html, request, plan, kNames);
  const std::string table = csv.str();
  CHECK(static_cast<std::size_t>(std::count(table.begin(), table.end(), '\n')) == plan.aggregated.size() + 1);
  CHECK(front.str().starts_with("tokens/s/user,tokens/s/gpu\n"));
  CHECK(html.str().find("org/model&lt;1>") != std::string::npos);
  CHECK(html.str().find("<svg") != std::string::npos);
}
