// Tokens per second of a model's forward pass, prefill and decode, beside what this machine could do at most:
// a decode step must read every weight once and its sequences' KV, a prefill must do its multiplications. Not
// a test: nothing here passes or fails.
//
//   model_bench DIRECTORY [--threads n] [--prompt 2048] [--chunk 512] [--context 512] [--rounds 5]
//               [--tensor-parallel 1] [--fp8 1] [--lora DIRECTORY]
//
// Prefill: one prompt in chunks. Decode: one token for each of 1, 4, 8 and 32 sequences that hold `context`
// tokens. With a LoRA adapter everything is measured once without it and once with it for every row. Ceilings
// come from bench/ceilings.hpp in the same run. Sampling and scheduling are not in it.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "baton/model/model.hpp"
#include "baton/tensor/buffer.hpp"
#include "baton/tensor/group.hpp"
#include "bench/ceilings.hpp"

using namespace baton;
using bench::Figure;

namespace {

struct Arguments {
  std::string directory;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  std::int32_t prompt = 2048, chunk = 512, context = 512;
  int rounds = 5;
  std::int32_t width = 1;
  bool fp8 = false;  // weights are quantised when they are loaded
  std::string lora;  // an adapter's directory
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  if (argc > 1) arguments.directory = argv[1];
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--lora") arguments.lora = argv[i + 1];
    const int value = std::atoi(argv[i + 1]);
    if (name == "--threads") arguments.threads = value;
    if (name == "--prompt") arguments.prompt = value;
    if (name == "--chunk") arguments.chunk = value;
    if (name == "--context") arguments.context = value;
    if (name == "--rounds") arguments.rounds = value;
    if (name == "--tensor-parallel") arguments.width = value;
    if (name == "--fp8") arguments.fp8 = value != 0;
  }
  return arguments;
}

template <class T>
T take(Result<T> result) {
  if (result) return *std::move(result);
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::exit(1);
}

constexpr std::int32_t kBlock = 16;

// Rows [first, first + rows) of each of `sequences` sequences; every sequence has `room` tokens of its own.
Batch make_batch(std::int32_t sequences, std::int32_t first, std::int32_t rows, std::int32_t room,
                 std::int32_t vocab) {
  Batch batch;
  const std::int32_t blocks = (room + kBlock - 1) / kBlock;
  for (std::int32_t s = 0; s < sequences; ++s) {
    batch.sequences.push_back({static_cast<std::int32_t>(batch.tokens.size()), rows, first,
                               static_cast<std::int32_t>(batch.block_table.size())});
    for (std::int32_t b = 0; b < blocks; ++b) batch.block_table.push_back(s * blocks + b);
    for (std::int32_t p = first; p < first + rows; ++p) {
      batch.tokens.push_back((s * 7919 + p * 104729) % vocab);
      batch.positions.push_back(p);
    }
    batch.logit_rows.push_back(static_cast<std::int32_t>(batch.tokens.size()) - 1);
  }
  return batch;
}

Batch adapted(Batch batch) {
  batch.adapters.assign(batch.tokens.size(), 0);
  batch.logit_adapters.assign(batch.logit_rows.size(), 0);
  return batch;
}

// What the arithmetic asks for, by the model's shape.
struct Work {
  double weights = 0;          // parameters that a row multiplies with, output included
  double block_weights = 0;    // without the output: it is computed for the last row of a prompt only
  double attention_flops = 0;  // of one row, for each position it looks at
  double expert_weights = 0;   // of one expert, in all layers that have any
  double experts = 0, experts_per_token = 0;

  // Parameters that a step of so many rows reads: of the experts, those that some row goes to if each goes to
  // experts of its own choice.
  double read(double rows) const {
    if (experts == 0) return weights;
    const double chosen = experts * (1 - std::pow(1 - experts_per_token / experts, rows));
    return weights + (chosen - experts_per_token) * expert_weights;
  }
};

Work work_of(const ModelConfig& c) {
  const double attention = 1.0 * c.hidden * c.head_dim * (2.0 * c.query_heads + 2.0 * c.kv_heads);
  Work work;
  const MixtureConfig& mixture = c.mixture;
  double expert_layers = 0;
  for (std::int32_t i = 0; i < c.layers; ++i) expert_layers += c.has_experts(i) ? 1 : 0;
  work.experts = mixture.experts, work.experts_per_token = mixture.per_token;
  work.expert_weights = expert_layers * 3.0 * c.hidden * mixture.ffn;
  work.block_weights = c.layers * attention + (c.layers - expert_layers) * 3.0 * c.hidden * c.ffn +
                       expert_layers * c.hidden * mixture.experts + mixture.per_token * work.expert_weights;
  work.weights = work.block_weights + 1.0 * c.hidden * c.vocab;
  work.attention_flops = 4.0 * c.layers * c.query_heads * c.head_dim;
  return work;
}

void print(const std::string& what, Figure rate, Figure ceiling, const char* bound) {
  std::printf("| %s | %.1f | %.1f | %.1f (%s) | %.0f %% |\n", what.c_str(), rate.best, rate.median,
              ceiling.median, bound, 100 * rate.median / ceiling.median);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  if (arguments.directory.empty()) {
    std::fprintf(stderr,
                 "usage: model_bench DIRECTORY [--threads n] [--prompt n] [--chunk n] [--context n]\n");
    return 1;
  }
  const auto group = take(make_ops_group({.threads = arguments.threads}, arguments.width));
  Ops& ops = group->rank(0);
  LoadOptions options{.quantization = arguments.fp8 ? Quantization::fp8 : Quantization::none};
  if (!arguments.lora.empty()) options.adapters.push_back({"lora", arguments.lora});
  auto model = take(load_model(arguments.directory, *group, options));
  const ModelConfig& config = model->config();
  const KvLayout layout = model->kv_spec(kBlock).layout;

  Figure bandwidth{}, flops{};
  {
    ThreadPool pool(arguments.threads);
    bandwidth = bench::read_bandwidth(pool);
    flops = bench::fma_rate(pool, ops.numerics_id().find("avx512") != std::string::npos);
  }
  std::printf("%s, %s, %d threads; DRAM read %.1f GB/s, fp32 FMA %.1f GFLOP/s (medians)\n\n",
              arguments.directory.c_str(), ops.numerics_id().c_str(), arguments.threads,
              bandwidth.median / 1e9, flops.median / 1e9);
  std::printf("| tokens/s | best | median | ceiling | reached |\n|---|---|---|---|---|\n");

  const std::int32_t most = 32;
  const std::int32_t room = std::max(arguments.prompt, arguments.context + 1);
  const std::int32_t blocks = std::max((room + kBlock - 1) / kBlock, most * (arguments.context / kBlock + 1));
  const Buffer memory = take(
      Buffer::allocate({}, layout.block_bytes() * static_cast<std::size_t>(blocks), {.huge_pages = true}));
  const KvView kv{memory.data(), layout, blocks};
  const Work work = work_of(config);

  const auto prefill = [&](bool with_adapter) {
    for (std::int32_t at = 0; at < arguments.prompt; at += arguments.chunk) {
      const Batch step =
          make_batch(1, at, std::min(arguments.chunk, arguments.prompt - at), room, config.vocab);
      (void)model->forward(with_adapter ? adapted(step) : step, kv, ops);
    }
  };
  const Figure prefilled = bench::measure(arguments.rounds, arguments.prompt, [&] { prefill(false); });
  const double flops_per_token =
      2 * work.block_weights + work.attention_flops * (arguments.prompt + 1) / 2 +
      2.0 * config.hidden * config.vocab * (arguments.prompt / arguments.chunk) / arguments.prompt;
  print("prefill " + std::to_string(arguments.prompt) + " in chunks of " + std::to_string(arguments.chunk),
        prefilled, {flops.best / flops_per_token, flops.median / flops_per_token}, "FLOPs");
  if (!arguments.lora.empty())
    print("the same with the adapter",
          bench::measure(arguments.rounds, arguments.prompt, [&] { prefill(true); }),
          {flops.best / flops_per_token, flops.median / flops_per_token}, "FLOPs");

  for (const std::int32_t sequences : {1, 4, 8, most}) {
    const std::int32_t own = arguments.context + 1;
    for (std::int32_t at = 0; at < arguments.context; at += 16)  // fills the cache; not measured
      (void)model->forward(make_batch(sequences, at, 16, own, config.vocab), kv, ops);
    const Batch step = make_batch(sequences, arguments.context, 1, own, config.vocab);
    const Figure decoded =
        bench::measure(4 * arguments.rounds, sequences, [&] { (void)model->forward(step, kv, ops); });
    const double output = 1.0 * config.hidden * config.vocab;  // never quantised
    const double element = static_cast<double>(size_of(config.weights));
    const double weight_bytes =
        (work.read(sequences) - output) * (arguments.fp8 ? 1 : element) + output * element;
    const double kv_bytes =
        1.0 * sequences * arguments.context * static_cast<double>(layout.bytes_per_token());
    const double step_flops = sequences * (2 * work.weights + work.attention_flops * arguments.context);
    const double by_bytes = bandwidth.median / (weight_bytes + kv_bytes),
                 by_flops = flops.median / step_flops;
    const double steps = std::min(by_bytes, by_flops);
    print("decode, batch " + std::to_string(sequences) + " at context " + std::to_string(arguments.context),
          decoded, {sequences * steps, sequences * steps}, by_bytes < by_flops ? "bandwidth" : "FLOPs");
    if (arguments.lora.empty()) continue;
    const Batch with_adapter = adapted(step);
    print(
        "the same with the adapter",
        bench::measure(4 * arguments.rounds, sequences, [&] { (void)model->forward(with_adapter, kv, ops); }),
        {sequences * steps, sequences * steps}, by_bytes < by_flops ? "bandwidth" : "FLOPs");
  }
  return 0;
}
