// baton synth: a random-weight checkpoint of any Llama or Mixtral shape, for benchmarks.
#include "baton/model/synth.hpp"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "app/command.hpp"
#include "app/system.hpp"

namespace baton {
namespace {

struct Synth {
  std::string directory;
  std::string shape = "150M";
  std::string dtype = "bf16";
  std::int32_t hidden = 0, layers = 0, query_heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0,
               max_positions = 0, experts = 0, experts_per_token = 0;  // 0: the shape's
  std::int32_t seed = 0;
  bool tied = false;
  Flags flags{rows()};

  std::vector<ConfigRow> rows() {
    constexpr std::int64_t kMany = 1 << 24;
    return {
        choice_row({"--shape", "", "NAME", "150M or 1.1B; the flags below change single sizes of it"},
                   {"150M", "1.1B"}, shape),
        choice_row({"--dtype", "", "TYPE", "bf16, f16 or f32"}, {"bf16", "f16", "f32"}, dtype),
        int_row({"--hidden", "", "N", "hidden size"}, 0, kMany, hidden),
        int_row({"--layers", "", "N", "layers"}, 0, kMany, layers),
        int_row({"--heads", "", "N", "query heads"}, 0, kMany, query_heads),
        int_row({"--kv-heads", "", "N", "KV heads"}, 0, kMany, kv_heads),
        int_row({"--head-dim", "", "N", "size of a head"}, 0, kMany, head_dim),
        int_row({"--ffn", "", "N", "feed-forward size"}, 0, kMany, ffn),
        int_row({"--experts", "", "N", "experts of a layer, each with such a feed-forward; none if 0"}, 0,
                kMany, experts),
        int_row({"--experts-per-token", "", "N", "experts that a token goes to"}, 0, kMany,
                experts_per_token),
        int_row({"--vocab", "", "N", "vocabulary"}, 0, kMany, vocab),
        int_row({"--context", "", "N", "longest context"}, 0, kMany, max_positions),
        int_row({"--seed", "", "N", "equal seeds give equal bytes"}, 0, 1 << 30, seed),
        switch_row({"--tied", "", "", "tie the output to the embeddings"}, tied),
    };
  }
};

SynthOptions settle(const Synth& synth) {
  SynthOptions options = *synth_shape(synth.shape);
  const auto change = [](std::int32_t given, std::int32_t& target) {
    if (given > 0) target = given;
  };
  change(synth.hidden, options.hidden);
  change(synth.layers, options.layers);
  change(synth.query_heads, options.query_heads);
  change(synth.kv_heads, options.kv_heads);
  change(synth.head_dim, options.head_dim);
  change(synth.ffn, options.ffn);
  change(synth.experts, options.experts);
  change(synth.experts_per_token, options.experts_per_token);
  change(synth.vocab, options.vocab);
  change(synth.max_positions, options.max_positions);
  options.directory = synth.directory;
  options.dtype = synth.dtype == "f32" ? DType::f32 : synth.dtype == "f16" ? DType::f16 : DType::bf16;
  options.seed = static_cast<std::uint64_t>(synth.seed);
  options.tied = options.tied || synth.tied;
  return options;
}

int run(Synth& synth) {
  if (auto applied = synth.flags.apply(); !applied) {
    std::cerr << "baton synth: " << applied.error().message << '\n';
    return 2;
  }
  const SynthOptions options = settle(synth);
  if (auto written = write_synthetic_model(options, terminal_progress("writing " + synth.directory));
      !written) {
    std::cerr << "baton synth: " << written.error().message << '\n';
    return 1;
  }
  std::cout << synth.directory << ": " << synth_parameters(options) / 1000000
            << " million random parameters, " << synth.dtype << "\nserve it with: baton serve --model "
            << synth.directory << '\n';
  return 0;
}

}  // namespace

void add_synth(CLI::App& app, Chosen& chosen) {
  auto synth = std::make_shared<Synth>();  // shared: lives as long as the callbacks of the parser
  CLI::App* command = app.add_subcommand(
      "synth",
      "Write a random-weight Hugging Face checkpoint of any Llama or Mixtral shape, with a tokenizer");
  command->add_option("directory", synth->directory, "where it goes; must not hold a model yet")
      ->required()
      ->type_name("DIR");
  synth->flags.add_to(*command);
  command->callback([synth, &chosen] { chosen.run = [synth] { return run(*synth); }; });
}

}  // namespace baton
