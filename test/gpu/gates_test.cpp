// Ops on the GPU against the f32 CPU oracle, as in precision_test.cpp: gates of every kind, behind products
// with biases, and experts with biases.
#include "gpu/rounding.hpp"
#include "tensor/ops_contract.hpp"

namespace baton::test {
namespace {

struct Pair {
  std::unique_ptr<Ops> cpu, gpu;
  explicit Pair(DType dtype, bool deterministic)
      : cpu(require_ops({.isa = "portable"}, 2)),
        gpu(require_ops(
            {.device = {DeviceKind::cuda, 0}, .activations = dtype, .deterministic = deterministic})) {}
};

WeightView view_of(const Matrix& matrix, const Matrix* bias = nullptr) {
  return {.data = matrix.values.data(),
          .dtype = DType::f32,
          .out = matrix.rows,
          .in = matrix.cols,
          .bias = bias ? bias->values.data() : nullptr};
}
Linear pack_matrix(Ops& ops, const Matrix& matrix, const Matrix* bias = nullptr) {
  const WeightView view = view_of(matrix, bias);
  return require_pack(ops, {&view, 1});
}

constexpr Activation kActivations[] = {Activation::silu, Activation::gelu, Activation::clamped_silu};

// Experts with biases, and their router. What is not e4m3 is exact in every element, so that all devices
// choose alike.
class BiasedExperts {
 public:
  BiasedExperts(bool codes, std::int32_t count, std::int64_t in, std::int64_t ffn)
      : router_(coarse(count, in, 1, 0.25F)), router_bias_(coarse(1, count, 2, 4.0F)) {
    for (std::int32_t e = 0; e < count; ++e) {
      const auto seed = static_cast<unsigned>(10 * (e + 1));
      views_.push_back(
          {view(codes, ffn, in, seed), view(codes, ffn, in, seed + 1), view(codes, in, ffn, seed + 2)});
    }
  }
  Linear router(Ops& ops) const { return pack_matrix(ops, router_, &router_bias_); }
  Experts pack(Ops& ops) const {
    auto packed = ops.pack_experts(views_);
    REQUIRE(packed.has_value());
    return *std::move(packed);
  }

 private:
  WeightView view(bool codes, std::int64_t out, std::int64_t in, unsigned seed) {
    const Matrix& bias = *biases_.emplace_back(std::make_unique<Matrix>(coarse(1, out, seed + 3, 4.0F)));
    if (codes) {
      codes_.push_back(std::make_unique<Weight>(DType::e4m3, out, in, seed));
      WeightView made = codes_.back()->view();
      made.scales = {&kScale, 1};
      made.bias = bias.values.data();
      made.bias_dtype = DType::f32;
      return made;
    }
    const Matrix& weight = *values_.emplace_back(std::make_unique<Matrix>(coarse(out, in, seed, 0.25F)));
    return view_of(weight, &bias);
  }

  static constexpr float kScale = 0.05F;
  Matrix router_, router_bias_;
  std::vector<std::unique_ptr<Matrix>> values_, biases_;
  std::vector<std::unique_ptr<Weight>> codes_;
  std::vector<ExpertView> views_;
};

}  // namespace

// By every product that gates, and behind those that do not.
TEST_CASE("GPU products with gates of every kind and biases") {
  for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
    for (const bool deterministic : {false, true}) {
      const Pair ops(dtype, deterministic);
      for (const bool codes : {false, true}) {
        constexpr std::int64_t kIn = 256, kOut = 80;
        const Weight code(DType::e4m3, 2 * kOut, kIn, 1);
        const std::vector<float> scales(2 * kOut, 0.03F);
        const Matrix weight = coarse(2 * kOut, kIn, 2, 0.5F), bias = coarse(1, 2 * kOut, 3, 4.0F);
        WeightView view = code.view();
        view.scales = scales;
        if (!codes) view = view_of(weight);
        view.bias = bias.values.data();
        view.bias_dtype = DType::f32;
        for (Ops* one : {ops.cpu.get(), ops.gpu.get()}) {
          REQUIRE(one->begin_model({.weights = dtype, .fp8_products = false}));
          one->begin_step(Batch{}, {});
        }
        for (const Activation activation : kActivations) {
          Matrix last;
          for (const std::int64_t rows : {1, 8, 20, 70}) {
            INFO(to_string(dtype) << " " << rows << " rows, e4m3 " << codes << ", deterministic "
                                  << deterministic << ", activation " << static_cast<int>(activation));
            const Matrix x = coarse(rows, kIn, 4);
            const auto compute = [&](Ops& o) {
              return download(o,
                              o.gated_matmul(upload(o, x), require_pack(o, {&view, 1}), activation, nullptr));
            };
            const Matrix got = compute(*ops.gpu);
            check_near(got, compute(*ops.cpu), dtype == DType::f32 ? 1e-5 : 5 * unit(dtype), "gated");
            if (deterministic && last.rows > 0)
              CHECK(same_bits(got.values.data(), last.values.data(), last.rows * kOut));
            last = got;
          }
        }
      }
    }
  }
}

TEST_CASE("GPU mixtures with gates of every kind and biases") {
  for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
    for (const bool deterministic : {false, true}) {
      const Pair ops(dtype, deterministic);
      for (const bool codes : {false, true}) {
        const BiasedExperts layer(codes, 6, 128, 96);
        for (const Activation activation : kActivations) {
          Matrix last;
          for (const std::int64_t rows : {1, 9, 150}) {
            INFO(to_string(dtype) << " " << rows << " rows, e4m3 " << codes << ", deterministic "
                                  << deterministic << ", activation " << static_cast<int>(activation));
            const Matrix x = coarse(rows, 128, 5);
            for (Ops* one : {ops.cpu.get(), ops.gpu.get()}) one->begin_step(Batch{}, {});
            const auto compute = [&](Ops& o) {
              return download(o,
                              o.mixture(upload(o, x), layer.router(o), layer.pack(o), {2, true}, activation));
            };
            const Matrix got = compute(*ops.gpu);
            check_near(got, compute(*ops.cpu), dtype == DType::f32 ? 1e-5 : 6 * unit(dtype), "mixture");
            if (deterministic && last.rows > 0 && dtype != DType::f32)
              CHECK(same_bits(got.values.data(), last.values.data(), last.rows * 128));
            last = got;
          }
        }
      }
    }
  }
}

TEST_CASE("GPU mixtures choose as the CPU's do") {
  const Matrix merits = Matrix::random(1, 12, 7, 0.3F);
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const Pair ops(dtype, false);
    const BiasedExperts layer(false, 12, 64, 32);
    for (const ExpertChoice::Scores scores : {ExpertChoice::Scores::softmax, ExpertChoice::Scores::sigmoid}) {
      for (const bool biased : {false, true}) {
        for (const std::int32_t groups : {1, 4}) {
          INFO(to_string(dtype) << " scores " << static_cast<int>(scores) << ", bias " << biased
                                << ", groups " << groups);
          const Matrix x = coarse(30, 64, 5);
          const auto compute = [&](Ops& o) {
            o.begin_step(Batch{}, {});
            const auto bias = o.pack_vector(view_of(merits));
            REQUIRE(bias.has_value());
            const ExpertChoice choice{.per_token = 3,
                                      .renormalise = groups > 1,
                                      .scores = scores,
                                      .factor = 2.5F,
                                      .bias = biased ? &*bias : nullptr,
                                      .groups = groups,
                                      .kept_groups = groups > 1 ? 2 : 1};
            return download(
                o, o.mixture(upload(o, x), layer.router(o), layer.pack(o), choice, Activation::silu));
          };
          check_near(compute(*ops.gpu), compute(*ops.cpu), dtype == DType::f32 ? 1e-5 : 6 * unit(dtype),
                     "mixture");
        }
      }
    }
  }
}

TEST_CASE("recorded steps with gates and biased experts give what plain ones give") {
  constexpr std::int64_t kHidden = 128;
  for (const bool deterministic : {false, true}) {
    auto ops = require_ops(
        {.device = {DeviceKind::cuda, 0}, .activations = DType::bf16, .deterministic = deterministic});
    const BiasedExperts layer(true, 6, kHidden, 96);
    const KvLayout layout{.dtype = DType::bf16, .layers = 1, .kv_heads = 1, .head_dim = 64, .block_size = 16};
    KvPool pool(*ops, layout, 1, 3);
    const Matrix bias = coarse(1, 2 * kHidden, 3, 4.0F);
    const Linear table = pack_matrix(*ops, coarse(16, kHidden, 1)), router = layer.router(*ops),
                 gate_up = pack_matrix(*ops, coarse(2 * kHidden, kHidden, 2, 0.5F), &bias);
    const Experts experts = layer.pack(*ops);
    const auto forward = [&](const Batch& batch) {
      ops->begin_step(batch, pool.view());
      const Tensor gated =
          ops->gated_matmul(ops->embed(table, batch.tokens), gate_up, Activation::gelu, nullptr);
      return ops->mixture(gated, router, experts, {2, true}, Activation::clamped_silu);
    };
    for (std::int32_t step = 0; step < 4; ++step) {
      Batch batch;
      for (std::int32_t row = 0; row < 3; ++row) {
        append_rows(batch, {0}, 5, 1);
        batch.tokens.back() = 4 * row + step;
        batch.logit_rows.push_back(row);
      }
      const Matrix recorded = download(*ops, ops->run_step(batch, pool.view(), forward));
      const Matrix plain = download(*ops, forward(batch));
      CHECK(same_bits(recorded.values.data(), plain.values.data(), 3 * kHidden));
    }
  }
}

}  // namespace baton::test
