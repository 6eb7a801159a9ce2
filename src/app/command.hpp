// How a subcommand meets the command line. Each has a file of its own and one entry here.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "baton/base/config.hpp"

namespace CLI {
class App;
}

namespace baton {

// The flags as given, before they are applied: a file's values come first, whatever the order on the command
// line.
class Flags {
 public:
  explicit Flags(std::vector<ConfigRow> rows) : rows_(std::move(rows)) {}
  void add_to(CLI::App& command);  // one flag for each row; *this must outlive the parsing
  std::vector<ConfigRow>& rows() { return rows_; }
  Result<void> apply();
  bool given(const std::string& flag) const;  // once applied: by a flag, or by a file before

 private:
  std::vector<ConfigRow> rows_;
  std::vector<std::pair<ConfigRow*, std::string>> given_;
};

// Each registers its flags and, if chosen, sets `run`, which returns the exit status.
struct Chosen {
  std::function<int()> run;
};
void add_serve(CLI::App& app, Chosen& chosen);
void add_pull(CLI::App& app, Chosen& chosen);
void add_api_key(CLI::App& app, Chosen& chosen);
void add_doctor(CLI::App& app, Chosen& chosen);
void add_simulate(CLI::App& app, Chosen& chosen);
void add_estimate(CLI::App& app, Chosen& chosen);
void add_plan(CLI::App& app, Chosen& chosen);
void add_bench(CLI::App& app, Chosen& chosen);
void add_role(CLI::App& app, Chosen& chosen);
void add_synth(CLI::App& app, Chosen& chosen);
void add_top(CLI::App& app, Chosen& chosen);
void add_version(CLI::App& app, Chosen& chosen);
void add_completion(CLI::App& app, Chosen& chosen);

const char* version_text();

}  // namespace baton
