// Ops in bf16 and f16 on the GPU against the f32 CPU oracle: the same random inputs, exact in either, over
// ragged batches with prefixes. What differs is rounding: the error of a result, in the norm, is a few of its
// element's ulps.
#include <algorithm>
#include <cmath>
#include <random>

#include "gpu/rounding.hpp"
#include "tensor/ops_contract.hpp"

namespace baton::test {
namespace {

struct Pair {
  std::unique_ptr<Ops> cpu, gpu;
  explicit Pair(DType dtype)
      : cpu(require_ops({.isa = "portable"}, 2)),
        gpu(require_ops({.device = {DeviceKind::cuda, 0}, .activations = dtype})) {}
};

Linear pack_matrix(Ops& ops, const Matrix& matrix, const Matrix* bias = nullptr) {
  const WeightView view{.data = matrix.values.data(),
                        .dtype = DType::f32,
                        .out = matrix.rows,
                        .in = matrix.cols,
                        .bias = bias ? bias->values.data() : nullptr};
  return require_pack(ops, {&view, 1});
}

// A layer with a window and sinks before one without, in one step: what models with both kinds do.
class TwoLayers {
 public:
  static constexpr std::int32_t kHidden = 512;  // query heads * head_dim
  TwoLayers(Ops& ops, DType kv, std::int32_t kv_heads, std::int32_t head_dim, std::int32_t window)
      : ops_(ops),
        pool_(ops, {.dtype = kv, .layers = 2, .kv_heads = kv_heads, .head_dim = head_dim, .block_size = 16},
              300, 3),
        shape_{kHidden / head_dim, kv_heads, head_dim, 1.0F / std::sqrt(static_cast<float>(head_dim))},
        kv_cols_(std::int64_t{kv_heads} * head_dim) {
    REQUIRE(ops.begin_model({.weights = DType::f32, .window = window}));
    queries_ = pack_matrix(ops, coarse(kRows, kHidden, 8, 4.0F));
    Matrix sinks = coarse(1, shape_.query_heads, 9, 6.0F);
    sinks.at(0, 1) = 200.0F, sinks.at(0, 0) = -200.0F;
    sinks_ = *ops.pack_vector(
        {.data = sinks.values.data(), .dtype = DType::f32, .out = 1, .in = shape_.query_heads});
    windowed_ = shape_;
    windowed_.window = window;
    windowed_.sinks = &sinks_;
  }

  // The cache of a sequence of its own, filled with what depends on the number of sequences so far.
  std::vector<std::int32_t> sequence(std::int64_t tokens) {
    std::vector<std::int32_t> table = pool_.table(tokens);
    Batch batch;
    append_rows(batch, table, 0, tokens);
    ops_.begin_step(batch, pool_.view());
    for (std::int32_t layer = 0; layer < 2; ++layer, seed_ += 2)
      ops_.store_kv(layer, upload(ops_, coarse(tokens, kv_cols_, seed_)),
                    upload(ops_, coarse(tokens, kv_cols_, seed_ + 1)));
    return table;
  }
  // A row's queries are those of its position.
  static void append(Batch& batch, const std::vector<std::int32_t>& table, std::int64_t first,
                     std::int64_t rows) {
    append_rows(batch, table, first, rows);
    for (std::int64_t row = 0; row < rows; ++row)
      batch.tokens[batch.tokens.size() - static_cast<std::size_t>(rows - row)] =
          static_cast<std::int32_t>((first + row) % kRows);
    batch.logit_rows.push_back(static_cast<std::int32_t>(batch.tokens.size()) - 1);
  }
  Matrix run(const Batch& batch) {
    const Tensor result = ops_.run_step(batch, pool_.view(), [&](const Batch& rows) {
      ops_.begin_step(rows, pool_.view());
      const Tensor q = ops_.embed(queries_, rows.tokens);
      const Tensor near = ops_.attention(0, q, windowed_);
      return ops_.add(near, ops_.attention(1, q, shape_));
    });
    return download(ops_, result);
  }

 private:
  static constexpr std::int64_t kRows = 97;
  Ops& ops_;
  KvPool pool_;
  AttentionShape shape_, windowed_;
  std::int64_t kv_cols_;
  Linear queries_, sinks_;
  unsigned seed_ = 20;
};

}  // namespace

TEST_CASE("GPU products in bf16 and f16, few rows and many, with and without bias") {
  struct Shape {
    std::int64_t rows, in, out;
  };
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const Pair ops(dtype);
    for (const Shape shape : {Shape{1, 256, 512}, Shape{3, 3072, 1024}, Shape{8, 4096, 640},
                              Shape{17, 520, 72}, Shape{64, 1024, 768}, Shape{65, 1024, 768},
                              Shape{300, 512, 1280}, Shape{5, 33, 7}, Shape{100, 19, 130}}) {
      INFO(to_string(dtype) << " " << shape.rows << "x" << shape.in << "x" << shape.out);
      const Matrix x = coarse(shape.rows, shape.in, 1), w = coarse(shape.out, shape.in, 2),
                   bias = coarse(1, shape.out, 3, 8.0F), gates = coarse(2 * shape.out, shape.in, 4, 0.25F);
      for (Ops* one : {ops.cpu.get(), ops.gpu.get()}) one->begin_step(Batch{}, {});
      const auto both = [&](const char* what, double tolerance, const auto& compute) {
        check_near(compute(*ops.gpu), compute(*ops.cpu), tolerance, what);
      };
      both("matmul", unit(dtype),
           [&](Ops& o) { return download(o, o.matmul(upload(o, x), pack_matrix(o, w))); });
      both("bias", unit(dtype),
           [&](Ops& o) { return download(o, o.matmul(upload(o, x), pack_matrix(o, w, &bias))); });
      both("logits", 1e-5, [&](Ops& o) { return download(o, o.logits(upload(o, x), pack_matrix(o, w))); });
      both("gated", 4 * unit(dtype), [&](Ops& o) {
        return download(o, o.gated_matmul(upload(o, x), pack_matrix(o, gates), Activation::silu, nullptr));
      });
    }
  }
}

// x is such that a row's largest magnitude makes all of the row exact in e4m3: where rows are rounded,
// nothing changes but what `rough` adds.
TEST_CASE("GPU products of e4m3 weights, with and without rounding the rows") {
  struct Shape {
    std::int64_t rows, in, out;
  };
  struct Mode {
    bool fp8_products, deterministic;
  };
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const Mode mode : {Mode{true, false}, Mode{false, false}, Mode{true, true}}) {
      const auto cpu = require_ops({.isa = "portable"}, 2);
      const auto gpu = require_ops(
          {.device = {DeviceKind::cuda, 0}, .activations = dtype, .deterministic = mode.deterministic});
      for (Ops* one : {cpu.get(), gpu.get()})
        REQUIRE(one->begin_model({.weights = dtype, .fp8_products = mode.fp8_products}));
      for (const Shape shape :
           {Shape{1, 256, 512}, Shape{16, 3072, 1024}, Shape{17, 1024, 768}, Shape{64, 512, 1280},
            Shape{300, 1024, 512}, Shape{5, 48, 16}, Shape{40, 33, 7}, Shape{40, 32, 24}}) {
        INFO(to_string(dtype) << " " << shape.rows << "x" << shape.in << "x" << shape.out << " rounded "
                              << mode.fp8_products << " deterministic " << mode.deterministic);
        const Weight one(DType::e4m3, shape.out, shape.in, 1), two(DType::e4m3, shape.out, shape.in, 2);
        std::vector<float> scales(static_cast<std::size_t>(shape.out));
        for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = 0.02F * static_cast<float>(i % 17 + 1);
        const float other = 0.11F;
        WeightView views[] = {one.view(), two.view()};
        views[0].scales = scales;
        views[1].scales = {&other, 1};
        const Matrix bias = coarse(1, shape.out, 5, 8.0F);
        WeightView biased[] = {views[0], views[1]};
        for (WeightView& view : biased) view.bias = bias.values.data(), view.bias_dtype = DType::f32;
        Matrix x = coarse(shape.rows, shape.in, 3);
        for (std::int64_t row = 0; row < x.rows; ++row) x.at(row, row % x.cols) = 0.875F;
        for (Ops* ops : {cpu.get(), gpu.get()}) ops->begin_step(Batch{}, {});
        const auto both = [&](const char* what, double tolerance, const auto& compute) {
          check_near(compute(*gpu), compute(*cpu), tolerance, what);
        };
        // Weights that were expanded are rounded to the element once more; sums of e4m3 products have few
        // bits.
        const double sums = mode.fp8_products && !mode.deterministic ? 4e-3 : 0;
        both("matmul", 2 * unit(dtype) + sums,
             [&](Ops& o) { return download(o, o.matmul(upload(o, x), require_pack(o, views))); });
        both("bias", 2 * unit(dtype) + sums,
             [&](Ops& o) { return download(o, o.matmul(upload(o, x), require_pack(o, biased))); });
        both("logits", unit(dtype) + sums,
             [&](Ops& o) { return download(o, o.logits(upload(o, x), require_pack(o, views))); });
        both("gated", 5 * unit(dtype) + sums, [&](Ops& o) {
          return download(o, o.gated_matmul(upload(o, x), require_pack(o, views), Activation::silu, nullptr));
        });
        const Matrix rough = Matrix::random(shape.rows, shape.in, 4);
        both("rough", 0.04,
             [&](Ops& o) { return download(o, o.matmul(upload(o, rough), require_pack(o, views))); });
      }
    }
  }
}

// A norm, a gated product and the product behind it: where that one rounds its rows to e4m3, those before it
// make them so, and the result is what rounding apart gives but for one rounding less.
TEST_CASE("GPU norms and gates round to e4m3 for the products that would") {
  constexpr std::int64_t kHidden = 256, kFfn = 384;
  struct Mode {
    DType dtype;
    bool fp8_products, deterministic;
    std::int64_t rows;
    bool rounded;
    Activation activation = Activation::silu;
  };
  for (const Mode mode :
       {Mode{DType::bf16, true, false, 40, true}, Mode{DType::f16, true, false, 17, true},
        Mode{DType::bf16, true, false, 40, true, Activation::gelu},
        Mode{DType::f16, true, false, 40, true, Activation::clamped_silu},
        Mode{DType::bf16, true, false, 16, false}, Mode{DType::bf16, false, false, 40, false},
        Mode{DType::bf16, true, true, 40, false}}) {
    INFO(to_string(mode.dtype) << " " << mode.rows << " rows, FP8 products " << mode.fp8_products
                               << ", deterministic " << mode.deterministic);
    const auto cpu = require_ops({.isa = "portable"}, 2);
    const auto gpu = require_ops(
        {.device = {DeviceKind::cuda, 0}, .activations = mode.dtype, .deterministic = mode.deterministic});
    const Weight gates(DType::e4m3, 2 * kFfn, kHidden, 1), down(DType::e4m3, kHidden, kFfn, 2);
    const std::vector<float> scales(static_cast<std::size_t>(2 * kFfn), 0.05F);
    const Matrix x = Matrix::random(mode.rows, kHidden, 3), y = Matrix::random(mode.rows, kHidden, 4),
                 weight = coarse(1, kHidden, 5);
    DType type = mode.dtype;
    bool two_steps = false;
    const auto compute = [&](Ops& o) {
      REQUIRE(o.begin_model({.weights = mode.dtype, .fp8_products = mode.fp8_products}));
      o.begin_step(Batch{}, {});
      WeightView gate_view = gates.view(), down_view = down.view();
      gate_view.scales = scales;
      down_view.scales = std::span(scales).first(kHidden);
      const Linear gate_up = require_pack(o, {&gate_view, 1}), last = require_pack(o, {&down_view, 1});
      const Linear norm =
          *o.pack_vector({.data = weight.values.data(), .dtype = DType::f32, .out = 1, .in = kHidden});
      const Tensor sum = upload(o, x), room = upload(o, y);
      const Tensor normed =
          o.add_rms_norm(sum, upload(o, y), 1.0F, norm, 1e-5F, room, two_steps ? nullptr : &gate_up);
      const Tensor gated = o.gated_matmul(normed, gate_up, mode.activation, two_steps ? nullptr : &last);
      type = gated.dtype;
      CHECK(normed.dtype == gated.dtype);
      return download(o, o.matmul(gated, last));
    };
    const Matrix want = compute(*cpu);
    const Matrix got = compute(*gpu);
    CHECK((type == DType::e4m3) == mode.rounded);
    check_near(got, want, mode.rounded ? 0.08 : 6 * unit(mode.dtype), "a feed-forward layer");
    two_steps = true;
    check_near(got, compute(*gpu), mode.rounded ? 0.05 : 0, "beside rounding in a pass of its own");
    CHECK(type == mode.dtype);
  }
}

TEST_CASE("GPU mixtures of e4m3 experts, in f32, bf16 and f16") {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const Pair ops(dtype);
    for (const std::int64_t rows : {1, 9, 150}) {
      INFO(to_string(dtype) << " " << rows << " rows");
      constexpr std::int32_t kExperts = 6;
      constexpr std::int64_t kIn = 128, kFfn = 96;
      const Matrix x = coarse(rows, kIn, 1), router = coarse(kExperts, kIn, 2, 0.25F);
      std::vector<std::unique_ptr<Weight>> weights;
      std::vector<std::vector<float>> scales;
      for (unsigned i = 0; i < 3 * kExperts; ++i) {
        const std::int64_t out = i % 3 == 2 ? kIn : kFfn, in = i % 3 == 2 ? kFfn : kIn;
        weights.push_back(std::make_unique<Weight>(DType::e4m3, out, in, 10 + i));
        scales.emplace_back(i % 2 == 0 ? static_cast<std::size_t>(out) : 1);
        for (std::size_t o = 0; o < scales.back().size(); ++o)
          scales.back()[o] = 0.01F * static_cast<float>((o + i) % 13 + 1);
      }
      std::vector<ExpertView> views;
      const auto view = [&](std::size_t i) {
        WeightView made = weights[i]->view();
        made.scales = scales[i];
        return made;
      };
      for (std::size_t e = 0; e < kExperts; ++e)
        views.push_back({view(3 * e), view(3 * e + 1), view(3 * e + 2)});
      for (Ops* one : {ops.cpu.get(), ops.gpu.get()}) one->begin_step(Batch{}, {});
      const auto compute = [&](Ops& o) {
        auto experts = o.pack_experts(views);
        REQUIRE(experts.has_value());
        return download(
            o, o.mixture(upload(o, x), pack_matrix(o, router), *experts, {2, true}, Activation::silu));
      };
      check_near(compute(*ops.gpu), compute(*ops.cpu), dtype == DType::f32 ? 1e-5 : 6 * unit(dtype),
                 "mixture");
    }
  }
}

TEST_CASE("GPU norms, sums and gates in bf16 and f16") {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const Pair ops(dtype);
    for (const std::int64_t cols : {64, 100, 256, 3072, 4096}) {
      const Matrix x = coarse(9, cols, 1), y = coarse(9, cols, 2), weight = coarse(1, cols, 3);
      const auto both = [&](const char* what, const auto& compute) {
        check_near(compute(*ops.gpu), compute(*ops.cpu), 3 * unit(dtype), what);
      };
      const auto norm = [&](Ops& o) {
        return *o.pack_vector(
            {.data = weight.values.data(), .dtype = DType::f32, .out = 1, .in = cols, .bias = nullptr});
      };
      both("rms_norm", [&](Ops& o) { return download(o, o.rms_norm(upload(o, x), norm(o), 1e-5F)); });
      both("add", [&](Ops& o) { return download(o, o.add(upload(o, x), upload(o, y))); });
      both("gate_mul", [&](Ops& o) { return download(o, o.gate_mul(upload(o, x), Activation::silu)); });
      both("add_rms_norm", [&](Ops& o) {
        const Tensor sum = upload(o, x), normed = upload(o, y);
        return download(o, o.add_rms_norm(sum, upload(o, y), 1.0F, norm(o), 1e-5F, normed, nullptr));
      });
    }
  }
}

TEST_CASE("GPU mixtures of experts and norms of heads in bf16 and f16") {
  struct Shape {
    std::int32_t experts, per_token;
    std::int64_t rows, in, ffn;
  };
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const Pair ops(dtype);
    for (const Shape shape : {Shape{8, 2, 1, 256, 128}, Shape{8, 2, 300, 512, 192}, Shape{128, 8, 7, 256, 64},
                              Shape{64, 6, 150, 128, 72}, Shape{3, 1, 5, 33, 7}}) {
      INFO(to_string(dtype) << " " << shape.experts << " experts, " << shape.rows << " rows");
      // All exact in either element: both devices see the same scores and choose the same experts.
      const Matrix x = coarse(shape.rows, shape.in, 1), router = coarse(shape.experts, shape.in, 2, 0.25F);
      std::vector<Matrix> weights;
      for (std::int32_t e = 0; e < shape.experts; ++e) {
        const auto seed = static_cast<unsigned>(10 + 3 * e);
        weights.push_back(coarse(shape.ffn, shape.in, seed, 0.25F));
        weights.push_back(coarse(shape.ffn, shape.in, seed + 1, 0.25F));
        weights.push_back(coarse(shape.in, shape.ffn, seed + 2, 0.25F));
      }
      const auto view = [](const Matrix& m) {
        return WeightView{
            .data = m.values.data(), .dtype = DType::f32, .out = m.rows, .in = m.cols, .bias = nullptr};
      };
      std::vector<ExpertView> views;
      for (std::size_t e = 0; e < weights.size(); e += 3)
        views.push_back({view(weights[e]), view(weights[e + 1]), view(weights[e + 2])});
      for (Ops* one : {ops.cpu.get(), ops.gpu.get()}) one->begin_step(Batch{}, {});
      for (const bool renormalise : {true, false}) {
        const auto compute = [&](Ops& o) {
          auto experts = o.pack_experts(views);
          REQUIRE(experts.has_value());
          return download(o, o.mixture(upload(o, x), pack_matrix(o, router), *experts,
                                       {shape.per_token, renormalise}, Activation::silu));
        };
        check_near(compute(*ops.gpu), compute(*ops.cpu), 6 * unit(dtype), "mixture");
      }
    }
    const Matrix heads = coarse(9, 6 * 64, 3), weight = coarse(1, 64, 4);
    const auto normed = [&](Ops& o) {
      const auto packed = o.pack_vector(
          {.data = weight.values.data(), .dtype = DType::f32, .out = 1, .in = 64, .bias = nullptr});
      REQUIRE(packed.has_value());
      const Tensor all = upload(o, heads);
      o.head_norm(all.columns(64, 4 * 64), *packed, 1e-6F);
      return download(o, all);
    };
    check_near(normed(*ops.gpu), normed(*ops.cpu), 2 * unit(dtype), "head_norm");
  }
}

TEST_CASE("GPU rope and attention in bf16 and f16 over ragged batches, KV in f16, bf16 and e4m3") {
  struct Part {
    std::int64_t prefix, rows;
  };
  struct Heads {
    std::int32_t query, kv, dim;
  };
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const DType kv : {dtype, DType::e4m3}) {
      for (const Heads heads : {Heads{8, 2, 128}, Heads{7, 1, 64}, Heads{4, 4, 32}, Heads{24, 8, 128}}) {
        const std::vector<Part> parts{{0, 1},   {700, 1}, {0, 300}, {130, 77},
                                      {255, 1}, {256, 1}, {511, 3}, {64, 128}};
        Pair ops(dtype);
        const std::int64_t kv_cols = std::int64_t{heads.kv} * heads.dim,
                           q_cols = std::int64_t{heads.query} * heads.dim;
        const auto run = [&](Ops& o, DType kv_dtype) {
          const KvLayout layout{
              .dtype = kv_dtype, .layers = 2, .kv_heads = heads.kv, .head_dim = heads.dim, .block_size = 16};
          KvPool pool(o, layout, 256, 3);
          std::vector<std::vector<std::int32_t>> tables;
          for (const Part& part : parts) tables.push_back(pool.table(part.prefix + part.rows));
          Batch before, batch;
          for (std::size_t i = 0; i < parts.size(); ++i) {
            if (parts[i].prefix > 0) append_rows(before, tables[i], 0, parts[i].prefix);
            append_rows(batch, tables[i], parts[i].prefix, parts[i].rows);
          }
          for (const Batch* rows : {&before, &batch}) {
            o.begin_step(*rows, pool.view());
            const auto count = static_cast<std::int64_t>(rows->positions.size());
            const unsigned seed = rows == &batch ? 5 : 6;
            o.store_kv(1, upload(o, coarse(count, kv_cols, seed)),
                       upload(o, coarse(count, kv_cols, seed + 10)));
          }
          const auto count = static_cast<std::int64_t>(batch.positions.size());
          const AttentionShape shape{heads.query, heads.kv, heads.dim,
                                     1.0F / std::sqrt(static_cast<float>(heads.dim))};
          return download(o, o.attention(1, upload(o, coarse(count, q_cols, 8, 4.0F)), shape));
        };
        INFO(to_string(dtype) << ", KV " << to_string(kv) << ", heads " << heads.query << "/" << heads.kv
                              << "x" << heads.dim);
        check_near(run(*ops.gpu, kv), run(*ops.cpu, DType::f32), 2 * unit(dtype), "attention");

        // q|k|v through rope_store: the rotated q itself, and what attention makes of the rotated k.
        const auto rotated = [&](Ops& o, DType kv_dtype, bool whole) {
          const KvLayout layout{
              .dtype = kv_dtype, .layers = 1, .kv_heads = heads.kv, .head_dim = heads.dim, .block_size = 16};
          KvPool pool(o, layout, 64, 3);
          Batch batch;
          append_rows(batch, pool.table(200), 0, 200);
          append_rows(batch, pool.table(1), 0, 1);
          RopeTable table{.scale = 1.0F, .max_positions = 512};
          for (std::int32_t i = 0; i < heads.dim / 2; ++i)
            table.inv_frequency.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / heads.dim)));
          auto prepared = o.prepare_rope(table);
          REQUIRE(prepared.has_value());
          o.begin_step(batch, pool.view());
          const AttentionShape shape{heads.query, heads.kv, heads.dim,
                                     1.0F / std::sqrt(static_cast<float>(heads.dim))};
          const Tensor q =
              o.rope_store(0, upload(o, coarse(201, q_cols + 2 * kv_cols, 9)), shape, prepared->get());
          return download(o, whole ? o.attention(0, q, shape) : q);
        };
        check_near(rotated(*ops.gpu, kv, false), rotated(*ops.cpu, DType::f32, false), 2 * unit(dtype),
                   "rope");
        const double tolerance = kv == DType::e4m3 ? 0.05 : 4 * unit(dtype);
        check_near(rotated(*ops.gpu, kv, true), rotated(*ops.cpu, DType::f32, true), tolerance,
                   "rope and attention");
      }
    }
  }
}

TEST_CASE("GPU attention over windows and with sinks, beside layers without, in recorded steps and others") {
  struct Case {
    DType dtype, kv;
    std::int32_t kv_heads, head_dim, window;
  };
  constexpr std::int64_t kTokens = 700;
  for (const Case& c : {Case{DType::bf16, DType::bf16, 2, 128, 17},
                        Case{DType::bf16, DType::e4m3, 4, 64, 256}, Case{DType::f16, DType::f16, 1, 256, 300},
                        Case{DType::f16, DType::e4m3, 2, 128, 1}, Case{DType::f16, DType::f16, 8, 32, 100}}) {
    INFO(to_string(c.dtype) << ", KV " << to_string(c.kv) << ", head_dim " << c.head_dim << ", window "
                            << c.window);
    Pair ops(c.dtype);
    TwoLayers gpu(*ops.gpu, c.kv, c.kv_heads, c.head_dim, c.window),
        cpu(*ops.cpu, DType::f32, c.kv_heads, c.head_dim, c.window);
    std::vector<std::vector<std::int32_t>> on_gpu, on_cpu;
    for (int i = 0; i < 5; ++i) {
      on_gpu.push_back(gpu.sequence(kTokens));
      on_cpu.push_back(cpu.sequence(kTokens));
    }
    const auto batch_of = [](const auto& tables, const std::vector<std::int64_t>& firsts, std::int64_t rows) {
      Batch batch;
      for (std::size_t i = 0; i < firsts.size(); ++i)
        TwoLayers::append(batch, tables[i], firsts[i], i % 2 == 0 ? 1 : rows);
      return batch;
    };
    // Rows that decode and those of prompts, in one step.
    const std::vector<std::int64_t> mixed{300, 500, 699, 0, 16};
    check_near(gpu.run(batch_of(on_gpu, mixed, 150)), cpu.run(batch_of(on_cpu, mixed, 150)),
               2 * unit(c.dtype), "a mixed step");
    // Five rows are padded to eight. Steps of a size are recorded the third time, and the lists of work are
    // others in every one.
    const std::vector<std::int64_t> turns[] = {{5, 699, 255, 256, 511}, {300, 0, 600, 512, 17}};
    Matrix before[2];
    for (std::size_t i = 0; i < 5; ++i) {
      const auto& positions = turns[i % 2];
      const Matrix got = gpu.run(batch_of(on_gpu, positions, 1));
      if (i < 2) {
        check_near(got, cpu.run(batch_of(on_cpu, positions, 1)), 2 * unit(c.dtype), "a step of single rows");
        const Matrix alone = gpu.run(batch_of(on_gpu, {positions[0]}, 1));
        CHECK(same_bits(got.values.data(), alone.values.data(), alone.cols));
        before[i] = got;
      }
      CHECK(same_bits(got.values.data(), before[i % 2].values.data(), got.rows * got.cols));
    }
  }
}

TEST_CASE("recorded steps give what plain ones give, also when their tables have to grow") {
  auto ops = require_ops({.device = {DeviceKind::cuda, 0}, .activations = DType::bf16});
  const KvLayout layout{.dtype = DType::bf16, .layers = 1, .kv_heads = 1, .head_dim = 64, .block_size = 16};
  KvPool pool(*ops, layout, 1, 3);
  const Linear table = pack_matrix(*ops, coarse(2, 64, 1));
  const AttentionShape shape{1, 1, 64, 0.125F}, windowed{1, 1, 64, 0.125F, 1000};
  REQUIRE(ops->begin_model({.weights = DType::bf16, .window = windowed.window}));
  Batch first;
  append_rows(first, {0}, 0, 16);
  ops->begin_step(first, pool.view());
  ops->store_kv(0, upload(*ops, coarse(16, 64, 2)), upload(*ops, coarse(16, 64, 3)));
  // Two rows whose blocks are all the same one: contexts as long as one likes.
  const auto result_at = [&](std::int32_t position) {
    Batch batch;
    const std::vector<std::int32_t> blocks(static_cast<std::size_t>(position / 16 + 1), 0);
    for (std::int32_t row = 0; row < 2; ++row) {
      append_rows(batch, blocks, position, 1);
      batch.tokens.back() = row;
      batch.logit_rows.push_back(row);
    }
    const Tensor result = ops->run_step(batch, pool.view(), [&](const Batch& rows) {
      ops->begin_step(rows, pool.view());
      const Tensor q = ops->embed(table, rows.tokens), all = ops->attention(0, q, shape);
      return ops->add(all, ops->attention(0, q, windowed));
    });
    return download(*ops, result);
  };
  // 600,000 tokens are 2,344 pieces of work for each row: more than the tables hold at first.
  for (const std::int32_t position : {100, 600'000, 100, 1'200'000}) {
    const Matrix plain = result_at(position);
    for (int i = 0; i < 3; ++i) {
      const Matrix again = result_at(position);
      CHECK(same_bits(plain.values.data(), again.values.data(), 2 * 64));
    }
  }
}

TEST_CASE("what the GPU samples is what the CPU samples, through Ops") {
  auto ops = require_ops({.device = {DeviceKind::cuda, 0}, .activations = DType::f32});
  ops->begin_step(Batch{}, {});
  const Matrix logits = Matrix::random(5, 1000, 3, 6.0F);
  std::vector<RowSampling> rows(5);
  const auto samples = ops->sample(upload(*ops, logits), rows);
  REQUIRE(samples.has_value());
  for (std::int64_t r = 0; r < 5; ++r) {
    std::int64_t best = 0;
    for (std::int64_t c = 1; c < 1000; ++c)
      if (logits.at(r, c) > logits.at(r, best)) best = c;
    CHECK((*samples)[static_cast<std::size_t>(r)].token == best);
    CHECK(!(*samples)[static_cast<std::size_t>(r)].nan);
  }
}

}  // namespace baton::test
