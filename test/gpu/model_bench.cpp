// Steps of a whole model beside the GPU's ceilings: what a step must read or multiply at least, over what it
// took.
#include <cstdio>
#include <cstdlib>

#include "baton/engine/kv_memory.hpp"
#include "serving_bench.hpp"
#include "tensor/cuda/runtime.hpp"

namespace baton::gpu {
namespace {

constexpr std::int32_t kBlock = 16;
constexpr std::int32_t kDecodeSteps = 24;

KvMemory allocate_kv(Model& model, DType kv, std::int64_t tokens) {
  const KvSpec spec = model.kv_spec(kBlock, kv);
  auto memory =
      KvMemory::allocate(spec, spec.layout.block_bytes() * static_cast<std::size_t>(tokens / kBlock + 1), 1,
                         {DeviceKind::cuda, 0});
  if (memory) return *std::move(memory);
  std::fprintf(stderr, "%s\n", memory.error().message.c_str());
  std::exit(1);
}

// Rows [first, first + rows) of each sequence. Blocks of a sequence lie far apart, as they do in a pool that
// is in use.
Batch make_batch(std::int32_t sequences, std::int32_t first, std::int32_t rows, std::int32_t room,
                 std::int32_t vocab) {
  Batch batch;
  const std::int32_t blocks = (room + kBlock - 1) / kBlock;
  for (std::int32_t s = 0; s < sequences; ++s) {
    batch.sequences.push_back({static_cast<std::int32_t>(batch.tokens.size()), rows, first,
                               static_cast<std::int32_t>(batch.block_table.size())});
    for (std::int32_t b = 0; b < blocks; ++b) batch.block_table.push_back(b * sequences + s);
    for (std::int32_t p = first; p < first + rows; ++p) {
      batch.tokens.push_back((s * 7919 + p * 104729) % vocab);
      batch.positions.push_back(p);
    }
    batch.logit_rows.push_back(static_cast<std::int32_t>(batch.tokens.size()) - 1);
  }
  return batch;
}

}  // namespace

void decode_bench(const ModelSize& size, CudaOps& ops, Model& model, const Ceilings& ceilings, DType kv,
                  std::int32_t rows, std::int32_t context) {
  const std::int32_t room = context + kDecodeSteps + 8;
  const KvMemory memory = allocate_kv(model, kv, std::int64_t{room + kBlock} * rows);
  const auto bytes_held = static_cast<std::int64_t>(memory.bytes().size());
  require(kv == DType::e4m3 ? fill_random_e4m3(memory.view().base, bytes_held, 9, ops.stream())
                            : fill_random(memory.view().base, bytes_held / 2, 1.0F, 9, ops.stream()),
          "fill");
  const std::vector<RowSampling> greedy(static_cast<std::size_t>(rows));
  std::int32_t at = context - kDecodeSteps / 2;
  std::vector<Batch> batches;  // made beforehand: that is the scheduler's work
  for (std::int32_t i = 0; i < kDecodeSteps; ++i)
    batches.push_back(make_batch(rows, at++, 1, room, size.vocab));
  auto next = batches.begin();
  const auto step = [&] {
    const Tensor logits = model.forward(*next++, memory.view(), ops);
    ops.sample(logits, greedy);
  };
  for (int i = 0; i < 3; ++i) step();  // runs, records, replays
  const double seconds = median_seconds(ops.stream(), kDecodeSteps - 4, step);
  const double bytes = size.weight_bytes() + rows * size.kv_bytes_per_token(kv) * context;
  std::printf("  decode  %3d x %5d, KV %-5s  %8.3f ms  %8.0f tok/s  %6.0f GB/s  %5.1f %% of copy\n", rows,
              context, std::string(to_string(kv)).c_str(), seconds * 1e3, rows / seconds,
              bytes / seconds / 1e9, 100 * bytes / seconds / ceilings.copy_bytes);
  std::fflush(stdout);
}

void prefill_bench(const ModelSize& size, CudaOps& ops, Model& model, const Ceilings& ceilings, DType kv,
                   std::int32_t tokens, std::int32_t chunk) {
  const KvMemory memory = allocate_kv(model, kv, tokens + kBlock);
  const std::vector<RowSampling> greedy(1);
  const double seconds = median_seconds(ops.stream(), 9, [&] {
    Tensor logits;
    for (std::int32_t first = 0; first < tokens; first += chunk) {
      Batch batch = make_batch(1, first, std::min(chunk, tokens - first), tokens, size.vocab);
      if (first + chunk < tokens) batch.logit_rows.clear();
      logits = model.forward(batch, memory.view(), ops);
    }
    ops.sample(logits, greedy);
  });
  const double flops = size.prefill_flops(tokens);
  std::printf("  prefill %5d by %5d, KV %-5s %8.2f ms  %8.0f tok/s  %6.0f TFLOP/s  %5.1f %% of bf16 rate\n",
              tokens, chunk, std::string(to_string(kv)).c_str(), seconds * 1e3, tokens / seconds,
              flops / seconds / 1e12, 100 * flops / seconds / ceilings.bf16_flops);
  std::fflush(stdout);
}

}  // namespace baton::gpu
