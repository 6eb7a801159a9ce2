// The operations over rows, sampling and digests: microseconds, and the share of the memory bandwidth that a
// copy reaches. Calls are recorded in a graph, as the engine runs them, over enough buffers that none is in
// the L2 cache from the call before (where there are many rows).
#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "device_array.hpp"
#include "kernels/cuda/digest.hpp"
#include "kernels/cuda/moe.hpp"
#include "kernels/cuda/rope_store.hpp"
#include "kernels/cuda/rows.hpp"
#include "kernels/cuda/sample.hpp"

namespace baton::gpu {
namespace {

using cuda::Element;

class RowsBench {
 public:
  explicit RowsBench(double copy_gbps) : copy_gbps_(copy_gbps) {
    require(cudaStreamCreate(&stream_), "stream");
    memory_.zero();
  }
  ~RowsBench() { cudaStreamDestroy(stream_); }
  RowsBench(const RowsBench&) = delete;
  RowsBench& operator=(const RowsBench&) = delete;

  void run() {
    std::printf("%-44s %10s %10s %8s\n", "", "us", "GB/s", "of copy");
    for (const std::int32_t rows : {1, 64, 4000}) operations(rows);
    for (const std::int32_t rows : {1, 64, 256}) sampling(rows);
    digests();
    for (const std::int32_t rows : {1, 8, 64, 4000}) experts(rows);
  }

 private:
  static constexpr std::int32_t kHidden = 4096, kFfn = 9216, kBlock = 16, kCalls = 20;
  static constexpr std::size_t kMemory = std::size_t{1} << 30;

  // Times `call`, which is given a number that selects its buffers and touches `bytes`.
  void time(const std::string& name, double bytes, const std::function<cudaError_t(std::int32_t)>& call) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t recorded = nullptr;
    require(call(0), name.c_str());
    require(cudaStreamSynchronize(stream_), name.c_str());
    require(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
    for (std::int32_t i = 0; i < kCalls; ++i) require(call(i), name.c_str());
    require(cudaStreamEndCapture(stream_, &graph), "end of capture");
    require(cudaGraphInstantiate(&recorded, graph, 0), "instantiate");
    cudaEvent_t start = nullptr, stop = nullptr;
    require(cudaEventCreate(&start), "event");
    require(cudaEventCreate(&stop), "event");
    float best = 1e30F;
    for (int repeat = 0; repeat < 4; ++repeat) {
      float milliseconds = 0;
      require(cudaEventRecord(start, stream_), "record");
      require(cudaGraphLaunch(recorded, stream_), "launch");
      require(cudaEventRecord(stop, stream_), "record");
      require(cudaEventSynchronize(stop), name.c_str());
      require(cudaEventElapsedTime(&milliseconds, start, stop), "time");
      best = std::min(best, milliseconds);
    }
    const double microseconds = static_cast<double>(best) * 1e3 / kCalls;
    const double gbps = bytes / microseconds * 1e-3;
    std::printf("%-44s %10.2f %10.0f %7.0f%%\n", name.c_str(), microseconds, gbps, 100 * gbps / copy_gbps_);
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    cudaGraphExecDestroy(recorded);
    cudaGraphDestroy(graph);
  }

  // A bf16 (or e4m3) matrix in the shared memory block; buffer `index` of those that do not overlap.
  cuda::Rows matrix(std::int32_t rows, std::int32_t cols, std::size_t index,
                    Element element = Element::bf16) const {
    const std::size_t bytes =
        (static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols) * 2 + 255) / 256 * 256;
    return {memory_.data() + index % (kMemory / bytes) * bytes, cols, rows, cols, element};
  }

  void operations(std::int32_t rows) {
    const std::string of = " " + std::to_string(rows) + " rows, ";
    const double row_bytes = 2.0 * rows;
    const DeviceArray<float> weight(std::vector<float>(kFfn, 1.0F));
    const DeviceArray<float> scales(static_cast<std::size_t>(rows));
    std::vector<std::int32_t> numbers(static_cast<std::size_t>(rows));
    for (std::int32_t i = 0; i < rows; ++i) numbers[static_cast<std::size_t>(i)] = (i * 37) % rows;
    const DeviceArray<std::int32_t> index(numbers);

    time("gather," + of + "4096", 2 * row_bytes * kHidden, [&](std::int32_t i) {
      const auto at = static_cast<std::size_t>(i) * 2;
      return cuda::gather(matrix(rows, kHidden, at), index.data(), matrix(rows, kHidden, at + 1), stream_);
    });
    time("add," + of + "4096", 3 * row_bytes * kHidden, [&](std::int32_t i) {
      const auto at = static_cast<std::size_t>(i) * 2;
      return cuda::add(matrix(rows, kHidden, at), matrix(rows, kHidden, at + 1), stream_);
    });
    for (const std::int32_t hidden : {3072, 4096}) {
      const std::string size = std::to_string(hidden);
      time("rms_norm," + of + size, 2 * row_bytes * hidden, [&](std::int32_t i) {
        const auto at = static_cast<std::size_t>(i) * 2;
        return cuda::rms_norm(matrix(rows, hidden, at), weight.data(), 1e-5F, matrix(rows, hidden, at + 1),
                              nullptr, stream_);
      });
      time("add_rms_norm," + of + size, 4 * row_bytes * hidden, [&](std::int32_t i) {
        const auto at = static_cast<std::size_t>(i) * 3;
        return cuda::add_rms_norm(matrix(rows, hidden, at), matrix(rows, hidden, at + 1), 1.0F, weight.data(),
                                  1e-5F, matrix(rows, hidden, at + 2), nullptr, stream_);
      });
      time("add_rms_norm to e4m3," + of + size, 3.5 * row_bytes * hidden, [&](std::int32_t i) {
        const auto at = static_cast<std::size_t>(i) * 3;
        return cuda::add_rms_norm(matrix(rows, hidden, at), matrix(rows, hidden, at + 1), 1.0F, weight.data(),
                                  1e-5F, matrix(rows, hidden, at + 2, Element::e4m3), scales.data(), stream_);
      });
    }
    const auto gate_up = [&](std::int32_t i) { return matrix(rows, 2 * kFfn, static_cast<std::size_t>(i)); };
    const std::size_t behind =
        static_cast<std::size_t>(kCalls) * 2 + 2;  // in units of y: after every gate_up
    time("gate_mul," + of + "9216", 3 * row_bytes * kFfn, [&](std::int32_t i) {
      return cuda::gate_mul(cuda::Gate::silu, gate_up(i % 4),
                            matrix(rows, kFfn, rows < 1000 ? behind + static_cast<std::size_t>(i) : 9),
                            nullptr, stream_);
    });
    time("gate_mul to e4m3," + of + "9216", 2.5 * row_bytes * kFfn, [&](std::int32_t i) {
      return cuda::gate_mul(
          cuda::Gate::silu, gate_up(i % 4),
          matrix(rows, kFfn, rows < 1000 ? behind + static_cast<std::size_t>(i) : 9, Element::e4m3),
          scales.data(), stream_);
    });
    rotation(rows, 32, 8, "rope_store bf16," + of + "32+8 heads", Element::bf16);
    rotation(rows, 32, 8, "rope_store e4m3," + of + "32+8 heads", Element::e4m3);
  }

  // Every row a sequence of its own, at position 1000.
  void rotation(std::int32_t rows, std::int32_t query_heads, std::int32_t kv_heads, const std::string& name,
                Element stored) {
    constexpr std::int32_t kHeadDim = 128, kPosition = 1000;
    const auto count = static_cast<std::size_t>(rows);
    std::vector<cuda::SequenceEntry> sequences;
    std::vector<std::int32_t> of(count), table(count + kPosition / kBlock);
    for (std::int32_t r = 0; r < rows; ++r) {
      sequences.push_back({r, 1, kPosition, r});
      of[static_cast<std::size_t>(r)] = r;
      table[static_cast<std::size_t>(r + kPosition / kBlock)] = r;
    }
    const DeviceArray<cuda::SequenceEntry> device_sequences(sequences);
    const DeviceArray<std::int32_t> device_of(of), device_table(table);
    const DeviceArray<std::int32_t> positions(std::vector<std::int32_t>(count, kPosition));
    const DeviceArray<float2> cos_sin(std::vector<float2>((kPosition + 1) * kHeadDim / 2, {0.6F, 0.8F}));
    const std::int64_t piece = kBlock * kHeadDim * static_cast<std::int64_t>(size_of(stored));
    const DeviceArray<std::byte> cache(count * static_cast<std::size_t>(2 * kv_heads * piece));
    cuda::RopeStore args;
    args.query_heads = query_heads;
    args.cos_sin = cos_sin.data();
    args.step = {positions.data(), device_of.data(), device_sequences.data(), device_table.data()};
    args.kv = {cache.data(), 2 * kv_heads * piece, piece, kv_heads * piece, kv_heads, kHeadDim, kBlock,
               stored};
    const double bytes = static_cast<double>(rows) * kHeadDim *
                         (4.0 * query_heads + 2.0 * kv_heads * (2 + static_cast<double>(size_of(stored))));
    time(name, bytes, [&](std::int32_t i) {
      args.qkv = matrix(rows, (query_heads + 2 * kv_heads) * kHeadDim, static_cast<std::size_t>(i));
      return cuda::rope_store(args, stream_);
    });
  }

  void sampling(std::int32_t rows) {
    constexpr std::int32_t kVocab = 128256;
    const auto count = static_cast<std::size_t>(rows);
    std::mt19937 engine(1);
    std::normal_distribution<float> normal(0.0F, 3.0F);
    std::vector<float> one(kVocab + 1024);
    for (float& x : one) x = normal(engine);
    std::vector<float> logits;
    for (std::size_t r = 0; r < count; ++r) {
      const auto from = one.begin() + static_cast<std::ptrdiff_t>(engine() % 1024);
      logits.insert(logits.end(), from, from + kVocab);
    }
    const DeviceArray<float> device_logits(logits);
    const DeviceArray<std::int32_t> tokens(count);
    const DeviceArray<float> logprobs(count), top_logprobs(count * cuda::kMaxTopLogprobs);
    const DeviceArray<std::int32_t> top_tokens(count * cuda::kMaxTopLogprobs);
    DeviceArray<std::byte> workspace(cuda::sample_workspace_bytes(rows, kVocab));
    workspace.zero();
    const auto measure = [&](const char* what, const cuda::SampleRow& row, const cuda::SampleStages& stages) {
      std::vector<cuda::SampleRow> all(count, row);
      for (std::size_t r = 0; r < count; ++r) all[r].seed = r;
      const DeviceArray<cuda::SampleRow> device_rows(all);
      cuda::SampleArgs args;
      args.logits = device_logits.data();
      args.stride = kVocab;
      args.rows = rows;
      args.vocab = kVocab;
      args.row = device_rows.data();
      args.tokens = tokens.data();
      args.logprobs = logprobs.data();
      args.top_tokens = top_tokens.data();
      args.top_logprobs = top_logprobs.data();
      args.workspace = workspace.data();
      args.max_rows = rows;
      time("sample, " + std::to_string(rows) + " rows, " + what, 4.0 * rows * kVocab,
           [&](std::int32_t) { return cuda::sample(args, stages, stream_); });
    };
    measure("greedy", {}, {false, false, false});
    cuda::SampleRow row;
    row.temperature = 0.8F;
    measure("temperature", row, {true, false, false});
    row.top_k = 40;
    row.top_p = 0.95F;
    measure("top_k 40, top_p 0.95", row, {true, true, false});
    row.top_k = 0;
    measure("top_p 0.95", row, {true, true, false});
    row.logprobs = 5;
    measure("top_p 0.95, 5 logprobs", row, {true, true, true});
  }

  void digests() {
    constexpr std::size_t kPieces = 32768, kPiece = 4096;
    std::vector<cuda::DigestPiece> pieces;
    for (std::size_t i = 0; i < kPieces; ++i) pieces.push_back({memory_.data() + i * kPiece, kPiece});
    const DeviceArray<cuda::DigestPiece> device_pieces(pieces);
    const DeviceArray<cuda::DigestHash> hashes(kPieces);
    for (const std::int32_t count : {512, 32768})
      time("digest, " + std::to_string(count) + " pieces of 4 KiB", static_cast<double>(count) * kPiece,
           [&](std::int32_t) { return cuda::digest(device_pieces.data(), count, hashes.data(), stream_); });
  }

  // Qwen3-30B-A3B: 128 experts of 768, 8 of them a row.
  void experts(std::int32_t rows) {
    constexpr std::int32_t kExperts = 128, kChoices = 8, kIn = 2048, kOut = 1536;
    const std::int32_t entries = rows * kChoices;
    std::mt19937 engine(2);
    Choices c(rows, kExperts, engine);
    const DeviceArray<std::byte> x(static_cast<std::size_t>(rows) * kIn * 2);
    const DeviceArray<std::byte> y(static_cast<std::size_t>(entries) * kOut * 2);
    const std::string of = ", " + std::to_string(rows) + " rows";
    const auto logits = matrix(rows, kExperts, 0);
    time("moe_route" + of, 2.0 * rows * kExperts, [&](std::int32_t) {
      cuda::MoeRoute args;
      args.logits = logits;
      args.choices = kChoices;
      args.experts = c.scratch.data();
      args.weights = c.weights.data();
      return cuda::moe_route(args, stream_);
    });
    const auto permute = [&](std::int32_t) {
      return cuda::moe_permute(
          {c.chosen.data(), entries, 0, kExperts, c.offsets.data(), c.entry_of.data(), c.slot_of.data()},
          stream_);
    };
    time("moe_permute" + of, 4.0 * entries, permute);
    for (const Element weight : {Element::bf16, Element::e4m3}) {
      const double bytes =
          static_cast<double>(c.touched) * kIn * kOut * static_cast<double>(size_of(weight)) +
          2.0 * entries * (kIn + kOut);
      time(std::string("moe_matmul ") + (weight == Element::bf16 ? "bf16" : "e4m3") + ", 2048 to 1536" + of,
           bytes, [&](std::int32_t) {
             cuda::MoeMatmul args;
             args.x = {x.data(), kIn, rows, kIn, Element::bf16};
             args.offsets = c.offsets.data();
             args.entry_of = c.entry_of.data();
             args.choices = kChoices;
             args.entries = entries;
             args.expert_count = kExperts;
             args.weight = memory_.data();
             args.weight_type = weight;
             args.y = {y.data(), kOut, entries, kOut, Element::bf16};
             return cuda::moe_matmul(args, stream_);
           });
    }
  }

  // Eight different experts for every row.
  struct Choices {
    Choices(std::int32_t rows, std::int32_t experts, std::mt19937& engine)
        : chosen(draw(rows, experts, engine, touched)),
          offsets(static_cast<std::size_t>(experts + 1)),
          entry_of(chosen.size()),
          slot_of(chosen.size()),
          scratch(chosen.size()),
          weights(chosen.size()) {}
    static std::vector<std::int32_t> draw(std::int32_t rows, std::int32_t experts, std::mt19937& engine,
                                          std::int32_t& touched) {
      std::vector<std::int32_t> all(static_cast<std::size_t>(experts)), made;
      for (std::int32_t e = 0; e < experts; ++e) all[static_cast<std::size_t>(e)] = e;
      std::vector<bool> seen(all.size());
      for (std::int32_t r = 0; r < rows; ++r) {
        std::shuffle(all.begin(), all.end(), engine);
        for (std::size_t k = 0; k < 8; ++k) {
          made.push_back(all[k]);
          seen[static_cast<std::size_t>(all[k])] = true;
        }
      }
      touched = static_cast<std::int32_t>(std::count(seen.begin(), seen.end(), true));
      return made;
    }
    std::int32_t touched = 0;
    DeviceArray<std::int32_t> chosen, offsets, entry_of, slot_of, scratch;
    DeviceArray<float> weights;
  };

  double copy_gbps_;
  cudaStream_t stream_ = nullptr;
  DeviceArray<std::byte> memory_{kMemory};
};

}  // namespace

void rows_bench(double copy_gbps) { RowsBench(copy_gbps).run(); }

}  // namespace baton::gpu
