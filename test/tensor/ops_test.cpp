// The Ops contract, part one: every operation against a naive computation in double, for odd shapes, every
// element type and every backend of this machine.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops_contract.hpp"
#include "support/test_data.hpp"

namespace baton::test {
namespace {

struct Shape {
  std::int64_t rows, in, out;
};

constexpr float kAll = std::numeric_limits<float>::infinity();  // a sink that takes everything
constexpr float kNone = -kAll;                                  // and one that takes nothing

void check_product(const Matrix& got, const Matrix& x, const Matrix& w, const Matrix* bias) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (std::int64_t n = 0; n < w.rows; ++n) {
      double want = bias ? static_cast<double>(bias->at(0, n)) : 0.0;
      double size = std::abs(want);
      for (std::int64_t k = 0; k < x.cols; ++k) {
        const double term = static_cast<double>(x.at(r, k)) * static_cast<double>(w.at(n, k));
        want += term;
        size += std::abs(term);
      }
      if (std::abs(static_cast<double>(got.at(r, n)) - want) > 1e-6 * size + 1e-7) {
        FAIL("row " << r << ", output " << n << ": " << got.at(r, n) << " instead of " << want);
      }
    }
  }
}

}  // namespace

TEST_CASE("matmul computes x W^T + bias") {
  for (const OpsOptions& options : backends()) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      for (const Shape shape : {Shape{1, 1, 1}, Shape{1, 300, 131}, Shape{2, 17, 64}, Shape{3, 64, 200},
                                Shape{4, 33, 7}, Shape{5, 129, 65}, Shape{6, 257, 33}, Shape{7, 600, 70},
                                Shape{13, 512, 128}, Shape{150, 259, 37}, Shape{301, 31, 130}}) {
        INFO(options.isa << " " << to_string(dtype) << " " << shape.rows << "x" << shape.in << "x"
                         << shape.out);
        auto ops = require_ops(options, 2);
        const Weight weight(dtype, shape.out, shape.in, 1);
        const Weight bias(dtype, 1, shape.out, 2);
        const Matrix x = Matrix::random(shape.rows, shape.in, 3);
        WeightView view = weight.view();
        const Linear plain = require_pack(*ops, {&view, 1});
        check_product(download(*ops, ops->matmul(upload(*ops, x), plain)), x, weight.exact(), nullptr);
        view.bias = bias.view().data;
        const Linear biased = require_pack(*ops, {&view, 1});
        check_product(download(*ops, ops->matmul(upload(*ops, x), biased)), x, weight.exact(), &bias.exact());
      }
    }
  }
}

TEST_CASE("matmul of e4m3 weights multiplies each output with its scale") {
  for (const OpsOptions& options : backends()) {
    for (const Shape shape :
         {Shape{1, 300, 131}, Shape{3, 64, 200}, Shape{5, 129, 65}, Shape{150, 259, 37}}) {
      for (const bool by_output : {false, true}) {
        INFO(options.isa << " " << shape.rows << "x" << shape.in << "x" << shape.out << " " << by_output);
        auto ops = require_ops(options, 2);
        const Weight one(DType::e4m3, shape.out, shape.in, 1), two(DType::e4m3, 20, shape.in, 2);
        const Weight bias(DType::bf16, 1, 20, 3);
        std::vector<float> scales(by_output ? static_cast<std::size_t>(shape.out) : 1);
        for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = 0.013F * static_cast<float>(i % 17 + 1);
        const float other = 3.1F;
        WeightView views[] = {one.view(), two.view()};
        views[0].scales = scales;
        views[1].scales = {&other, 1};
        views[1].bias = bias.view().data;
        views[1].bias_dtype = DType::bf16;
        Matrix first = one.exact(), second = two.exact();
        for (std::int64_t o = 0; o < first.rows; ++o)
          for (std::int64_t i = 0; i < first.cols; ++i) first.at(o, i) *= views[0].scale_of(o);
        for (float& value : second.values) value *= other;
        const Matrix x = Matrix::random(shape.rows, shape.in, 4);
        if (options.device.kind == DeviceKind::cuda) {  // there, packed together, all have a bias or none
          for (WeightView& view : views) view.bias = nullptr;
        }
        const Tensor y = ops->matmul(upload(*ops, x), require_pack(*ops, views));
        check_product(download(*ops, y.columns(0, shape.out)), x, first, nullptr);
        check_product(download(*ops, y.columns(shape.out, 20)), x, second,
                      views[1].bias ? &bias.exact() : nullptr);
      }
    }
  }
}

TEST_CASE("an e4m3 weight with NaN gives NaN for its output, and the others their bits") {
  for (const OpsOptions& options : backends()) {
    if (options.device.kind == DeviceKind::cuda) continue;  // where it is one kernel whatever the codes are
    INFO(options.isa);
    auto ops = require_ops(options, 2);
    const Weight finite(DType::e4m3, 150, 64, 1);
    const float scale = 0.37F;
    std::vector<std::byte> nan(64, std::byte{0x38});
    nan[40] = std::byte{0xFF};
    WeightView views[] = {finite.view(), {nan.data(), DType::e4m3, 1, 64}};
    for (WeightView& view : views) view.scales = {&scale, 1};
    const Linear alone = require_pack(*ops, {views, 1}), both = require_pack(*ops, views);
    for (const std::int64_t rows : {1, 2, 5, 7, 40}) {
      CAPTURE(rows);
      const Matrix x = Matrix::random(rows, 64, 4);
      const Matrix expected = download(*ops, ops->matmul(upload(*ops, x), alone));
      const Tensor y = ops->matmul(upload(*ops, x), both);
      CHECK(download(*ops, y.columns(0, 150)).values == expected.values);
      for (const float value : download(*ops, y.columns(150, 1)).values) CHECK(std::isnan(value));
    }
  }
}

TEST_CASE("matmul reads a slice of columns") {
  for (const OpsOptions& options : backends()) {
    auto ops = require_ops(options);
    const Weight weight(DType::bf16, 40, 24, 1);
    const WeightView view = weight.view();
    const Linear packed = require_pack(*ops, {&view, 1});
    for (const std::int64_t rows : {3, 20}) {
      const Matrix wide = Matrix::random(rows, 60, 2);
      Matrix part(rows, 24);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < 24; ++c) part.at(r, c) = wide.at(r, 13 + c);
      }
      const Tensor y = ops->matmul(upload(*ops, wide).columns(13, 24), packed);
      check_product(download(*ops, y), part, weight.exact(), nullptr);
    }
  }
}

TEST_CASE("rms_norm divides by the root of the mean square") {
  for (const OpsOptions& options : backends()) {
    for (const std::int64_t cols : {1, 7, 64, 100, 288}) {
      INFO(options.isa << " " << cols);
      auto ops = require_ops(options);
      const Weight weight(DType::bf16, 1, cols, 1);
      auto scale = ops->pack_vector(weight.view());
      REQUIRE(scale.has_value());
      const Matrix x = Matrix::random(5, cols, 2, 3.0F);
      const Matrix y = download(*ops, ops->rms_norm(upload(*ops, x), *scale, 1e-5F));
      for (std::int64_t r = 0; r < x.rows; ++r) {
        double squares = 0;
        for (std::int64_t c = 0; c < cols; ++c) squares += std::pow(static_cast<double>(x.at(r, c)), 2);
        const double root = std::sqrt(squares / static_cast<double>(cols) + 1e-5);
        for (std::int64_t c = 0; c < cols; ++c) {
          const double want =
              static_cast<double>(x.at(r, c)) / root * static_cast<double>(weight.exact().at(0, c));
          REQUIRE(static_cast<double>(y.at(r, c)) == Approx(want).epsilon(2e-6).margin(1e-7));
        }
      }
    }
  }
}

TEST_CASE("add, gate_mul and gather_rows") {
  for (const OpsOptions& options : backends()) {
    auto ops = require_ops(options);
    const Matrix a = Matrix::random(9, 37, 1), b = Matrix::random(9, 37, 2);
    const Tensor x = upload(*ops, a);
    const Tensor sum = ops->add(x, upload(*ops, b));
    REQUIRE(sum.data == x.data);
    const Matrix added = download(*ops, sum);
    for (std::size_t i = 0; i < a.values.size(); ++i) REQUIRE(added.values[i] == a.values[i] + b.values[i]);

    for (const float factor : {1.0F, 0.22F}) {
      const Weight weight(DType::f32, 1, 37, 4);
      const auto packed = ops->pack_vector(weight.view());
      REQUIRE(packed.has_value());
      const Tensor stream = upload(*ops, a), room = ops->rms_norm(stream, *packed, 1e-5F);
      const Matrix normed =
          download(*ops, ops->add_rms_norm(stream, upload(*ops, b), factor, *packed, 1e-5F, room, nullptr));
      const Matrix summed = download(*ops, stream);
      for (std::size_t i = 0; i < a.values.size(); ++i) {
        const float want = std::fma(factor, b.values[i], a.values[i]);
        if (factor == 1.0F) REQUIRE(summed.values[i] == want);
        REQUIRE(summed.values[i] == Approx(want).epsilon(1e-6).margin(1e-7));  // fused or not
      }
      const Matrix apart = download(*ops, ops->rms_norm(stream, *packed, 1e-5F));
      REQUIRE(same_bits(normed.values.data(), apart.values.data(), 9 * 37));
    }

    for (const float width : {3.0F, 120.0F}) {
      const Matrix gate_up = Matrix::random(9, 74, 3, width);
      for (const Activation activation : {Activation::silu, Activation::gelu, Activation::clamped_silu}) {
        const Matrix y = download(*ops, ops->gate_mul(upload(*ops, gate_up), activation));
        REQUIRE(y.cols == 37);
        for (std::int64_t r = 0; r < 9; ++r) {
          for (std::int64_t c = 0; c < 37; ++c) {
            INFO(static_cast<int>(activation) << " of " << gate_up.at(r, c) << ", " << gate_up.at(r, 37 + c));
            const double want = gated(activation, gate_up.at(r, c), gate_up.at(r, 37 + c));
            REQUIRE(static_cast<double>(y.at(r, c)) == Approx(want).epsilon(5e-6).margin(1e-30));
          }
        }
      }
    }

    const std::vector<std::int32_t> rows{8, 0, 3, 3};
    const Matrix gathered = download(*ops, ops->gather_rows(upload(*ops, b), rows));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      REQUIRE(same_bits(&gathered.values[i * 37], &b.values[static_cast<std::size_t>(rows[i]) * 37], 37));
    }
  }
}

TEST_CASE("embed returns the table's rows exactly") {
  for (const OpsOptions& options : backends()) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      auto ops = require_ops(options);
      const Weight table(dtype, 300, 19, 1);
      const WeightView view = table.view();
      const std::vector<std::int32_t> tokens{299, 0, 131, 64};
      const Matrix rows = download(*ops, ops->embed(require_pack(*ops, {&view, 1}), tokens));
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        REQUIRE(same_bits(&rows.values[i * 19],
                          &table.exact().values[static_cast<std::size_t>(tokens[i]) * 19], 19));
      }
    }
  }
}

TEST_CASE("rope rotates the pairs of every head by position times frequency") {
  for (const OpsOptions& options : backends()) {
    for (const std::int32_t head_dim : {2, 8, 64, 72}) {
      INFO(options.isa << " " << head_dim);
      auto ops = require_ops(options);
      RopeTable table{.scale = 1.25F, .max_positions = 5000};
      for (std::int32_t i = 0; i < head_dim / 2; ++i) {
        table.inv_frequency.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / head_dim)));
      }
      if (head_dim > 2) table.inv_frequency.back() = 0;  // stays as it is
      auto prepared = ops->prepare_rope(table);
      REQUIRE(prepared.has_value());
      Batch batch;
      batch.positions = {0, 1, 17, 4095};
      ops->begin_step(batch, {});
      const Matrix x = Matrix::random(4, 3 * head_dim, 1);
      const Tensor heads = upload(*ops, x);
      ops->rope(heads, head_dim, prepared->get());
      const Matrix y = download(*ops, heads);
      for (std::int64_t r = 0; r < 4; ++r) {
        for (std::int64_t h = 0; h < 3; ++h) {
          for (std::int32_t i = 0; i < head_dim / 2; ++i) {
            const double angle = static_cast<double>(batch.positions[static_cast<std::size_t>(r)]) *
                                 static_cast<double>(table.inv_frequency[static_cast<std::size_t>(i)]);
            const double scale = table.inv_frequency[static_cast<std::size_t>(i)] == 0 ? 1.0 : 1.25;
            const double c = std::cos(angle) * scale, s = std::sin(angle) * scale;
            const double low = static_cast<double>(x.at(r, h * head_dim + i));
            const double high = static_cast<double>(x.at(r, h * head_dim + head_dim / 2 + i));
            REQUIRE(static_cast<double>(y.at(r, h * head_dim + i)) ==
                    Approx(low * c - high * s).margin(1e-6));
            REQUIRE(static_cast<double>(y.at(r, h * head_dim + head_dim / 2 + i)) ==
                    Approx(high * c + low * s).margin(1e-6));
          }
        }
      }
    }
  }
}

TEST_CASE("attention is the softmax over the positions that a row sees") {
  struct Case {
    std::int32_t query_heads, kv_heads, head_dim, block_size;
    std::int64_t tokens;
    DType dtype;
    std::int32_t window = 0;
    std::vector<float> sinks = {};
  };
  for (const OpsOptions& options : backends()) {
    for (const Case& c : {Case{1, 1, 4, 8, 5, DType::f32}, Case{8, 4, 8, 16, 140, DType::f32},
                          Case{6, 2, 24, 8, 130, DType::bf16}, Case{7, 1, 64, 32, 300, DType::bf16},
                          Case{4, 4, 100, 16, 257, DType::f16}, Case{6, 3, 64, 16, 150, DType::e4m3},
                          Case{2, 1, 20, 8, 70, DType::e4m3}, Case{2, 1, 8, 8, 40, DType::f32, 1},
                          Case{4, 2, 16, 16, 150, DType::bf16, 7}, Case{5, 1, 64, 32, 300, DType::bf16, 100},
                          Case{8, 2, 24, 8, 290, DType::f32, 129}, Case{2, 2, 64, 16, 400, DType::e4m3, 256},
                          Case{4, 1, 32, 16, 70, DType::f32, 1000},
                          Case{4, 2, 16, 16, 140, DType::f32, 0, {0.5F, -3.0F, 40.0F, -200.0F}},
                          Case{2, 1, 64, 16, 270, DType::bf16, 128, {2.0F, kNone}},
                          Case{2, 1, 16, 16, 40, DType::f32, 0, {kAll, 0.0F}}}) {
      INFO(options.isa << " heads " << c.query_heads << "/" << c.kv_heads << " dim " << c.head_dim
                       << " window " << c.window);
      auto ops = require_ops(options, 2);
      REQUIRE(ops->begin_model({.weights = DType::f32, .window = c.window}).has_value());
      const KvLayout layout{.dtype = c.dtype,
                            .layers = 2,
                            .kv_heads = c.kv_heads,
                            .head_dim = c.head_dim,
                            .block_size = c.block_size};
      KvPool pool(*ops, layout, 64, 1);
      Batch batch;
      append_rows(batch, pool.table(c.tokens), 0, c.tokens);
      ops->begin_step(batch, pool.view());
      // K and V through a weight's element type, so that the cache holds them exactly.
      const Weight k(c.dtype, c.tokens, c.kv_heads * c.head_dim, 2),
          v(c.dtype, c.tokens, c.kv_heads * c.head_dim, 3);
      const Matrix q = Matrix::random(c.tokens, c.query_heads * c.head_dim, 4, 3.0F);
      ops->store_kv(1, upload(*ops, k.exact()), upload(*ops, v.exact()));
      AttentionShape shape{c.query_heads, c.kv_heads, c.head_dim, 0.3F, c.window};
      const WeightView sinks{.data = c.sinks.data(), .dtype = DType::f32, .out = 1, .in = c.query_heads};
      const Linear packed = c.sinks.empty() ? Linear() : *ops->pack_vector(sinks);
      if (packed) shape.sinks = &packed;
      const Matrix y = download(*ops, ops->attention(1, upload(*ops, q), shape));
      for (std::int64_t r = 0; r < c.tokens; r += r < 10 ? 1 : 13) {
        for (std::int64_t h = 0; h < c.query_heads; ++h) {
          const std::int64_t kv_column = h / (c.query_heads / c.kv_heads) * c.head_dim;
          const std::int64_t first = c.window > 0 ? std::max<std::int64_t>(0, r + 1 - c.window) : 0;
          std::vector<double> weights(static_cast<std::size_t>(first));
          double total =
              c.sinks.empty() ? 0 : std::exp(static_cast<double>(c.sinks[static_cast<std::size_t>(h)]));
          for (std::int64_t j = first; j <= r; ++j) {
            double score = 0;
            for (std::int64_t d = 0; d < c.head_dim; ++d) {
              score += static_cast<double>(q.at(r, h * c.head_dim + d)) *
                       static_cast<double>(k.exact().at(j, kv_column + d));
            }
            weights.push_back(std::exp(score * static_cast<double>(0.3F)));
            total += weights.back();
          }
          for (std::int64_t d = 0; d < c.head_dim; ++d) {
            double want = 0;
            for (std::int64_t j = first; j <= r; ++j) {
              want += weights[static_cast<std::size_t>(j)] / total *
                      static_cast<double>(v.exact().at(j, kv_column + d));
            }
            REQUIRE(static_cast<double>(y.at(r, h * c.head_dim + d)) ==
                    Approx(want).epsilon(1e-5).margin(3e-6));
          }
        }
      }
    }
  }
}

TEST_CASE("store_kv rounds to nearest even and keeps infinities and NaN") {
  for (const OpsOptions& options : backends()) {
    auto ops = require_ops(options);
    const KvLayout layout{.dtype = DType::bf16, .layers = 1, .kv_heads = 1, .head_dim = 8, .block_size = 8};
    KvPool pool(*ops, layout, 1, 1);
    Batch batch;
    append_rows(batch, {0}, 3, 1);
    ops->begin_step(batch, pool.view());
    Matrix k(1, 8);
    const std::uint32_t bits[8] = {0x3F808000, 0x3F818000, 0x3F808001, 0x7F800000,
                                   0xFF800000, 0x7F800001, 0x80000000, 0x7F7FFFFF};
    std::memcpy(k.values.data(), bits, sizeof(bits));
    ops->store_kv(0, upload(*ops, k), upload(*ops, k));
    std::uint16_t got[8];
    REQUIRE(copy_to_host(ops->device(), pool.view().piece(0, 0, 1, 0) + 3 * 8 * 2,
                         std::as_writable_bytes(std::span(got)))
                .has_value());
    const std::uint16_t want[8] = {0x3F80, 0x3F82, 0x3F81, 0x7F80, 0xFF80, 0x7FC0, 0x8000, 0x7F80};
    for (int i = 0; i < 8; ++i) CHECK(got[i] == want[i]);
  }
}

TEST_CASE("store_kv and attention know every code of e4m3") {
  // Sign, four bits of exponent (bias 7), three of mantissa; all ones is NaN (OCP 8-bit floating point,
  // 2023).
  const auto value_of = [](int code) {
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const double size = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    return (code & 0x80) != 0 ? -size : size;
  };
  // What to store and the code that it becomes: every value, every midpoint (to even), both sides of it, too
  // much.
  std::vector<std::pair<float, int>> wanted;
  for (int code = 0; code < 0x7F; ++code) {
    const auto value = static_cast<float>(value_of(code));
    for (const float sign : {1.0F, -1.0F}) {
      const int bit = sign < 0 ? 0x80 : 0;
      wanted.emplace_back(sign * value, bit | code);
      if (code == 0x7E) continue;
      const float middle = (value + static_cast<float>(value_of(code + 1))) / 2;
      wanted.emplace_back(sign * middle, bit | (code + code % 2));
      wanted.emplace_back(sign * std::nextafter(middle, 0.0F), bit | code);
      wanted.emplace_back(sign * std::nextafter(middle, 1e3F), bit | (code + 1));
    }
  }
  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto& [value, code] : std::vector<std::pair<float, int>>{
           {449, 0x7E}, {-1e30F, 0xFE}, {infinity, 0x7E}, {-infinity, 0xFE}, {1e-30F, 0}, {-1e-30F, 0x80}})
    wanted.emplace_back(value, code);
  wanted.resize((wanted.size() + 16) / 16 * 16, {0.0F, 0});

  for (const OpsOptions& options : backends()) {
    INFO(options.isa);
    auto ops = require_ops(options);
    const KvLayout layout{.dtype = DType::e4m3, .layers = 1, .kv_heads = 1, .head_dim = 16, .block_size = 8};
    const auto rows = static_cast<std::int64_t>(wanted.size() / 16);
    KvPool pool(*ops, layout, static_cast<std::int32_t>(rows / 8 + 1), 1);
    Matrix k(rows, 16);
    for (std::size_t i = 0; i < wanted.size(); ++i) k.values[i] = wanted[i].first;
    k.at(rows - 1, 15) = std::numeric_limits<float>::quiet_NaN();
    const auto table = pool.table(rows);
    Batch batch;
    append_rows(batch, table, 0, rows);
    ops->begin_step(batch, pool.view());
    ops->store_kv(0, upload(*ops, k), upload(*ops, k));
    for (std::int64_t r = 0; r < rows; ++r) {
      std::uint8_t got[16];
      const std::byte* from = pool.view().piece(table[static_cast<std::size_t>(r / 8)], 0, 1, 0) + r % 8 * 16;
      REQUIRE(copy_to_host(ops->device(), from, std::as_writable_bytes(std::span(got))).has_value());
      for (std::int64_t i = 0; i < 16; ++i) {
        const auto& [value, code] = wanted[static_cast<std::size_t>(r * 16 + i)];
        INFO(value << " " << r << " " << i);
        if (std::isnan(k.at(r, i)))
          CHECK((got[i] & 0x7F) == 0x7F);
        else
          CHECK(int{got[i]} == code);
      }
    }
    // Read back: a sequence of one position returns its own V.
    const AttentionShape shape{1, 1, 16, 1.0F};
    for (std::int64_t r = 0; r + 1 < rows; ++r) {
      Batch one;
      append_rows(one, {0}, 0, 1);
      ops->begin_step(one, pool.view());
      Matrix v(1, 16);
      for (std::int64_t i = 0; i < 16; ++i) v.at(0, i) = k.at(r, i);
      ops->store_kv(0, upload(*ops, Matrix(1, 16)), upload(*ops, v));
      const Matrix y = download(*ops, ops->attention(0, upload(*ops, Matrix(1, 16)), shape));
      for (std::int64_t i = 0; i < 16; ++i)
        CHECK(static_cast<double>(y.at(0, i)) ==
              value_of(wanted[static_cast<std::size_t>(r * 16 + i)].second));
    }
  }
}

TEST_CASE("results live until their scope ends, to_host until the next step") {
  auto ops = require_ops({});
  const Batch batch;
  ops->begin_step(batch, {});
  const Matrix a = Matrix::random(3, 50, 1), b = Matrix::random(3, 50, 2);
  const Tensor outer = upload(*ops, a);
  std::span<const float> host;
  void* inside = nullptr;
  {
    const Ops::Scope scope(*ops);
    const Tensor inner = upload(*ops, b);
    inside = inner.data;
    host = ops->to_host(inner);
  }
  const Tensor next = upload(*ops, a);
  CHECK(next.data == inside);  // the scope's memory is used again
  CHECK(same_bits(host.data(), b.values.data(), 150));
  CHECK(same_bits(download(*ops, outer).values.data(), a.values.data(), 150));
  ops->begin_step(batch, {});
  CHECK(upload(*ops, b).data == outer.data);  // no scope is open: the step's tensors are gone
}

TEST_CASE("the contract holds on a GPU too") {
  const OpsOptions gpu{.device = {DeviceKind::cuda, 0}, .activations = DType::f32};
  if (auto ops = make_ops(gpu); !ops)
    return skipped("the Ops contract on a GPU: " + ops.error().message, "gpu");
  CHECK(backends().back().device.kind == DeviceKind::cuda);  // every test above has run on it
}

TEST_CASE("make_ops names what it cannot do") {
  const auto cuda = make_ops({.device = {DeviceKind::cuda, 0}});
  if (!cuda) CHECK(cuda.error().code == ErrorCode::unsupported);
  const auto isa = make_ops({.isa = "sse9"});
  REQUIRE(!isa);
  CHECK(isa.error().code == ErrorCode::invalid_argument);
  CHECK(isa.error().field == "isa");
  const auto threads = make_ops({.threads = -1});
  REQUIRE(!threads);
  CHECK(threads.error().field == "threads");
  CHECK(require_ops({.isa = "portable"})->numerics_id() == "cpu/portable/f32");
}

}  // namespace baton::test
