// Adapters through CudaOps in bf16 and f16, over weights of the element and of e4m3: against the f32 CPU
// oracle, beside rows without one, with fused forms, and in recorded steps.
#include <algorithm>
#include <array>
#include <cmath>

#include "gpu/rounding.hpp"
#include "tensor/ops_contract.hpp"

namespace baton::test {
namespace {

constexpr std::int32_t kNone = -1;
constexpr std::int64_t kHidden = 64, kFfn = 48;

bool same_row(const Matrix& a, const Matrix& b, std::int64_t row) {
  const auto at = static_cast<std::size_t>(row * a.cols);
  return same_bits(&a.values[at], &b.values[at], a.cols);
}

// Adapters of one weight: ranks 8, none, 3 and 20.
class Adapters {
 public:
  Adapters(std::int64_t out, std::int64_t in, unsigned seed) {
    constexpr std::int64_t kRanks[] = {8, 0, 3, 20};
    for (std::size_t i = 0; i < kCount; ++i) {
      const auto from = seed + static_cast<unsigned>(2 * i);
      down_[i] = std::make_unique<Weight>(DType::bf16, kRanks[i], in, from);
      up_[i] = std::make_unique<Weight>(DType::bf16, out, kRanks[i], from + 1);
      scales_[i].assign(static_cast<std::size_t>(kRanks[i]), 0.125F);
      if (kRanks[i] > 0) views_[i] = {.down = down_[i]->view(), .up = up_[i]->view(), .scales = scales_[i]};
    }
  }
  Linear adapt(Ops& ops, const Linear& base) const {
    auto adapted = ops.adapt(base, views_);
    REQUIRE(adapted.has_value());
    return *std::move(adapted);
  }
  static constexpr std::size_t kCount = 4;

 private:
  std::unique_ptr<Weight> down_[kCount], up_[kCount];
  std::vector<float> scales_[kCount];
  AdapterView views_[kCount] = {};
};

// A weight of one of two kinds, packed anew for each Ops.
class Base {
 public:
  Base(DType dtype, std::int64_t out, std::int64_t in, unsigned seed)
      : weight_(dtype, out, in, seed), scales_(static_cast<std::size_t>(out), 0.5F) {}
  Linear pack(Ops& ops) const {
    WeightView view = weight_.view();
    if (view.dtype == DType::e4m3) view.scales = scales_;
    return require_pack(ops, {&view, 1});
  }

 private:
  Weight weight_;
  std::vector<float> scales_;
};

// Adapters of rows: runs of each, and rows without.
std::vector<std::int32_t> mixed(std::int64_t rows, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<std::int32_t> adapters;
  while (adapters.size() < static_cast<std::size_t>(rows)) {
    const auto adapter = static_cast<std::int32_t>(engine() % (Adapters::kCount + 1)) - 1;
    adapters.insert(adapters.end(), engine() % 2 == 0 ? 1 : 11, adapter);
  }
  adapters.resize(static_cast<std::size_t>(rows));
  return adapters;
}

// One row for each sequence; logits are wanted of all.
Batch batch_of(const std::vector<std::int32_t>& adapters, bool used = true) {
  Batch batch;
  for (std::size_t row = 0; row < adapters.size(); ++row) {
    append_rows(batch, {0}, 0, 1);
    batch.tokens.back() = static_cast<std::int32_t>(row);
    batch.logit_rows.push_back(static_cast<std::int32_t>(row));
  }
  if (used) batch.adapters = batch.logit_adapters = adapters;
  return batch;
}

KvPool no_cache(Ops& ops) { return {ops, {DType::f32, 1, 1, 16, 16}, 1, 1}; }

struct Mode {
  DType dtype, weights;
  bool fp8_products = false, deterministic = false;
};
constexpr Mode kModes[] = {{DType::bf16, DType::bf16},
                           {DType::f16, DType::f16},
                           {DType::bf16, DType::bf16, false, true},
                           {DType::bf16, DType::e4m3, true},
                           {DType::f16, DType::e4m3, false, true}};

std::unique_ptr<Ops> gpu_of(const Mode& mode) {
  auto gpu = require_ops(
      {.device = {DeviceKind::cuda, 0}, .activations = mode.dtype, .deterministic = mode.deterministic});
  REQUIRE(gpu->begin_model({.weights = mode.dtype, .fp8_products = mode.fp8_products}));
  return gpu;
}

}  // namespace

TEST_CASE("GPU products with adapters in bf16 and f16, few rows and many") {
  for (const Mode& mode : kModes) {
    const auto cpu = require_ops({.isa = "portable"}, 2);
    const auto gpu = gpu_of(mode);
    const Base base(mode.weights, 2 * kFfn, kHidden, 1);
    const Adapters adapters(2 * kFfn, kHidden, 11);
    for (const std::int64_t rows : {1, 5, 17, 40, 150}) {
      INFO(to_string(mode.dtype) << " by " << to_string(mode.weights) << ", " << rows << " rows, rounded "
                                 << mode.fp8_products << ", deterministic " << mode.deterministic);
      Matrix x = coarse(rows, kHidden, 3);
      for (std::int64_t row = 0; row < rows; ++row) x.at(row, row % kHidden) = 0.875F;  // exact in e4m3
      std::vector<std::int32_t> of_row = mixed(rows, 7);
      of_row[0] = 0;
      const Batch batch = batch_of(of_row), without = batch_of(of_row, false);
      const auto compute = [&](Ops& ops, auto product, bool adapted = true, bool used = true) {
        KvPool pool = no_cache(ops);
        ops.begin_step(used ? batch : without, pool.view());
        const Linear plain = base.pack(ops);
        return download(ops, product(ops, upload(ops, x), adapted ? adapters.adapt(ops, plain) : plain));
      };
      const auto matmul = [](Ops& o, const Tensor& in, const Linear& w) { return o.matmul(in, w); };
      const auto logits = [](Ops& o, const Tensor& in, const Linear& w) { return o.logits(in, w); };
      const auto gated = [](Ops& o, const Tensor& in, const Linear& w) {
        return o.gated_matmul(in, w, Activation::silu, nullptr);
      };
      const double sums = mode.fp8_products ? 4e-3 : 0;
      check_near(compute(*gpu, matmul), compute(*cpu, matmul), 2 * unit(mode.dtype) + sums, "matmul");
      check_near(compute(*gpu, logits), compute(*cpu, logits), unit(mode.dtype) / 8 + sums, "logits");
      check_near(compute(*gpu, gated), compute(*cpu, gated), 5 * unit(mode.dtype) + sums, "gated");
      // Rows without an adapter, or with one that leaves the weight alone, and steps without any.
      const auto same_where_none = [&](auto product, const Matrix& plain) {
        const Matrix got = compute(*gpu, product);
        for (std::int64_t r = 0; r < rows; ++r) {
          const std::int32_t adapter = of_row[static_cast<std::size_t>(r)];
          if (adapter == kNone || adapter == 1) CHECK(same_row(got, plain, r));
        }
      };
      same_where_none(matmul, compute(*gpu, matmul, false));
      same_where_none(logits, compute(*gpu, logits, false));
      for (const bool fused : {false, true}) {
        const Matrix plain = fused ? compute(*gpu, gated, false) : compute(*gpu, matmul, false);
        const Matrix none = fused ? compute(*gpu, gated, true, false) : compute(*gpu, matmul, true, false);
        if (!fused || !mode.deterministic)
          CHECK(same_bits(none.values.data(), plain.values.data(),
                          static_cast<std::int64_t>(plain.values.size())));
      }
      // Whether others have adapters does not show.
      if (mode.deterministic) same_where_none(gated, compute(*gpu, gated, true, false));
    }
  }
}

// What a product adds is of its rows as they are: where some have adapters, nobody rounds them before.
TEST_CASE("GPU norms and gates leave rows as they are for adapters") {
  constexpr std::int64_t kRows = 40;
  const auto gpu = gpu_of({DType::bf16, DType::e4m3, true});
  const auto cpu = require_ops({.isa = "portable"}, 2);
  const Base gates(DType::e4m3, 2 * kFfn, kHidden, 1), outputs(DType::e4m3, kHidden, kFfn, 2);
  const Adapters of_gates(2 * kFfn, kHidden, 11), of_outputs(kHidden, kFfn, 21);
  const Matrix x = Matrix::random(kRows, kHidden, 3), y = Matrix::random(kRows, kHidden, 4),
               weight = coarse(1, kHidden, 5);
  const std::vector<std::int32_t> of_row = mixed(kRows, 9);
  for (const bool used : {true, false})
    for (const bool gates_have : {true, false})
      for (const bool outputs_have : {true, false}) {
        INFO("adapters of gates " << gates_have << ", of outputs " << outputs_have << ", used " << used);
        const Batch batch = batch_of(of_row, used);
        std::vector<DType> types;
        const auto compute = [&](Ops& o) {
          KvPool pool = no_cache(o);
          o.begin_step(batch, pool.view());
          Linear gate_up = gates.pack(o), down = outputs.pack(o);
          if (gates_have) gate_up = of_gates.adapt(o, gate_up);
          if (outputs_have) down = of_outputs.adapt(o, down);
          const Linear norm =
              *o.pack_vector({.data = weight.values.data(), .dtype = DType::f32, .out = 1, .in = kHidden});
          const Tensor sum = upload(o, x), room = upload(o, y);
          const Tensor normed = o.add_rms_norm(sum, upload(o, y), 1.0F, norm, 1e-5F, room, &gate_up);
          const Tensor gated = o.gated_matmul(normed, gate_up, Activation::silu, &down);
          types = {normed.dtype, gated.dtype};
          return download(o, o.matmul(gated, down));
        };
        const Matrix want = compute(*cpu);
        check_near(compute(*gpu), want, 0.08, "a feed-forward layer");
        CHECK(types[0] == (used && gates_have ? DType::bf16 : DType::e4m3));
        CHECK(types[1] == (used && outputs_have ? DType::bf16 : DType::e4m3));
      }
}

// Steps of some rows, most of them replayed: each is what the same rows give unrecorded, by the adapters of
// this step and no other, with as many rows as the recording has or fewer, and after adapters have changed.
TEST_CASE("recorded steps serve any adapters") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    INFO(to_string(dtype));
    const auto ops = gpu_of({dtype, dtype, false, true});
    KvPool pool = no_cache(*ops);
    const Matrix embeddings = coarse(16, kHidden, 1);
    const WeightView view{.data = embeddings.values.data(), .dtype = DType::f32, .out = 16, .in = kHidden};
    const Linear table = require_pack(*ops, {&view, 1});
    const Linear gates = Base(dtype, 2 * kFfn, kHidden, 2).pack(*ops),
                 outputs = Base(dtype, 40, kFfn, 3).pack(*ops);
    Linear gate_up, head;
    const auto adapt = [&](unsigned seed) {
      gate_up = Adapters(2 * kFfn, kHidden, seed).adapt(*ops, gates);
      head = Adapters(40, kFfn, seed + 20).adapt(*ops, outputs);
    };
    int forwards = 0;
    const auto forward = [&](const Batch& rows) {
      ++forwards;
      ops->begin_step(rows, pool.view());
      const Tensor gated =
          ops->gated_matmul(ops->embed(table, rows.tokens), gate_up, Activation::silu, nullptr);
      return ops->logits(ops->gather_rows(gated, rows.logit_rows), head);
    };
    const auto check_step = [&](std::int64_t rows, unsigned seed, bool used) {
      INFO(rows << " rows, seed " << seed << ", used " << used);
      const Batch batch = batch_of(mixed(rows, seed), used);
      const Matrix want = download(*ops, forward(batch));
      --forwards;
      const Matrix got = download(*ops, ops->run_step(batch, pool.view(), forward));
      REQUIRE(got.rows == rows);
      CHECK(same_bits(got.values.data(), want.values.data(), rows * want.cols));
    };
    for (const unsigned change : {100U, 200U}) {
      adapt(change);
      for (unsigned i = 0; i < 20; ++i) {
        if (i == 12) forwards = 0;  // until then steps with adapters and without were recorded
        check_step(std::array<std::int64_t, 3>{8, 5, 7}[i % 3], 10 + i, i % 4 != 3);
      }
      CHECK(forwards == 0);
    }
  }
}

TEST_CASE("an engine whose rows are rounded in other places for adapters says so") {
  const std::array<AdapterView, 2> none = {};
  for (const bool deterministic : {false, true}) {
    const auto ops = gpu_of({DType::bf16, DType::bf16, false, deterministic});
    const std::string before = ops->numerics_id();
    const Linear plain = Base(DType::bf16, 24, kHidden, 1).pack(*ops);
    const auto untouched = ops->adapt(plain, none);
    REQUIRE(untouched.has_value());
    CHECK(untouched->adapters() == nullptr);
    CHECK(ops->numerics_id() == before);
    Adapters(24, kHidden, 2).adapt(*ops, plain);
    CHECK(ops->numerics_id() == before + (deterministic ? "/adapters" : ""));
  }
}

}  // namespace baton::test
