// baton api-key: draws a key for --api-key-file. The key is shown once, on stderr; its line goes to stdout,
// so that `baton api-key alice >> keys` is all there is to do.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "app/command.hpp"
#include "baton/frontend/api_keys.hpp"

namespace baton {
namespace {

struct ApiKeyCommand {
  std::string name;
  bool admin = false;
};

int run(const ApiKeyCommand& command) {
  const auto key = draw_api_key();
  const auto line = key ? api_key_line(command.name, *key, command.admin) : Result<std::string>(key.error());
  if (!line) {
    std::cerr << "baton api-key: " << line.error().message << '\n';
    return key ? 2 : 1;
  }
  std::cerr << "The key, shown only this once: " << *key << '\n';
  std::cout << *line << '\n';
  return 0;
}

}  // namespace

void add_api_key(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<ApiKeyCommand>();  // shared: lives as long as the callbacks of the parser
  CLI::App* command = app.add_subcommand(
      "api-key", "Draw an API key: shows it on stderr, prints its line for --api-key-file on stdout");
  command->add_option("name", options->name, "the tenant that the key stands for")
      ->required()
      ->type_name("NAME");
  command->add_flag("--admin", options->admin, "the key may also use the admin routes");
  command->callback([options, &chosen] { chosen.run = [options] { return run(*options); }; });
}

}  // namespace baton
