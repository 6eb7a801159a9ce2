// Matrix products against double precision on sampled outputs, and the promises of matmul.hpp: every row's
// bits are the same in any company, nothing beyond the outputs is written, nothing beyond the operands
// matters.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "gate_reference.hpp"
#include "kernel_tests.hpp"
#include "kernels/cuda/matmul.hpp"
#include "kernels/cuda/quantize.hpp"
#include "matmul_random.cuh"
#include "tensor/cuda/gemm.hpp"

namespace baton::cuda::test {
namespace {

constexpr std::uint32_t kSeedX = 1, kSeedWeight = 2, kSeedBias = 3, kSeedScale = 4;

// Of all products here: launches that start early have no meaning on the legacy stream.
cudaStream_t test_stream() {
  static cudaStream_t stream = [] {
    cudaStream_t made = nullptr;
    require(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "cudaStreamCreate");
    return made;
  }();
  return stream;
}

bool has_warpgroups() {
  MatmulArguments a;
  a.rows = a.out = 1;
  a.in = 64;
  return warpgroup_takes(a);
}

const char* name_of(Element element) {
  constexpr const char* kNames[] = {"f32", "f16", "bf16", "e4m3"};
  return kNames[static_cast<int>(element)];
}

struct Case {
  Element activation = Element::bf16;
  Element weight = Element::bf16;
  Element result = Element::bf16;
  int rows = 1;
  int out = 1;
  int in = 1;
  int pad = 8;  // elements between rows, of x and of y
  bool bias = false;
  Gate gate = Gate::none;
  bool generic = false;
  int splits = 0;
  int lead = 0;
  bool small_ring = false;
  bool few = false;
  bool warpgroup = false;

  int columns() const { return gate != Gate::none ? out / 2 : out; }
  std::string text() const {
    char line[160];
    std::snprintf(line, sizeof line, "%s x %s -> %s, rows %d, %d x %d, pad %d%s, %s%s%s splits %d lead %d%s",
                  name_of(activation), name_of(weight), name_of(result), rows, out, in, pad,
                  bias ? ", bias" : "", gpu::name_of(gate),
                  generic     ? ", generic"
                  : warpgroup ? ", warpgroup"
                              : "",
                  few ? ", few" : "", splits, lead, small_ring ? ", small ring" : "");
    return line;
  }
};

template <class Function>
auto with_type(Element element, Function function) {
  switch (element) {
    case Element::f32:
      return function(float{});
    case Element::f16:
      return function(f16{});
    case Element::bf16:
      return function(bf16{});
    case Element::e4m3:
      break;
  }
  return function(e4m3{});
}

double random_at(Element element, std::uint32_t seed, std::int64_t row, std::int64_t index, float amplitude) {
  return with_type(element, [&](auto type) {
    return static_cast<double>(static_cast<float>(Random<decltype(type)>::at(
        seed, static_cast<std::uint64_t>(row), static_cast<std::uint64_t>(index), amplitude)));
  });
}

void fill_as(Element element, void* to, std::int64_t rows, std::int64_t cols, std::int64_t stride,
             std::uint32_t seed, float amplitude) {
  with_type(element, [&](auto type) { fill<decltype(type)>(to, rows, cols, stride, seed, amplitude); });
}

double read_as(Element element, const std::vector<unsigned char>& bytes, std::int64_t index) {
  return with_type(element, [&](auto type) {
    std::memcpy(static_cast<void*>(&type), bytes.data() + index * static_cast<std::int64_t>(sizeof(type)),
                sizeof(type));
    return static_cast<double>(static_cast<float>(type));
  });
}

// Sums over K are about this: beyond where gates are clamped, where they may be.
float spread(const Case& c) { return c.gate == Gate::gelu || c.gate == Gate::clamped_silu ? 6.0F : 1.0F; }
float weight_amplitude(const Case& c) { return 3.0F * spread(c) / std::sqrt(static_cast<float>(c.in)); }
// e4m3 of random exponent are about 88 in quadratic mean.
float scale_at(const Case& c, std::int64_t row) {
  return spread(c) * (1.0F + 0.5F * random_float(kSeedScale, static_cast<std::uint64_t>(row), 1.0F)) /
         (50.0F * std::sqrt(static_cast<float>(c.in)));
}

// The relative half step of a result, and its smallest step.
double rounding(Element element) {
  return element == Element::f32 ? 6e-8 : element == Element::f16 ? 1.0 / 2048 : 1.0 / 256;
}
double smallest(Element element) { return element == Element::f16 ? 6e-8 : 1e-37; }

struct Expected {
  double value;
  double error;  // allowed, before rounding to the result
};

// accuracy: error of the sum over the sum of magnitudes.
Expected expected_sum(const Case& c, int row, int output, double accuracy) {
  double sum = 0, magnitude = 0;
  for (int k = 0; k < c.in; ++k) {
    const std::int64_t x_index = static_cast<std::int64_t>(row) * c.in + k;
    const std::int64_t w_index = static_cast<std::int64_t>(output) * c.in + k;
    const double product = random_at(c.activation, kSeedX, row, x_index, 1.0F) *
                           random_at(c.weight, kSeedWeight, output, w_index, weight_amplitude(c));
    sum += product;
    magnitude += std::abs(product);
  }
  const double scale = c.weight == Element::e4m3 ? scale_at(c, output) : 1.0;
  const double bias = c.bias ? random_at(c.activation, kSeedBias, 0, output, 1.0F) : 0.0;
  return {sum * scale + bias, accuracy * magnitude * scale + 2e-7 * std::abs(bias)};
}

Expected expected(const Case& c, int row, int column, double accuracy) {
  const Expected first = expected_sum(c, row, column, accuracy);
  if (c.gate == Gate::none) return first;
  const Expected up = expected_sum(c, row, c.columns() + column, accuracy);
  const double gate = gpu::opened(c.gate, first.value), passed = gpu::passed(c.gate, up.value);
  const double value = gate * passed;  // no gate is steeper than 1.2
  return {value, 1.2 * first.error * std::abs(passed) + std::abs(gate) * up.error + 4e-6 * std::abs(value)};
}

// What a product reads, as the device has it.
struct Operands {
  Memory x, weight, bias, scale;
  explicit Operands(const Case& c)
      : x(size_of(c.activation) * c.rows * (c.in + c.pad)),
        weight(size_of(c.weight) * c.out * c.in),
        bias(size_of(c.activation) * c.out),
        scale(sizeof(float) * c.out) {
    fill_as(c.activation, x.as(), c.rows, c.in, c.in + c.pad, kSeedX, 1.0F);
    fill_as(c.weight, weight.as(), c.out, c.in, c.in, kSeedWeight, weight_amplitude(c));
    fill_as(c.activation, bias.as(), 1, c.out, c.out, kSeedBias, 1.0F);
    std::vector<float> scales(c.out);
    for (int i = 0; i < c.out; ++i) scales[i] = scale_at(c, i);
    require(cudaMemcpy(scale.as(), scales.data(), scale.bytes(), cudaMemcpyHostToDevice), "scales");
  }
};

MatmulArguments arguments_of(const Case& c, const Operands& operands, void* y) {
  MatmulArguments a;
  a.x = operands.x.as();
  a.x_stride = c.in + c.pad;
  a.weight = operands.weight.as();
  a.scale = operands.scale.as<float>();
  a.bias = c.bias ? operands.bias.as() : nullptr;
  a.y = y;
  a.y_stride = c.columns() + c.pad;
  a.rows = c.rows;
  a.out = c.out;
  a.in = c.in;
  a.activation = c.activation;
  a.weight_type = c.weight;
  a.result = c.result;
  a.gate = c.gate;
  a.splits = c.splits;
  a.lead = c.lead;
  a.small_ring = c.small_ring;
  return a;
}

std::vector<unsigned char> to_host(const void* from, std::size_t bytes) {
  std::vector<unsigned char> host(bytes);
  require(cudaDeviceSynchronize(), "a product");
  require(cudaMemcpy(host.data(), from, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
  return host;
}

// Samples y [rows, columns + pad]; everything written must be a number, everything beside it untouched.
bool check(const Case& c, const std::vector<unsigned char>& y, double accuracy, const char* what) {
  const int stride = c.columns() + c.pad;
  const std::int64_t element = static_cast<std::int64_t>(size_of(c.result));
  for (int row = 0; row < c.rows; ++row) {
    for (int column = 0; column < stride; ++column) {
      const std::int64_t index = static_cast<std::int64_t>(row) * stride + column;
      const bool poisoned = std::all_of(y.begin() + index * element, y.begin() + (index + 1) * element,
                                        [](unsigned char byte) { return byte == 0xff; });
      const bool fine = column < c.columns() ? std::isfinite(read_as(c.result, y, index)) : poisoned;
      if (fine) continue;
      std::printf("FAIL %s: %s: row %d, column %d is %g\n", what, c.text().c_str(), row, column,
                  read_as(c.result, y, index));
      return false;
    }
  }
  const std::int64_t outputs = static_cast<std::int64_t>(c.rows) * c.columns();
  const std::int64_t samples = std::min<std::int64_t>(outputs, std::max<std::int64_t>(48, 600'000 / c.in));
  for (std::int64_t i = 0; i < samples; ++i) {
    const std::int64_t at =
        samples == outputs ? i : static_cast<std::int64_t>(hash(9, static_cast<std::uint64_t>(i))) % outputs;
    const int row = static_cast<int>(at / c.columns()), column = static_cast<int>(at % c.columns());
    const Expected want = expected(c, row, column, accuracy);
    const double got = read_as(c.result, y, static_cast<std::int64_t>(row) * stride + column);
    const double allowed =
        want.error + rounding(c.result) * (std::abs(want.value) + want.error) + smallest(c.result);
    if (std::abs(got - want.value) <= allowed) continue;
    std::printf("FAIL %s: %s: row %d, column %d is %.9g, not %.9g +- %.3g\n", what, c.text().c_str(), row,
                column, got, want.value, allowed);
    return false;
  }
  return true;
}

cudaError_t run(const Case& c, const MatmulArguments& a, cudaStream_t stream) {
  if (c.warpgroup) return matmul_warpgroup(a, stream);
  return c.generic ? matmul_generic(a, stream) : c.few ? matmul_few(a, stream) : matmul_skinny(a, stream);
}

bool check_product(const Case& c) {
  const Operands operands(c);
  Memory y(size_of(c.result) * c.rows * (c.columns() + c.pad));
  require(run(c, arguments_of(c, operands, y.as()), test_stream()), c.text().c_str());
  const double accuracy = c.activation == Element::f32 || c.generic ? 4e-6 : 1e-5;
  return check(c, to_host(y.as(), y.bytes()), accuracy, "product");
}

bool product_tests() {
  std::vector<Case> cases;
  constexpr Element kF32 = Element::f32, kF16 = Element::f16, kBf16 = Element::bf16, kE4m3 = Element::e4m3;
  struct Types {
    Element activation, weight;
  };
  // Fast: all widths and their edges, tiles and K that do not divide, every number of splits.
  for (const Types types :
       {Types{kBf16, kBf16}, Types{kF16, kF16}, Types{kBf16, kE4m3}, Types{kF16, kE4m3}}) {
    for (const int rows : {1, 2, 3, 7, 8, 9, 16, 17, 31, 32, 33, 64, 65, 130}) {
      cases.push_back({types.activation, types.weight, types.activation, rows, 384, 528, 8, rows % 2 == 0});
    }
    for (const int splits : {1, 2, 4, 8}) {
      cases.push_back(
          {types.activation, types.weight, kF32, 5, 130, 1616, 8, true, Gate::none, false, splits});
      cases.push_back(
          {types.activation, types.weight, kF32, 40, 260, 784, 16, false, Gate::silu, false, splits});
      cases.push_back({types.activation, types.weight, types.activation, 12, 1028, 2064, 24, true, Gate::silu,
                       false, splits});
    }
    // Tiles of several passes, with either ring.
    for (const bool small_ring : {false, true}) {
      for (const int rows : {9, 20, 50}) {
        cases.push_back({types.activation, types.weight, types.activation, rows, 21000, 1168, 8, false,
                         Gate::none, false, rows == 20 ? 2 : 1, rows, small_ring});
      }
    }
    cases.push_back({types.activation, types.weight, types.activation, 3, 7, 16});   // less than one stage
    cases.push_back({types.activation, types.weight, types.activation, 64, 1, 48});  // one output
    cases.push_back({types.activation, types.weight, types.activation, 1, 3072, 9216});
    cases.push_back({types.activation, types.weight, kF32, 64, 20000, 512, 0});
    cases.push_back({types.activation, types.weight, types.activation, 30, 18432, 256, 0, false, Gate::silu});
    // No fast path: an odd K, an odd stride, and both forms through the generic kernel by choice.
    cases.push_back({types.activation, types.weight, types.activation, 5, 7, 17, 1, true});
    cases.push_back({types.activation, types.weight, kF32, 70, 130, 72, 3});
    cases.push_back(
        {types.activation, types.weight, types.activation, 19, 66, 100, 4, true, Gate::silu, true});
  }
  for (const Element type : {kBf16, kF16}) {
    for (const int rows : {1, 2}) {
      for (const int in : {256, 1024, 1280, 3072, 9216}) {
        Case c{type, type, rows % 2 == 0 ? type : kF32, rows, 130 + 2 * rows, in, 8, rows == 2};
        if (in == 1280) c.gate = Gate::silu;
        c.few = true;
        cases.push_back(c);
        c.out = 7;
        c.gate = Gate::none;
        cases.push_back(c);
        c.splits = 2;
        cases.push_back(c);
      }
    }
  }
  if (has_warpgroups()) {
    for (const Element type : {kBf16, kF16}) {
      const auto add = [&](Case c) {
        c.warpgroup = true;
        cases.push_back(c);
      };
      for (const int rows : {1, 2, 7, 8, 9, 16, 17, 31, 32, 33, 63, 64})
        add({type, type, rows % 3 == 0 ? kF32 : type, rows, 384, 528, 8, rows % 2 == 0});
      for (const int splits : {1, 2, 4, 8}) {  // K that does not divide, tiles that are not full
        add({type, type, kF32, 5, 130, 1616, 8, true, Gate::none, false, splits});
        add({type, type, type, 40, 260, 784, 16, false, Gate::silu, false, splits});
        add({type, type, type, 12, 1028, 2064, 24, true, Gate::silu, false, splits});
      }
      add({type, type, type, 3, 7, 16});   // less than a chunk
      add({type, type, type, 64, 1, 48});  // one output
      add({type, type, type, 17, 2, 8, 0, true, Gate::silu});
      add({type, type, type, 1, 3072, 9216});
      add({type, type, kF32, 64, 20000, 512, 0});
      add({type, type, type, 30, 18432, 256, 0, false, Gate::silu});
    }
  }
  for (const Element weight : {kF32, kF16, kBf16, kE4m3}) {
    for (const int rows : {1, 16, 17, 64, 65, 200}) {
      cases.push_back({kF32, weight, kF32, rows, 200, 333, 5, rows % 2 == 1});
    }
    cases.push_back({kF32, weight, kF32, 9, 6, 1, 0, true});
    cases.push_back({kF32, weight, kF32, 33, 254, 1024, 0, true, Gate::silu});
  }
  for (std::size_t i = 0, count = cases.size(); i < count; ++i) {
    for (const Gate gate : {Gate::gelu, Gate::clamped_silu}) {
      if (cases[i].gate != Gate::silu) continue;
      cases.push_back(cases[i]);
      cases.back().gate = gate;
    }
  }
  if (short_tests()) std::erase_if(cases, [](const Case& c) { return c.out > 4000; });
  bool good = true;
  for (const Case& c : cases) good = check_product(c) && good;
  std::printf("%s %zu products against double precision\n", good ? "ok  " : "FAIL", cases.size());
  return good;
}

// Rows [first, first + rows) alone must be what they are among all.
bool same_rows(const Case& c, const Operands& operands, const std::vector<unsigned char>& all, int first,
               int rows) {
  const std::int64_t row_bytes = static_cast<std::int64_t>(size_of(c.result)) * (c.columns() + c.pad);
  Memory y(static_cast<std::size_t>(row_bytes * rows));
  MatmulArguments a = arguments_of(c, operands, y.as());
  a.x = static_cast<const char*>(a.x) + static_cast<std::int64_t>(size_of(c.activation)) * a.x_stride * first;
  a.rows = rows;
  require(run(c, a, test_stream()), "a product of some rows");
  const auto some = to_host(y.as(), y.bytes());
  if (std::memcmp(some.data(), all.data() + first * row_bytes, some.size()) == 0) return true;
  std::printf("FAIL rows %d to %d alone differ: %s\n", first, first + rows, c.text().c_str());
  return false;
}

bool row_invariance_tests() {
  std::vector<Case> cases;
  struct Types {
    Element activation, weight, result;
    Gate gate;
  };
  for (const Types types : {Types{Element::bf16, Element::bf16, Element::f32, Gate::silu},
                            Types{Element::f16, Element::f16, Element::f16, Gate::gelu},
                            Types{Element::bf16, Element::e4m3, Element::bf16, Gate::clamped_silu},
                            Types{Element::f16, Element::e4m3, Element::f32, Gate::gelu}}) {
    for (const int out : {1024, 3072, 6144, 26000}) {  // four splits, two, one, and tiles of several passes
      cases.push_back({types.activation, types.weight, types.result, 130, out, 4112, 8, true});
    }
    cases.push_back({types.activation, types.weight, types.result, 130, 1536, 1040, 8, true, types.gate});
    cases.push_back({types.activation, types.weight, types.result, 130, 200, 200, 8, true, Gate::none, true});
  }
  cases.push_back({Element::f32, Element::bf16, Element::f32, 130, 130, 300, 1, true});
  for (const int out : {1024, 3072, 26000}) {
    if (!has_warpgroups()) break;
    cases.push_back({Element::bf16, Element::bf16, Element::f32, kMostWarpgroupRows, out, 4112, 8, true});
    cases.back().warpgroup = true;
    cases.push_back({Element::f16, Element::f16, Element::f16, kMostWarpgroupRows, out, 1040, 8, true,
                     out == 1024 ? Gate::clamped_silu : Gate::silu});
    cases.back().warpgroup = true;
  }
  if (short_tests()) {
    std::erase_if(cases, [](const Case& c) { return c.out > 4000; });
    for (Case& c : cases) c.in = std::min(c.in, 528);
  }
  bool good = true;
  for (const Case& c : cases) {
    const Operands operands(c);
    Memory y(size_of(c.result) * c.rows * (c.columns() + c.pad));
    require(run(c, arguments_of(c, operands, y.as()), test_stream()), "a product");
    const auto all = to_host(y.as(), y.bytes());
    std::vector<int> counts = {1, 2, 5, 8, 9, 16, 17, 32, 33, 64, 65, 130};
    if (c.out == 1024 && !short_tests()) {
      for (int rows = 1; rows < 64; ++rows) counts.push_back(rows);
    }
    for (const int rows : counts) {
      if (rows > c.rows) continue;
      for (const int first : {0, (c.rows - rows) / 2, c.rows - rows}) {
        good = same_rows(c, operands, all, first, rows) && good;
      }
    }
  }
  std::printf("%s %zu products' rows are the same in any company\n", good ? "ok  " : "FAIL", cases.size());
  return good;
}

bool check_quantized(Element type, int rows, int cols, int pad, bool whole) {
  Memory x(size_of(type) * rows * (cols + pad)), q(static_cast<std::size_t>(rows) * (cols + pad));
  Memory scale(sizeof(float) * rows);
  fill_as(type, x.as(), rows, cols, cols + pad, 7, 3.0F);
  require(cudaMemset(x.as(), 0, size_of(type) * cols), "a row of zeros");
  require(cudaDeviceSynchronize(), "a row of zeros");
  const QuantizeArguments a{x.as(), type, cols + pad, rows, cols, q.as(), cols + pad, scale.as<float>()};
  require(whole ? quantize_tensor(a, test_stream()) : quantize_rows(a, test_stream()), "quantize");
  const auto codes = to_host(q.as(), q.bytes());
  const auto values = to_host(x.as(), x.bytes());
  const auto scales = to_host(scale.as(), scale.bytes());
  double all = 0;
  std::vector<double> largest(rows, 0);
  for (int row = 0; row < rows; ++row) {
    for (int col = 0; col < cols; ++col) {
      const double value =
          std::abs(read_as(type, values, static_cast<std::int64_t>(row) * (cols + pad) + col));
      largest[row] = std::max(largest[row], value);
    }
    all = std::max(all, largest[row]);
  }
  for (int row = 0; row < rows; ++row) {
    const double top = whole ? all : largest[row];
    const double got = read_as(Element::f32, scales, whole ? 0 : row);
    const double want = top > 0 ? top / 448 : 1;
    bool good = std::abs(got - want) <= 1e-6 * want;
    for (int col = 0; col < cols + pad && good; ++col) {
      const std::int64_t index = static_cast<std::int64_t>(row) * (cols + pad) + col;
      const double value = read_as(type, values, index);
      good = col < cols ? std::abs(read_as(Element::e4m3, codes, index) * got - value) <=
                              1.0001 * std::max(std::abs(value) / 16, got / 1024)
                        : codes[index] == 0xff;
    }
    if (good) continue;
    std::printf("FAIL quantize %s %s, %d x %d, pad %d: row %d, scale %g, not %g\n", whole ? "tensor" : "rows",
                name_of(type), rows, cols, pad, row, got, want);
    return false;
  }
  return true;
}

bool quantize_tests() {
  bool good = true;
  for (const Element type : {Element::f32, Element::f16, Element::bf16}) {
    for (const bool whole : {false, true}) {
      good = check_quantized(type, 5, 3072, 0, whole) && good;
      good = check_quantized(type, 3, 17, 1, whole) && good;
      good = check_quantized(type, 40, 1000, 8, whole) && good;
    }
  }
  std::printf("%s quantisation to e4m3\n", good ? "ok  " : "FAIL");
  return good;
}

DType dtype_of(Element element) {
  return element == Element::f32 ? DType::f32 : element == Element::f16 ? DType::f16 : DType::bf16;
}

GemmCall call_of(const Case& c, const Operands& operands, void* y) {
  GemmCall call;
  call.x = operands.x.as(), call.x_stride = c.in + c.pad;
  call.weight = operands.weight.as();
  call.bias = c.bias ? operands.bias.as() : nullptr;
  call.y = y, call.y_stride = c.columns() + c.pad;
  call.rows = c.rows, call.out = c.out, call.in = c.in;
  call.type = dtype_of(c.activation), call.result = dtype_of(c.result);
  return call;
}

Result<void> tuned_product(CublasGemm& gemm, const GemmCall& call, Memory& y) {
  if (const auto tuned = gemm.tune({&call, 1}, test_stream()); !tuned) return tuned.error();
  y.poison();
  return gemm.product(call, test_stream());
}

bool cublas_tests(CublasGemm& gemm) {
  std::vector<Case> cases;
  for (const Element type : {Element::bf16, Element::f16}) {
    for (const int rows : {1, 7, 64, 129, 300}) {
      cases.push_back({type, type, type, rows, 384, 512, 8, rows % 2 == 1});
      cases.push_back({type, type, Element::f32, rows, 1000, 768});
      cases.push_back({type, type, type, rows, 130, 72, 2, true});
    }
    cases.push_back({type, type, type, 5, 7, 17, 1});
    cases.push_back({type, type, Element::f32, 9, 256, 256, 8, true});
  }
  bool good = true;
  for (const Case& c : cases) {
    const Operands operands(c);
    Memory y(size_of(c.result) * c.rows * (c.columns() + c.pad));
    const GemmCall call = call_of(c, operands, y.as());
    for (const bool tuned : {false, true}) {
      if (tuned && c.rows != 64) continue;
      const auto done = tuned ? tuned_product(gemm, call, y) : gemm.product(call, test_stream());
      if (!done) {
        // Refused: such a product is the skinny kernel's.
        const bool unusual = (c.bias && c.result == Element::f32) || c.in % 8 != 0;
        const bool allowed = unusual && done.error().code == ErrorCode::unsupported;
        std::printf("%s cuBLASLt: %s: %s\n", allowed ? "note" : "FAIL", c.text().c_str(),
                    done.error().message.c_str());
        good = good && allowed;
        continue;
      }
      good = check(c, to_host(y.as(), y.bytes()), 2e-5, "cuBLASLt") && good;
    }
  }
  std::printf("%s %zu products by cuBLASLt\n", good ? "ok  " : "FAIL", cases.size());
  return good;
}

// x and weight random codes, scales near one and powers apart.
bool check_fp8(CublasGemm& gemm, GemmScaling scaling, Element type, Element result, int rows, int out,
               int in) {
  Memory x(static_cast<std::size_t>(rows) * in), weight(static_cast<std::size_t>(out) * in);
  Memory y(size_of(result) * rows * out), x_scale(sizeof(float) * rows), weight_scale(sizeof(float) * out);
  fill<e4m3>(x.as(), rows, in, in, kSeedX, 1.0F);
  fill<e4m3>(weight.as(), out, in, in, kSeedWeight, 1.0F);
  fill<float>(x_scale.as(), 1, rows, rows, 11, 0.01F);  // of either sign: a scale is a factor
  fill<float>(weight_scale.as(), 1, out, out, 12, 0.01F);
  GemmCall call;
  call.x = x.as(), call.x_stride = in, call.weight = weight.as(), call.y = y.as(), call.y_stride = out;
  call.rows = rows, call.out = out, call.in = in;
  call.type = dtype_of(type), call.result = dtype_of(result), call.scaling = scaling;
  call.x_scale = x_scale.as<float>(), call.weight_scale = weight_scale.as<float>();
  const char* name = scaling == GemmScaling::outer ? "per row and channel" : "per tensor";
  const bool can = gemm.can(call);
  const auto done = gemm.product(call, test_stream());
  if (can != done.has_value()) {
    std::printf("FAIL e4m3 %s: the library says that it can%s, and does otherwise\n", name, can ? "" : "not");
    return false;
  }
  if (!done) {
    std::printf("note e4m3 %s, %s -> %s, %d rows: %s\n", name, name_of(type), name_of(result), rows,
                done.error().message.c_str());
    return scaling == GemmScaling::outer && done.error().code == ErrorCode::unsupported;
  }
  const auto got = to_host(y.as(), y.bytes());
  for (std::uint64_t i = 0; i < 400; ++i) {
    const int row = static_cast<int>(hash(13, i) % static_cast<unsigned>(rows));
    const int column = static_cast<int>(hash(14, i) % static_cast<unsigned>(out));
    double sum = 0, magnitude = 0;
    for (int k = 0; k < in; ++k) {
      const double product =
          random_at(Element::e4m3, kSeedX, row, static_cast<std::int64_t>(row) * in + k, 0) *
          random_at(Element::e4m3, kSeedWeight, column, static_cast<std::int64_t>(column) * in + k, 0);
      sum += product;
      magnitude += std::abs(product);
    }
    const bool outer = scaling == GemmScaling::outer;
    const double scale = static_cast<double>(random_float(11, outer ? row : 0, 0.01F)) *
                         static_cast<double>(random_float(12, outer ? column : 0, 0.01F));
    const double allowed =
        (1e-3 * magnitude + rounding(result) * std::abs(sum)) * std::abs(scale) + smallest(result);
    const double value = read_as(result, got, static_cast<std::int64_t>(row) * out + column);
    if (std::abs(value - sum * scale) <= allowed) continue;
    std::printf("FAIL e4m3 %s, %s, %d x %d x %d: [%d, %d] is %g, not %g +- %g\n", name, name_of(result), rows,
                out, in, row, column, value, sum * scale, allowed);
    return false;
  }
  return true;
}

bool fp8_tests(CublasGemm& gemm) {
  bool good = true;
  for (const GemmScaling scaling : {GemmScaling::tensor, GemmScaling::outer}) {
    for (const int rows : {16, 64, 100, 333}) {
      good = check_fp8(gemm, scaling, Element::bf16, Element::bf16, rows, 512, 1024) && good;
    }
    good = check_fp8(gemm, scaling, Element::f16, Element::f16, 64, 512, 1024) && good;
    good = check_fp8(gemm, scaling, Element::bf16, Element::f32, 64, 512, 1024) && good;
  }
  std::printf("%s products of e4m3 by cuBLASLt\n", good ? "ok  " : "FAIL");
  return good;
}

}  // namespace

bool matmul_tests() {
  bool good = product_tests();
  good = row_invariance_tests() && good;
  good = quantize_tests() && good;
  auto gemm = CublasGemm::create();
  if (!gemm) {
    std::printf("FAIL cuBLASLt: %s\n", gemm.error().message.c_str());
    return false;
  }
  good = cublas_tests(**gemm) && good;
  return fp8_tests(**gemm) && good;
}

}  // namespace baton::cuda::test
