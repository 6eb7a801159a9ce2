#include "app/command.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

namespace baton {

void Flags::add_to(CLI::App& command) {
  for (ConfigRow& row : rows_) {
    CLI::Option* option = nullptr;
    if (row.is_switch()) {
      option = command.add_flag_callback(
          row.flag, [this, &row] { given_.emplace_back(&row, "true"); }, row.help);
    } else if (row.repeatable) {
      const auto collect = [this, &row](const std::vector<std::string>& values) {
        for (const std::string& value : values) given_.emplace_back(&row, value);
      };
      option = command.add_option_function<std::vector<std::string>>(row.flag, collect, row.help)
                   ->allow_extra_args(false);
    } else {
      option = command.add_option_function<std::string>(
          row.flag, [this, &row](const std::string& value) { given_.emplace_back(&row, value); }, row.help);
    }
    if (!row.is_switch()) option->type_name(row.value_name);
    if (!row.shown_default.empty() && !row.is_switch()) option->default_str(row.shown_default);
    if (const auto dot = row.key.find('.'); dot != std::string::npos) option->group(row.key.substr(0, dot));
  }
}

Result<void> Flags::apply() {
  std::set<ConfigRow*> cleared;
  for (auto& [row, value] : given_) {
    row->given = true;
    if (row->clear && cleared.insert(row).second) row->clear();
    if (auto done = row->set(value); !done) return done;
  }
  return {};
}

bool Flags::given(const std::string& flag) const {
  return std::ranges::any_of(rows_, [&](const ConfigRow& row) { return row.flag == flag && row.given; });
}

}  // namespace baton
