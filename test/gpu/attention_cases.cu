// Attention on the device against sums in double on the CPU, with everything that must not be read made NaN.
#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "attention_cases.hpp"
#include "kernels/cuda/convert.cuh"

namespace baton::gpu {

namespace {

using namespace cuda;
using Setup = AttentionSetup;

int failures = 0;

void fail(const std::string& what) {
  std::printf("FAIL %s\n", what.c_str());
  std::fflush(stdout);
  ++failures;
}

void check(cudaError_t status, const std::string& what) {
  if (status != cudaSuccess) fail(what + ": " + cudaGetErrorString(status));
}

template <class T>
struct DeviceArray {
  T* data = nullptr;
  std::size_t size = 0;

  explicit DeviceArray(std::size_t count) : size(count) {
    check(cudaMalloc(&data, std::max<std::size_t>(count, 1) * sizeof(T)), "cudaMalloc");
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    check(cudaMemcpy(data, values.data(), size * sizeof(T), cudaMemcpyHostToDevice), "copy in");
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data); }

  void fill(int byte) { check(cudaMemset(data, byte, size * sizeof(T)), "memset"); }
  std::vector<T> read() const {
    std::vector<T> values(size);
    check(cudaMemcpy(values.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost), "copy out");
    return values;
  }
};

// ---- Elements on the host

void store(Element element, std::byte* at, float value) {
  switch (element) {
    case Element::f32:
      std::memcpy(at, &value, 4);
      break;
    case Element::f16: {
      const __half h = __float2half_rn(value);
      std::memcpy(at, &h, 2);
      break;
    }
    case Element::bf16: {
      const __nv_bfloat16 b = __float2bfloat16_rn(value);
      std::memcpy(at, &b, 2);
      break;
    }
    case Element::e4m3: {
      const __nv_fp8_e4m3 e(value);
      std::memcpy(at, &e, 1);
      break;
    }
  }
}

float load(Element element, const std::byte* at) {
  if (element == Element::f32) {
    float f;
    std::memcpy(&f, at, 4);
    return f;
  }
  if (element == Element::e4m3) {
    static const std::vector<float> table = [] {
      std::vector<float> values(256);
      for (std::size_t i = 0; i < 256; ++i) {
        __nv_fp8_e4m3 e;
        e.__x = static_cast<__nv_fp8_storage_t>(i);
        values[i] = static_cast<float>(e);
      }
      return values;
    }();
    return table[std::to_integer<std::size_t>(*at)];
  }
  std::uint16_t u;
  std::memcpy(&u, at, 2);
  if (element == Element::bf16) return std::bit_cast<float>(static_cast<std::uint32_t>(u) << 16);
  return __half2float(std::bit_cast<__half>(u));
}

// Stores, and says what is then there.
float rounded(Element element, std::byte* at, float value) {
  store(element, at, value);
  return load(element, at);
}

// Near enough to normal, and quick: the tests draw tens of millions.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  float draw() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    std::uint64_t sum = 0;
    for (int i = 0; i < 64; i += 16) sum += (state_ >> i) & 0xffff;
    return (static_cast<float>(sum) / 65536 - 2) * 1.7320508f;
  }

 private:
  std::uint64_t state_;
};

const char* name(Element element) {
  constexpr const char* kNames[] = {"f32", "f16", "bf16", "e4m3"};
  return kNames[static_cast<int>(element)];
}

// ---- A step

struct Sequence {
  int rows;
  int first_position;
  int tokens = 0;  // in the cache; at least first_position + rows
  int lost = 0;    // of them: nobody may read them
};

// The cache of some sequences, in shuffled blocks between unused ones, in one of two layouts, and queries for
// positions.
struct World {
  Setup setup;
  std::vector<Sequence> sequences;
  std::vector<std::vector<float>> keys;     // of a sequence: [kv_heads][head_dim][tokens]
  std::vector<std::vector<float>> values;   // [kv_heads][tokens][head_dim]
  std::vector<std::vector<float>> queries;  // [rows][query_heads * head_dim], from first_position on
  std::vector<std::int32_t> table;
  std::vector<int> table_offset;
  std::vector<std::byte> cache;
  PagedKv kv;

  World(const Setup& setup_in, const std::vector<Sequence>& sequences_in, bool block_major, unsigned seed)
      : setup(setup_in), sequences(sequences_in) {
    Random random(seed);
    int blocks = 0;
    for (Sequence& s : sequences) {
      s.tokens = std::max(s.tokens, s.first_position + s.rows);
      blocks += (s.tokens + setup.block_size - 1) / setup.block_size;
    }
    blocks += 5;  // unused
    lay_out(blocks, block_major);
    std::vector<int> order(static_cast<std::size_t>(blocks));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    std::size_t next = 0;
    for (const Sequence& s : sequences) {
      table_offset.push_back(static_cast<int>(table.size()));
      for (int b = 0; b * setup.block_size < s.tokens; ++b, ++next)
        table.push_back((b + 1) * setup.block_size <= s.lost ? kFault : order[next]);
      table.push_back(kFault);
      fill(s, random);
    }
  }

  const float* query(std::size_t sequence, int position) const {
    return queries[sequence].data() +
           static_cast<std::int64_t>(position - sequences[sequence].first_position) * setup.query_heads *
               setup.head_dim;
  }

 private:
  static constexpr std::int32_t kFault = 1 << 28;  // a block far beyond the cache

  void lay_out(int blocks, bool block_major) {
    constexpr int kLayers = 2, kLayer = 1;
    const auto piece = static_cast<std::int64_t>(size_of(setup.cache)) * setup.block_size * setup.head_dim;
    kv.kv_heads = setup.kv_heads;
    kv.head_dim = setup.head_dim;
    kv.block_size = setup.block_size;
    kv.element = setup.cache;
    kv.head_stride = piece;
    kv.value_offset = piece * setup.kv_heads;
    const std::int64_t both = 2 * kv.value_offset;
    kv.block_stride = block_major ? both * kLayers : both;
    cache.assign(static_cast<std::size_t>(both * kLayers * blocks), std::byte{0xff});
    layer_offset = block_major ? both * kLayer : both * blocks * kLayer;
  }

  void fill(const Sequence& s, Random& random) {
    const int dim = setup.head_dim;
    const auto cells = static_cast<std::size_t>(setup.kv_heads * dim) * static_cast<std::size_t>(s.tokens);
    auto& k = keys.emplace_back(cells);
    auto& v = values.emplace_back(cells);
    auto& q = queries.emplace_back(static_cast<std::size_t>(s.rows) *
                                   static_cast<std::size_t>(setup.query_heads * dim));
    std::byte element[4];
    for (float& x : q) x = rounded(setup.element, element, 2 * random.draw());
    for (int h = 0; h < setup.kv_heads; ++h) {
      for (int t = s.lost; t < s.tokens; ++t) {
        const int block = table[static_cast<std::size_t>(table_offset.back() + t / setup.block_size)];
        std::byte* key = cache.data() + layer_offset + block * kv.block_stride + h * kv.head_stride +
                         static_cast<std::int64_t>(t % setup.block_size) * dim *
                             static_cast<std::int64_t>(size_of(setup.cache));
        for (int d = 0; d < dim; ++d) {
          std::byte* at = key + static_cast<std::size_t>(d) * size_of(setup.cache);
          k[static_cast<std::size_t>((h * dim + d) * s.tokens + t)] = rounded(setup.cache, at, random.draw());
          v[static_cast<std::size_t>((h * s.tokens + t) * dim + d)] =
              rounded(setup.cache, at + kv.value_offset, random.draw());
        }
      }
    }
  }

 public:
  std::int64_t layer_offset = 0;
};

// out and the bound of its error, of one row and head.
struct Expected {
  std::vector<double> out, magnitude;
};

Expected expected(const World& world, int sequence, int position, int head) {
  const auto s = static_cast<std::size_t>(sequence);
  const int dim = world.setup.head_dim, tokens = world.sequences[s].tokens;
  const int kv_head = head / (world.setup.query_heads / world.setup.kv_heads);
  const int seen = first_seen(position, world.setup.window), visible = position + 1 - seen;
  const float* q = world.query(s, position) + static_cast<std::int64_t>(head) * dim;
  std::vector<double> weights(static_cast<std::size_t>(visible));
  for (int d = 0; d < dim; ++d) {
    const float* k = world.keys[s].data() + static_cast<std::int64_t>(kv_head * dim + d) * tokens + seen;
    const double factor = q[d];
    for (int t = 0; t < visible; ++t) weights[static_cast<std::size_t>(t)] += factor * k[t];
  }
  for (double& w : weights) w /= std::sqrt(static_cast<double>(dim));
  const double sink =
      world.setup.sinks.empty() ? -INFINITY : world.setup.sinks[static_cast<std::size_t>(head)];
  const double top = std::max(*std::max_element(weights.begin(), weights.end()), std::min(sink, 1e4));
  double sum = std::exp(sink - top);
  for (double& w : weights) sum += w = std::exp(w - top);
  Expected result{std::vector<double>(static_cast<std::size_t>(dim)),
                  std::vector<double>(static_cast<std::size_t>(dim))};
  for (int t = 0; t < visible; ++t) {
    const float* v = world.values[s].data() + (static_cast<std::int64_t>(kv_head) * tokens + seen + t) * dim;
    const double w = weights[static_cast<std::size_t>(t)] / sum;
    for (int d = 0; d < dim; ++d) {
      result.out[static_cast<std::size_t>(d)] += w * v[d];
      result.magnitude[static_cast<std::size_t>(d)] += w * std::fabs(static_cast<double>(v[d]));
    }
  }
  return result;
}

// ---- Running a step on the device

struct Step {
  std::vector<Sequence> parts;  // rows and first_position
  std::vector<int> of_world;    // whose cache each part reads
  int padding = 0;              // rows of position -1 at the end
  bool decode = false;
  PrefillVersion version = PrefillVersion::best;
  int times = 1;  // with one workspace
};

struct Result {
  cudaError_t status = cudaSuccess;
  std::vector<std::byte> out;  // [rows, query_heads * head_dim]
  bool counters_zero = true;
};

constexpr int kExtraColumns = 24;  // queries are a part of wider rows

// What a step is made of, on the host.
struct Tables {
  std::vector<SequenceEntry> entries;
  std::vector<std::int32_t> positions, sequence_of;
  std::vector<DecodeItem> items;
  std::vector<PrefillTile> tiles;
  std::vector<std::byte> queries;
};

Tables tables_of(const World& world, const Step& step) {
  const Setup& setup = world.setup;
  const std::size_t element = size_of(setup.element);
  const auto columns = static_cast<std::size_t>(setup.query_heads * setup.head_dim),
             stride = columns + kExtraColumns;
  Tables tables;
  for (std::size_t p = 0; p < step.parts.size(); ++p) {
    const Sequence& part = step.parts[p];
    const auto source = static_cast<std::size_t>(step.of_world[p]);
    tables.entries.push_back({static_cast<std::int32_t>(tables.positions.size()), part.rows,
                              part.first_position, world.table_offset[source]});
    for (int t = 0; t < part.rows; t += kPrefillTileRows)
      tables.tiles.push_back({static_cast<std::int32_t>(p), t});
    for (int r = 0; r < part.rows; ++r) {
      const int position = part.first_position + r, row = static_cast<int>(tables.positions.size());
      for (int s = first_seen(position, setup.window) / kSplitTokens; s <= position / kSplitTokens; ++s)
        tables.items.push_back({row, s});
      tables.positions.push_back(position);
      tables.sequence_of.push_back(static_cast<std::int32_t>(p));
      tables.queries.resize(tables.queries.size() + stride * element, std::byte{0xff});
      std::byte* at = tables.queries.data() + tables.queries.size() - stride * element;
      const float* from = world.query(source, position);
      for (std::size_t c = 0; c < columns; ++c) store(setup.element, at + c * element, from[c]);
    }
  }
  for (int r = 0; r < step.padding; ++r) {
    tables.positions.push_back(-1);
    tables.sequence_of.push_back(0);
    tables.queries.resize(tables.queries.size() + stride * element, std::byte{0xff});
  }
  return tables;
}

// Decodes as often as the step says, with one workspace.
void decode(DecodeAttention attention, int times, const std::string& what, Result& result) {
  const PagedKv& kv = attention.kv;
  DeviceArray<std::byte> workspace(
      decode_workspace_bytes(attention.max_items, attention.rows.query_heads, kv.kv_heads, kv.head_dim));
  workspace.fill(0xff);
  // Only the counters need to be zero; the rest is what an earlier step left.
  const std::size_t counters =
      256 + sizeof(std::int32_t) * static_cast<std::size_t>(attention.max_items * kv.kv_heads);
  check(cudaMemset(workspace.data, 0, counters), "memset");
  attention.workspace = workspace.data;
  for (int i = 0; i < times && result.status == cudaSuccess; ++i)
    result.status = decode_attention(attention, nullptr);
  check(cudaDeviceSynchronize(), what);
  const std::vector<std::byte> after = workspace.read();
  result.counters_zero = std::all_of(after.begin(), after.begin() + static_cast<std::ptrdiff_t>(counters),
                                     [](std::byte b) { return b == std::byte{0}; });
}

Result run(const World& world, const Step& step) {
  const Setup& setup = world.setup;
  const auto columns = static_cast<std::size_t>(setup.query_heads * setup.head_dim);
  Tables host = tables_of(world, step);
  const DeviceArray<std::byte> device_queries(host.queries), device_cache(world.cache);
  DeviceArray<std::byte> device_out(host.positions.size() * columns * size_of(setup.element));
  const DeviceArray<std::int32_t> device_positions(host.positions), device_sequence_of(host.sequence_of),
      device_table(world.table);
  const DeviceArray<SequenceEntry> device_entries(host.entries);
  const std::size_t item_count = host.items.size();
  host.items.resize(item_count + 7, {1 << 30, 1 << 30});  // that nobody may follow
  const DeviceArray<DecodeItem> device_items(host.items);
  const DeviceArray<PrefillTile> device_tiles(host.tiles);
  const DeviceArray<std::int32_t> device_count(
      std::vector<std::int32_t>{static_cast<std::int32_t>(item_count)});
  const DeviceArray<float> device_sinks(setup.sinks);
  const AttentionRows attention_rows{device_queries.data,
                                     device_out.data,
                                     static_cast<std::int64_t>(columns + kExtraColumns),
                                     setup.query_heads,
                                     setup.element,
                                     1.f / std::sqrt(static_cast<float>(setup.head_dim)),
                                     setup.window,
                                     setup.sinks.empty() ? nullptr : device_sinks.data};
  PagedKv kv = world.kv;
  kv.base = device_cache.data + world.layer_offset;
  const StepTables tables{device_positions.data, device_sequence_of.data, device_entries.data,
                          device_table.data};
  Result result;
  device_out.fill(0xff);
  if (step.decode) {
    decode({attention_rows, kv, tables, device_items.data, device_count.data,
            static_cast<std::int32_t>(host.items.size())},
           step.times, setup.text() + " decode", result);
  } else {
    result.status = prefill_attention({attention_rows, kv, tables, device_tiles.data,
                                       static_cast<std::int32_t>(host.tiles.size()), step.version},
                                      nullptr);
    check(cudaDeviceSynchronize(), setup.text() + " prefill");
  }
  result.out = device_out.read();
  return result;
}

double tolerance(Element element) {
  return element == Element::f32 ? 2e-5 : element == Element::f16 ? 1.0 / 1024 : 1.0 / 128;
}

void check_padding(const Result& result, std::size_t first, const std::string& what) {
  const bool untouched = std::all_of(result.out.begin() + static_cast<std::ptrdiff_t>(first),
                                     result.out.end(), [](std::byte b) { return b == std::byte{0xff}; });
  if (!untouched) fail(what + ": a row of padding was written");
}

// Every row of `step` against the CPU where few, some of them otherwise; no row may hold NaN, and padding
// must.
void compare(const World& world, const Step& step, const Result& result, const std::string& what) {
  if (result.status != cudaSuccess) return check(result.status, what);
  if (!result.counters_zero) {
    fail(what + ": counters are not left zero");
  }
  const Setup& setup = world.setup;
  const std::size_t element = size_of(setup.element);
  const int dim = setup.head_dim;
  std::mt19937 random(7);
  int row = 0;
  double worst = 0;
  std::string where;
  const auto at = [&](int r, int head, int d) {
    return load(
        setup.element,
        result.out.data() + static_cast<std::size_t>((r * setup.query_heads + head) * dim + d) * element);
  };
  int nans = 0;
  std::string first_nan;
  for (std::size_t p = 0; p < step.parts.size(); ++p) {
    const Sequence& part = step.parts[p];
    for (int r = 0; r < part.rows; ++r, ++row) {
      const bool edge = r == 0 || r == part.rows - 1 || r % 64 == 0 || r % 64 == 63;
      const bool sampled = edge || part.rows < 8 || random() % 16 == 0;
      for (int head = 0; head < setup.query_heads; ++head) {
        for (int d = 0; d < dim; ++d) {
          if (std::isfinite(at(row, head, d))) continue;
          if (nans++ == 0) {
            first_nan =
                "row " + std::to_string(row) + " head " + std::to_string(head) + " dim " + std::to_string(d);
          }
        }
        // In a big batch a CPU would take long: one head of a row then.
        if (!sampled || (step.parts.size() > 32 && head != row % setup.query_heads)) continue;
        const Expected want = expected(world, step.of_world[p], part.first_position + r, head);
        for (int d = 0; d < dim; ++d) {
          const auto i = static_cast<std::size_t>(d);
          const double got = at(row, head, d);
          const double off =
              std::fabs(got - want.out[i]) / (want.magnitude[i] + std::fabs(want.out[i]) + 1e-3);
          if (!(off > worst)) continue;
          worst = off;
          where = "sequence " + std::to_string(p) + " row " + std::to_string(r) + " position " +
                  std::to_string(part.first_position + r) + " head " + std::to_string(head) + " dim " +
                  std::to_string(d) + ": " + std::to_string(got) + " for " + std::to_string(want.out[i]);
        }
      }
    }
  }
  if (nans > 0) {
    std::printf("FAIL %s: %d values are not finite, first %s\n", what.c_str(), nans, first_nan.c_str());
    ++failures;
  }
  if (worst > tolerance(setup.element)) {
    std::printf("FAIL %s: off by %.2g (may be %.2g) at %s\n", what.c_str(), worst, tolerance(setup.element),
                where.c_str());
    ++failures;
  }
  check_padding(result,
                static_cast<std::size_t>(row) * static_cast<std::size_t>(setup.query_heads * dim) * element,
                what);
}

bool same_bits(const World& world, const Result& a, int a_row, const Result& b, int b_row, int rows) {
  const std::size_t row =
      static_cast<std::size_t>(world.setup.query_heads * world.setup.head_dim) * size_of(world.setup.element);
  return std::memcmp(a.out.data() + static_cast<std::size_t>(a_row) * row,
                     b.out.data() + static_cast<std::size_t>(b_row) * row,
                     static_cast<std::size_t>(rows) * row) == 0;
}

}  // namespace

// ---- Cases

std::string AttentionSetup::text() const {
  std::string result = std::string(name(element)) + "/" + name(cache) + " " + std::to_string(query_heads) +
                       "q/" + std::to_string(kv_heads) + "kv d" + std::to_string(head_dim) + " block " +
                       std::to_string(block_size);
  if (window != kNoWindow) result += " window " + std::to_string(window);
  return sinks.empty() ? result : result + " sinks";
}

void test_decode(const AttentionSetup& setup, const std::vector<int>& positions, bool block_major,
                 unsigned seed) {
  std::vector<Sequence> sequences;
  Step step;
  step.decode = true;
  step.padding = 3;
  step.times = 3;
  for (const int position : positions) {
    sequences.push_back(
        {1, position, position + 1 + static_cast<int>(seed % 3), first_seen(position, setup.window)});
    step.parts.push_back({1, position});
    step.of_world.push_back(static_cast<int>(step.of_world.size()));
  }
  const World world(setup, sequences, block_major, seed);
  const std::string what = "decode " + setup.text();
  const Result all = run(world, step);
  compare(world, step, all, what);
  const std::size_t every = std::max<std::size_t>(positions.size() / 4, 1);
  for (std::size_t p = 0; p < positions.size(); p += every) {
    Step alone;
    alone.decode = true;
    alone.parts = {step.parts[p]};
    alone.of_world = {static_cast<int>(p)};
    const Result one = run(world, alone);
    if (one.status == cudaSuccess && !same_bits(world, all, static_cast<int>(p), one, 0, 1)) {
      fail(what + ": position " + std::to_string(positions[p]) + " differs with the batch");
    }
  }
}

const char* name(PrefillVersion version) {
  constexpr const char* kNames[] = {"best", "generic", "mma", "resident"};
  return kNames[static_cast<int>(version)];
}

void test_prefill(const AttentionSetup& setup, PrefillVersion version, bool block_major, unsigned seed) {
  std::vector<Sequence> sequences = {{130, 0}, {1, 0},     {64, 37},   {389, 0},
                                     {1, 300}, {129, 127}, {200, 500}, {70, 1900}};
  // A tile of keys comes whole where the copy engine brings it.
  const int unit = version == PrefillVersion::mma || version == PrefillVersion::generic ? 1 : 128;
  for (Sequence& s : sequences) s.lost = first_seen(s.first_position, setup.window) / unit * unit;
  const std::size_t kLongest = 3;
  Step step;
  step.version = version;
  step.padding = 2;
  step.parts = sequences;
  int longest_row = 0;
  for (std::size_t p = 0; p < sequences.size(); ++p) {
    step.of_world.push_back(static_cast<int>(p));
    if (p < kLongest) longest_row += sequences[p].rows;
  }
  const World world(setup, sequences, block_major, seed);
  const std::string what = std::string("prefill ") + name(version) + " " + setup.text();
  const Result all = run(world, step);
  compare(world, step, all, what);
  if (all.status != cudaSuccess) return;
  for (const auto& [first, rows] : {std::pair{0, 101}, std::pair{101, 150}, std::pair{251, 138}}) {
    Step chunk;
    chunk.version = version;
    chunk.parts = {{rows, first}};
    chunk.of_world = {static_cast<int>(kLongest)};
    const Result part = run(world, chunk);
    if (!same_bits(world, all, longest_row + first, part, 0, rows)) {
      std::printf("FAIL %s: rows %d..%d differ when they are a chunk\n", what.c_str(), first,
                  first + rows - 1);
      ++failures;
    }
  }
}

void test_equal(const AttentionSetup& one, const AttentionSetup& other, unsigned seed) {
  const std::vector<Sequence> sequences = {{130, 0}, {1, 511}, {1, 600}, {70, 300}};
  const World world(one, sequences, true, seed);
  World beside = world;
  beside.setup = other;
  for (const bool decode : {true, false}) {
    Step step;
    step.decode = decode;
    step.parts = sequences;
    step.of_world = {0, 1, 2, 3};
    const Result a = run(world, step), b = run(beside, step);
    check(a.status, one.text());
    if (!same_bits(world, a, 0, b, 0, 202))
      fail((decode ? "decode " : "prefill ") + one.text() + " differs from " + other.text());
  }
}

void report(const char* what) {
  static int before = 0;
  std::printf("  %-40s %s\n", what, failures == before ? "ok" : "FAILED");
  std::fflush(stdout);
  before = failures;
}

int attention_failures() { return failures; }

}  // namespace baton::gpu
