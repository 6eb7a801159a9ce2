// What `baton plan` prints and writes: the report, the tables, the front, one page of HTML. Knows no files.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "baton/base/chart.hpp"
#include "baton/plan/search.hpp"

namespace baton {

// What the search itself does not know of what was asked.
struct PlanNames {
  std::string model, system, decode_system, backend, backend_version, link;
  std::string efficiencies;  // where each figure comes from
  double seconds = 0;        // that the search took
};

void print_report(std::ostream& out, const PlanRequest& request, const Plan& plan, const PlanNames& names);
nlohmann::json to_json(const PlanRequest& request, const Plan& plan, const PlanNames& names);

// The guide's columns, one line for each choice.
void write_choices_csv(std::ostream& out, const std::vector<Choice>& choices);
void write_front_csv(std::ostream& out, const std::vector<FrontPoint>& front);
Chart front_chart(const PlanRequest& request, const Plan& plan, const PlanNames& names);
void write_html(std::ostream& out, const PlanRequest& request, const Plan& plan, const PlanNames& names);

}  // namespace baton
