// baton: one binary, one subcommand for each job.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>

#include "app/command.hpp"

namespace {

constexpr int kBug = 70;  // EX_SOFTWARE of sysexits(3): no subcommand says so itself

int run(int argc, char** argv) {
  CLI::App app{
      "Baton serves large language models with prefill and decode on different machines.\n"
      "Start with `baton serve`, which serves the bundled demo model on http://127.0.0.1:8000."};
  app.name("baton");
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  baton::Chosen chosen;
  baton::add_serve(app, chosen);
  baton::add_pull(app, chosen);
  baton::add_api_key(app, chosen);
  baton::add_doctor(app, chosen);
  baton::add_simulate(app, chosen);
  baton::add_estimate(app, chosen);
  baton::add_plan(app, chosen);
  baton::add_bench(app, chosen);
  baton::add_top(app, chosen);
  baton::add_role(app, chosen);
  baton::add_synth(app, chosen);
  baton::add_version(app, chosen);
  baton::add_completion(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return chosen.run ? chosen.run() : 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {  // the main thread's root
    std::cerr << "baton: " << error.what() << '\n';
    return kBug;
  }
}
