// What `baton top` shows: GET /cluster as a table. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace baton {

// `before` is an earlier answer, `seconds` older: rates come from the difference. A null one: no rates.
// Fields that are missing show as "-". Lines end with "\n"; no escape sequences.
std::string cluster_table(const nlohmann::json& now, const nlohmann::json& before, double seconds);

}  // namespace baton
