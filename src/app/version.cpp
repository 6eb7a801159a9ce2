// baton version, and the completion script for shells.
#include <CLI/CLI.hpp>
#include <iostream>

#include "app/command.hpp"
#include "app/version_number.hpp"
#include "baton/transfer/ucx_transport.hpp"

namespace baton {
namespace {

// Every subcommand and its flags, from the parser itself: a new flag needs no second list.
void print_completion(const CLI::App& app) {
  std::string commands;
  std::string cases;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    std::string flags;
    for (const CLI::Option* option : command->get_options())
      for (const std::string& name : option->get_lnames()) flags += " --" + name;
    commands += (commands.empty() ? "" : " ") + command->get_name();
    cases += "    " + command->get_name() + ") words=\"" + flags.substr(flags.empty() ? 0 : 1) + "\" ;;\n";
  }
  std::cout << "# bash completion for baton; zsh: run `autoload -U bashcompinit && bashcompinit` first.\n"
               "# Load it with: source <(baton completion)\n"
               "_baton() {\n"
               "  local current=${COMP_WORDS[COMP_CWORD]} words\n"
               "  case ${COMP_WORDS[1]} in\n"
            << cases << "    *) words=\"" << commands << "\" ;;\n"
            << "  esac\n"
               "  if [[ $COMP_CWORD -eq 1 ]]; then words=\""
            << commands
            << "\"; fi\n"
               "  if [[ $current == -* || $COMP_CWORD -eq 1 ]]; then COMPREPLY=($(compgen -W \"$words\" -- "
               "\"$current\"))\n"
               "  else COMPREPLY=($(compgen -f -- \"$current\")); fi\n"
               "}\n"
               "complete -o filenames -F _baton baton\n";
}

}  // namespace

const char* version_text() { return BATON_VERSION; }

void add_version(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("version", "Print the version and what this binary was built with");
  command->callback([&chosen] {
    chosen.run = [] {
      std::cout << "baton " << BATON_VERSION << "\nUCX " << ucx_version() << "\nbackends cpu"
                << (BATON_HAS_CUDA ? " cuda" : "") << '\n';
      return 0;
    };
  });
}

void add_completion(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("completion", "Print a completion script for bash (and zsh)");
  command->callback([&app, &chosen] {
    chosen.run = [&app] {
      print_completion(app);
      return 0;
    };
  });
}

}  // namespace baton
