// Timings of attention at the sizes that serving has. Layers take turns, so that the second-level cache does
// not serve one launch what the launch before it read.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernel_tests.hpp"
#include "kernels/cuda/attention.hpp"

namespace {

using namespace baton::cuda;

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::printf("attention_bench: %s\n", cudaGetErrorString(status));
  std::exit(1);
}

// Bits that are moderate numbers both as bf16 and as e4m3.
__global__ void fill_kernel(std::uint32_t* words, std::size_t count) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    std::uint32_t x = static_cast<std::uint32_t>(i) * 2654435761u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    words[i] = 0x3f003f00u | (x & 0x80778077u);
  }
}

template <class T>
T* upload(const std::vector<T>& values) {
  T* data = nullptr;
  check(cudaMalloc(&data, values.size() * sizeof(T)));
  check(cudaMemcpy(data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  return data;
}

// Microseconds of one launch, from a graph of `launches`: the median of `times` replays.
double time_of(int launches, int times, const std::function<cudaError_t(int, cudaStream_t)>& start) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cudaEvent_t before, after;
  check(cudaStreamCreate(&stream));
  check(cudaEventCreate(&before));
  check(cudaEventCreate(&after));
  check(start(0, stream));  // outside of the capture: attributes are set once
  check(cudaStreamSynchronize(stream));
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < launches; ++i) check(start(i, stream));
  check(cudaStreamEndCapture(stream, &graph));
  check(cudaGraphInstantiate(&executable, graph, 0));
  std::vector<float> milliseconds;
  for (int i = 0; i < times + 3; ++i) {
    check(cudaEventRecord(before, stream));
    check(cudaGraphLaunch(executable, stream));
    check(cudaEventRecord(after, stream));
    check(cudaEventSynchronize(after));
    float ms = 0;
    check(cudaEventElapsedTime(&ms, before, after));
    if (i >= 3) milliseconds.push_back(ms);
  }
  check(cudaGraphExecDestroy(executable));
  check(cudaGraphDestroy(graph));
  check(cudaEventDestroy(before));
  check(cudaEventDestroy(after));
  check(cudaStreamDestroy(stream));
  std::nth_element(milliseconds.begin(), milliseconds.begin() + times / 2, milliseconds.end());
  return 1000.0 * static_cast<double>(milliseconds[static_cast<std::size_t>(times / 2)]) / launches;
}

constexpr int kMostLayers = 32;

struct Heads {
  int query = 32, kv = 8, dim = 128;

  std::string text() const {
    return std::to_string(query) + "q/" + std::to_string(kv) + "kv d" + std::to_string(dim);
  }
};

struct Decode {
  Element element = Element::bf16;  // of the cache
  int batch = 1, context = 4096;
  int block_size = 16;
  bool block_major = true;
  Heads heads = {};
  std::int32_t window = kNoWindow;
};

struct Prefill {
  Element element = Element::bf16;
  PrefillVersion version = PrefillVersion::best;
  int count = 4000, first_position = 0;
  Heads heads = {};
  std::int32_t window = kNoWindow;
};

std::string text(std::int32_t window) {
  return window == kNoWindow ? std::string() : " window " + std::to_string(window);
}

struct Cache {
  std::byte* memory = nullptr;
  std::size_t bytes = 0;
};

// The layers of a cache of `blocks` blocks that fit in memory.
struct Layers {
  PagedKv first;
  std::int64_t stride = 0;
  int count = 0;

  Layers(const Cache& cache, Element element, const Heads& heads, int blocks, int block_size,
         bool block_major) {
    const auto piece = static_cast<std::int64_t>(size_of(element)) * block_size * heads.dim;
    const std::int64_t block = 2 * piece * heads.kv;
    count = static_cast<int>(
        std::min<std::size_t>(kMostLayers, cache.bytes / static_cast<std::size_t>(block * blocks)));
    first = {cache.memory, block_major ? block * count : block,
             piece,        piece * heads.kv,
             heads.kv,     heads.dim,
             block_size,   element};
    stride = block_major ? block : block * blocks;
  }
  PagedKv at(int layer) const {
    PagedKv kv = first;
    kv.base += stride * (layer % count);
    return kv;
  }
};

std::vector<std::int32_t> shuffled_table(int blocks) {
  std::vector<std::int32_t> table(static_cast<std::size_t>(blocks));
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), std::mt19937(1));
  return table;
}

void bench_decode(const Cache& cache, const Decode& test, double copy_gbps) {
  const auto& [element, batch, context, block_size, block_major, heads, window] = test;
  const int blocks_each = (context + block_size - 1) / block_size;
  const Layers layers(cache, element, heads, batch * blocks_each, block_size, block_major);
  if (layers.count == 0) return;
  std::vector<SequenceEntry> entries;
  std::vector<std::int32_t> positions, sequence_of;
  std::vector<DecodeItem> items;
  for (int row = 0; row < batch; ++row) {
    entries.push_back({row, 1, context - 1, row * blocks_each});
    positions.push_back(context - 1);
    sequence_of.push_back(row);
    for (int s = first_seen(context - 1, window) / kSplitTokens; s <= (context - 1) / kSplitTokens; ++s)
      items.push_back({row, s});
  }
  const auto max_items = static_cast<std::int32_t>(items.size());
  SequenceEntry* device_entries = upload(entries);
  std::int32_t* device_positions = upload(positions);
  std::int32_t* device_sequence_of = upload(sequence_of);
  std::int32_t* device_table = upload(shuffled_table(batch * blocks_each));
  DecodeItem* device_items = upload(items);
  std::int32_t* device_count = upload(std::vector<std::int32_t>{max_items});
  const std::size_t columns = static_cast<std::size_t>(heads.query) * static_cast<std::size_t>(heads.dim);
  std::uint16_t* queries =
      upload(std::vector<std::uint16_t>(static_cast<std::size_t>(batch) * columns, 0x3e80));
  std::uint16_t* out = upload(std::vector<std::uint16_t>(static_cast<std::size_t>(batch) * columns));
  std::byte* workspace =
      upload(std::vector<std::byte>(decode_workspace_bytes(max_items, heads.query, heads.kv, heads.dim)));

  const AttentionRows rows{queries,     out,           static_cast<std::int64_t>(columns),
                           heads.query, Element::bf16, 1.f / std::sqrt(static_cast<float>(heads.dim)),
                           window};
  const StepTables tables{device_positions, device_sequence_of, device_entries, device_table};
  const int seen = std::min(context, window);
  const double bytes = 2.0 * batch * seen * heads.kv * heads.dim * static_cast<double>(size_of(element));
  const int launches = bytes > 5e8 ? std::min(layers.count, 6) : layers.count;
  const double us = time_of(launches, 20, [&](int layer, cudaStream_t stream) {
    return decode_attention(
        {rows, layers.at(layer), tables, device_items, device_count, max_items, workspace}, stream);
  });
  std::printf("decode   %4s batch %3d context %d block %2d %s %s%s %9.1f us %7.0f GB/s %5.1f %% of copy\n",
              element == Element::bf16 ? "bf16" : "e4m3", batch, context, block_size,
              block_major ? "block-major" : "layer-major", heads.text().c_str(), text(window).c_str(), us,
              bytes / us * 1e-3, 100 * bytes / us * 1e-3 / copy_gbps);
  std::fflush(stdout);
  for (void* p : {static_cast<void*>(device_entries), static_cast<void*>(device_positions),
                  static_cast<void*>(device_sequence_of), static_cast<void*>(device_table),
                  static_cast<void*>(device_items), static_cast<void*>(device_count),
                  static_cast<void*>(queries), static_cast<void*>(out), static_cast<void*>(workspace)}) {
    check(cudaFree(p));
  }
}

void bench_prefill(const Cache& cache, const Prefill& test, double matrix_tflops) {
  const auto& [element, version, count, first_position, heads, window] = test;
  constexpr int kBlock = 16;
  const int blocks = (first_position + count + kBlock - 1) / kBlock;
  const Layers layers(cache, element, heads, blocks, kBlock, true);
  std::vector<PrefillTile> tiles;
  for (int row = (count - 1) / kPrefillTileRows * kPrefillTileRows; row >= 0; row -= kPrefillTileRows) {
    tiles.push_back({0, row});
  }
  SequenceEntry* device_entries = upload(std::vector<SequenceEntry>{{0, count, first_position, 0}});
  std::int32_t* device_table = upload(shuffled_table(blocks));
  PrefillTile* device_tiles = upload(tiles);
  const std::size_t columns = static_cast<std::size_t>(heads.query) * static_cast<std::size_t>(heads.dim);
  std::vector<std::uint16_t> host(static_cast<std::size_t>(count) * columns);
  std::mt19937 random(2);
  for (std::uint16_t& q : host) q = static_cast<std::uint16_t>(0x3f00 | (random() & 0x8077));
  std::uint16_t* queries = upload(host);
  std::uint16_t* out = upload(host);
  const AttentionRows rows{queries,     out,           static_cast<std::int64_t>(columns),
                           heads.query, Element::bf16, 1.f / std::sqrt(static_cast<float>(heads.dim)),
                           window};
  const StepTables tables{nullptr, nullptr, device_entries, device_table};
  double pairs = 0;
  for (int r = 0; r < count; ++r) pairs += std::min(first_position + r + 1, window);
  const double flops = 4 * pairs * heads.dim * heads.query;
  const double us = time_of(4, 20, [&](int layer, cudaStream_t stream) {
    return prefill_attention(
        {rows, layers.at(layer), tables, device_tiles, static_cast<std::int32_t>(tiles.size()), version},
        stream);
  });
  std::printf("prefill  %4s %-8s rows %d at %d %s%s %9.1f us %7.1f TFLOP/s %5.1f %% of %.0f\n",
              element == Element::bf16 ? "bf16" : "e4m3", version == PrefillVersion::mma ? "mma" : "resident",
              count, first_position, heads.text().c_str(), text(window).c_str(), us, flops / us * 1e-6,
              100 * flops / us * 1e-6 / matrix_tflops, matrix_tflops);
  std::fflush(stdout);
  for (void* p : {static_cast<void*>(device_entries), static_cast<void*>(device_table),
                  static_cast<void*>(device_tiles), static_cast<void*>(queries), static_cast<void*>(out)}) {
    check(cudaFree(p));
  }
}

double measured_copy_gbps(const Cache& cache) {
  const std::size_t half = std::min<std::size_t>(cache.bytes / 2, std::size_t{4} << 30);
  const double us = time_of(2, 20, [&](int, cudaStream_t stream) {
    return cudaMemcpyAsync(cache.memory, cache.memory + half, half, cudaMemcpyDeviceToDevice, stream);
  });
  return 2 * static_cast<double>(half) / us * 1e-3;
}

}  // namespace

namespace baton::gpu {

void attention_bench(double copy_gbps, double matrix_tflops) {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total));
  Cache cache;
  cache.bytes = std::min<std::size_t>(std::size_t{36} << 30, free / 10 * 8);
  check(cudaMalloc(&cache.memory, cache.bytes));
  fill_kernel<<<2048, 256>>>(reinterpret_cast<std::uint32_t*>(cache.memory), cache.bytes / 4);
  check(cudaDeviceSynchronize());
  if (copy_gbps <= 0) copy_gbps = measured_copy_gbps(cache);
  std::printf("copy %.0f GB/s\n", copy_gbps);

  for (const Element element : {Element::bf16, Element::e4m3}) {
    for (const int batch : {1, 8, 30, 64, 256}) {
      for (const int context : {4096, 4250}) {
        bench_decode(cache, {element, batch, context}, copy_gbps);
        if (batch == 64) bench_decode(cache, {element, batch, context, 16, true, {.query = 64}}, copy_gbps);
        if (batch == 64 && context == 4096)
          bench_decode(cache, {element, batch, context, 64, false}, copy_gbps);
      }
    }
    for (const Heads heads : {Heads{}, Heads{8, 4, 256}})
      for (const std::int32_t window : {kNoWindow, 1024})
        bench_decode(cache, {element, 30, 4250, 16, true, heads, window}, copy_gbps);
  }
  int major = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  for (const PrefillVersion version : {PrefillVersion::mma, PrefillVersion::resident}) {
    if (version != PrefillVersion::mma && major != 9) continue;
    for (const Element element : {Element::bf16, Element::e4m3}) {
      for (const int query_heads : {32, 24}) {
        const Heads heads{.query = query_heads};
        bench_prefill(cache, {element, version, 4000, 0, heads}, matrix_tflops);
        bench_prefill(cache, {element, version, 512, 3500, heads}, matrix_tflops);
      }
      bench_prefill(cache, {element, version, 4000, 0, {}, 1024}, matrix_tflops);
    }
  }
  check(cudaFree(cache.memory));
}

}  // namespace baton::gpu
