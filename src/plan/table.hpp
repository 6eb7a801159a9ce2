// The choices as rows of text, for the terminal, CSV and HTML alike.
#pragma once

#include <string>
#include <vector>

#include "baton/plan/search.hpp"

namespace baton {

using TextRow = std::vector<std::string>;

// The header first. Aggregated and disaggregated choices have different columns.
std::vector<TextRow> choice_rows(const std::vector<Choice>& choices);
std::string fixed(double value, int digits);
std::string grouped(double value);         // 15,140.82
std::string parallel(const Split& split);  // tp2pp1, with dp, etp and ep where there are experts

}  // namespace baton
