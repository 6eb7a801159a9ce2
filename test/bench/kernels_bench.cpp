// Kernel speed beside this machine's ceilings, measured in the same run: DRAM read bandwidth and fp32 FMA
// rate with all threads, then matrix products and attention through Ops. Not a test: nothing here passes or
// fails.
//
//   kernels_bench [--threads n] [--isa name] [--n 5632] [--k 2048] [--clock wall|cpu]
//
// On a machine that others use too, --clock cpu counts the processor time this process got, divided by its
// threads, for ceilings and kernels alike. Each figure is the best and the median of several rounds; weights
// are rotated through more memory than the last level cache holds, so that products with few rows read DRAM
// as a real step does.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "baton/tensor/ops.hpp"
#include "bench/ceilings.hpp"

namespace {

using baton::DType;
using baton::bench::Figure;
using baton::bench::measure;

struct Arguments {
  int threads = 0;
  std::string isa = "auto";
  std::int64_t n = 5632;
  std::int64_t k = 2048;
  bool cpu_clock = false;
};

void print(const std::string& what, Figure figure, double unit, const char* name, Figure ceiling) {
  std::printf("%-34s %9.1f best %9.1f median %s", what.c_str(), figure.best / unit, figure.median / unit,
              name);
  if (ceiling.best > 0) {
    std::printf("   %5.1f %% of the ceiling (medians %5.1f %%)", 100 * figure.best / ceiling.best,
                100 * figure.median / ceiling.median);
  }
  std::printf("\n");
}

baton::Linear pack(baton::Ops& ops, const std::vector<std::byte>& bytes, DType dtype, std::int64_t out,
                   std::int64_t in) {
  const baton::WeightView view{.data = bytes.data(), .dtype = dtype, .out = out, .in = in};
  auto packed = ops.pack({&view, 1});
  if (!packed) {
    std::fprintf(stderr, "%s\n", packed.error().message.c_str());
    std::exit(1);
  }
  return *std::move(packed);
}

void bench_products(baton::Ops& ops, const Arguments& arguments, DType dtype, Figure bandwidth,
                    Figure flops) {
  const auto bytes = static_cast<std::size_t>(arguments.n * arguments.k) * baton::size_of(dtype);
  const std::vector<std::byte> source(bytes, std::byte{0x3C});
  std::vector<baton::Linear> weights;
  for (std::size_t held = 0; held < (std::size_t{256} << 20); held += bytes) {
    weights.push_back(pack(ops, source, dtype, arguments.n, arguments.k));
  }
  std::size_t next = 0;
  for (const std::int64_t rows : {1, 2, 4, 6, 8, 16, 64, 512}) {
    std::vector<float> values(static_cast<std::size_t>(rows * arguments.k), 0.01F);
    const baton::Tensor x{values.data(), DType::f32, rows, arguments.k, arguments.k};
    const std::string what = "matmul " + std::string(to_string(dtype)) + " M=" + std::to_string(rows);
    const int calls = rows >= 64 ? 1 : 8;
    const auto call = [&] {
      for (int i = 0; i < calls; ++i) {
        const baton::Ops::Scope scope(ops);
        ops.matmul(x, weights[next++ % weights.size()]);
      }
    };
    const double products = 2.0 * static_cast<double>(rows * arguments.n * arguments.k) * calls;
    if (rows <= 16) {
      print(what, measure(15, static_cast<double>(bytes) * calls, call), 1e9, "GB/s   ", bandwidth);
    }
    if (rows >= 4) print(what, measure(9, products, call), 1e9, "GFLOP/s", flops);
  }
}

void bench_attention(baton::Ops& ops, const baton::AttentionShape& shape, std::int64_t rows,
                     std::int64_t context) {
  const baton::KvLayout layout{.dtype = DType::bf16,
                               .layers = 1,
                               .kv_heads = shape.kv_heads,
                               .head_dim = shape.head_dim,
                               .block_size = 16};
  const auto blocks = static_cast<std::int32_t>((context + 15) / 16);
  auto memory = baton::Buffer::allocate({}, layout.block_bytes() * static_cast<std::size_t>(blocks));
  if (!memory) std::exit(1);
  baton::Batch batch;
  batch.sequences.push_back(
      {0, static_cast<std::int32_t>(rows), static_cast<std::int32_t>(context - rows), 0});
  for (std::int32_t i = 0; i < blocks; ++i) batch.block_table.push_back(blocks - 1 - i);
  batch.positions.resize(static_cast<std::size_t>(rows));
  ops.begin_step(batch, {.base = memory->data(), .layout = layout, .blocks = blocks});
  const std::int64_t cols = std::int64_t{shape.query_heads} * shape.head_dim;
  std::vector<float> values(static_cast<std::size_t>(rows * cols), 0.01F);
  const baton::Tensor q{values.data(), DType::f32, rows, cols, cols};
  const auto call = [&] {
    const baton::Ops::Scope scope(ops);
    ops.attention(0, q, shape);
  };
  const double keys =
      static_cast<double>(rows) * (static_cast<double>(context) - static_cast<double>(rows - 1) / 2);
  const Figure figure = measure(9, 1.0, call);
  std::printf(
      "attention %2d/%2d x %3d, rows %4lld, context %5lld: %9.1f us best %9.1f median, %7.1f GFLOP/s, KV "
      "%5.1f GB/s\n",
      shape.query_heads, shape.kv_heads, shape.head_dim, static_cast<long long>(rows),
      static_cast<long long>(context), 1e6 / figure.best, 1e6 / figure.median,
      4.0 * keys * static_cast<double>(cols) * figure.best / 1e9,
      static_cast<double>(memory->size()) * figure.best / 1e9);
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--threads") arguments.threads = std::atoi(argv[i + 1]);
    if (name == "--isa") arguments.isa = argv[i + 1];
    if (name == "--clock") arguments.cpu_clock = std::string(argv[i + 1]) == "cpu";
    if (name == "--n") arguments.n = std::atoll(argv[i + 1]);
    if (name == "--k") arguments.k = std::atoll(argv[i + 1]);
  }
  if (arguments.threads == 0) arguments.threads = static_cast<int>(std::thread::hardware_concurrency());
  if (arguments.cpu_clock) baton::bench::use_cpu_clock(arguments.threads);
  return arguments;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  auto ops = baton::make_ops({.threads = arguments.threads, .isa = arguments.isa});
  if (!ops) {
    std::fprintf(stderr, "%s\n", ops.error().message.c_str());
    return 1;
  }
  baton::Ops& cpu = **ops;
  std::printf("%s, %d threads, N=%lld K=%lld\n", cpu.numerics_id().c_str(), arguments.threads,
              static_cast<long long>(arguments.n), static_cast<long long>(arguments.k));
  Figure bandwidth{}, flops{};
  {
    baton::ThreadPool pool(arguments.threads);
    bandwidth = baton::bench::read_bandwidth(pool);
    flops = baton::bench::fma_rate(pool, cpu.numerics_id().find("avx512") != std::string::npos);
  }
  print("DRAM read", bandwidth, 1e9, "GB/s   ", {});
  print("fp32 FMA", flops, 1e9, "GFLOP/s", {});
  bench_products(cpu, arguments, DType::bf16, bandwidth, flops);
  bench_products(cpu, arguments, DType::f32, bandwidth, flops);
  for (const auto& [rows, context] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1, 2048}, {8, 2048}, {512, 512}, {512, 2048}, {512, 4096}}) {
    bench_attention(cpu, {32, 4, 64, 0.125F}, rows, context);
  }
  bench_attention(cpu, {16, 16, 128, 0.1F}, 1, 2048);
  bench_attention(cpu, {16, 16, 128, 0.1F}, 512, 2048);
  return 0;
}
