// baton_gpu_bench: kernels, models and the serving loop on one GPU beside its ceilings.
//
//   baton_gpu_bench [kernels] [4b] [8b] [fp8] [serve] [--batch-tokens 1024] [--clients 64,72,80] [--seconds
//   4]
//   [--deterministic]
//
// Without a section: all of them. docs/benchmarks.md has the figures and the commands.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "ceilings.hpp"
#include "kernel_tests.hpp"
#include "serving_bench.hpp"

using namespace baton;
using namespace baton::gpu;

namespace {

struct Arguments {
  std::vector<std::string> sections;
  ServingOptions serving;
  bool deterministic = false;
  bool wants(const std::string& section) const {
    if (sections.empty()) return true;
    for (const std::string& name : sections)
      if (name == section) return true;
    return false;
  }
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  arguments.serving.concurrency = {56, 64, 72, 80, 88};
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "0";
    if (name == "--deterministic") {
      arguments.deterministic = true;
      continue;
    }
    if (name == "--batch-tokens") {
      arguments.serving.batch_tokens = std::atoi(value);
    } else if (name == "--seconds") {
      arguments.serving.seconds = std::atof(value);
    } else if (name == "--clients") {
      arguments.serving.concurrency.clear();
      std::istringstream list(value);
      for (std::string part; std::getline(list, part, ',');)
        arguments.serving.concurrency.push_back(std::atoi(part.c_str()));
    } else {
      arguments.sections.push_back(name);
      continue;
    }
    ++i;
  }
  return arguments;
}

void bench_model(const ModelSize& size, const Ceilings& ceilings, const Arguments& arguments, bool steps,
                 bool serve) {
  auto ops = make_random_ops({.device = {DeviceKind::cuda, 0}, .deterministic = arguments.deterministic});
  if (!ops) return;
  auto model = make_random_model(size, *ops);
  if (!model) std::exit(1);
  if (steps) {
    std::printf("%s: %.2f GB of weights in a decode step\n", size.name.c_str(), size.weight_bytes() / 1e9);
    for (const DType kv : {DType::bf16, DType::e4m3}) {
      decode_bench(size, *ops, *model, ceilings, kv, 1, 4096);
      decode_bench(size, *ops, *model, ceilings, kv, 8, 4096);
      decode_bench(size, *ops, *model, ceilings, kv, 30, 4250);
      decode_bench(size, *ops, *model, ceilings, kv, 64, 4096);
      prefill_bench(size, *ops, *model, ceilings, kv, 4000, 4000);
      prefill_bench(size, *ops, *model, ceilings, kv, 4000, 1000);
    }
  }
  if (!serve) return;
  ServingOptions serving = arguments.serving;
  serving.kv = DType::e4m3;
  serving_bench(size, *ops, *model, ceilings, serving);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  if (const auto gpus = list_gpus(); !gpus) {
    std::printf("BATON-SKIPPED[gpu] the GPU benchmark: %s\n", gpus.error().message.c_str());
    return 77;
  }
  cudaStream_t stream = nullptr;
  cudaStreamCreate(&stream);
  const Ceilings ceilings = measure_ceilings(stream);
  std::printf("%s: copy %.0f GB/s (read + write), bf16 product %.0f TFLOP/s\n", ceilings.gpu.c_str(),
              ceilings.copy_bytes / 1e9, ceilings.bf16_flops / 1e12);
  std::fflush(stdout);
  if (arguments.wants("kernels")) {
    matmul_bench(ceilings.copy_bytes / 1e9, ceilings.bf16_flops / 1e12);
    attention_bench(ceilings.copy_bytes / 1e9, ceilings.bf16_flops / 1e12);
    rows_bench(ceilings.copy_bytes / 1e9);
  }
  if (arguments.wants("4b") || arguments.wants("serve"))
    bench_model(nemotron_4b(), ceilings, arguments, arguments.wants("4b"), arguments.wants("serve"));
  if (arguments.wants("8b")) bench_model(llama_8b(), ceilings, arguments, true, false);
  if (arguments.wants("fp8")) {
    bench_model(in_fp8(nemotron_4b()), ceilings, arguments, true, false);
    bench_model(in_fp8(llama_8b()), ceilings, arguments, true, false);
  }
  return 0;
}
