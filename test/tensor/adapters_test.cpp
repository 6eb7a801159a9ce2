// The Ops contract of adapters: what a product adds to the rows of each, and that it depends on nothing but
// the row and its adapter.
#include <algorithm>
#include <array>
#include <cmath>

#include "ops_contract.hpp"

namespace baton::test {
namespace {

constexpr std::int32_t kNone = -1;

// Matrices of one adapter, of any rank; rank 0 leaves the weight alone.
class Adapter {
 public:
  Adapter(std::int64_t out, std::int64_t in, std::int64_t rank, unsigned seed)
      : down_(DType::f32, rank, in, seed), up_(DType::f32, out, rank, seed + 1) {
    for (std::int64_t i = 0; i < rank; ++i) scales_.push_back(0.25F * static_cast<float>(1 + i % 3));
  }
  AdapterView view() const { return {.down = down_.view(), .up = up_.view(), .scales = scales_}; }
  // What it adds to output `o` of row `r` of x.
  double added(const Matrix& x, std::int64_t r, std::int64_t o) const {
    double sum = 0;
    for (std::size_t i = 0; i < scales_.size(); ++i) {
      const auto inner = static_cast<std::int64_t>(i);
      double dot = 0;
      for (std::int64_t k = 0; k < x.cols; ++k)
        dot += static_cast<double>(x.at(r, k)) * static_cast<double>(down_.exact().at(inner, k));
      sum += dot * static_cast<double>(scales_[i]) * static_cast<double>(up_.exact().at(o, inner));
    }
    return sum;
  }

 private:
  Weight down_, up_;
  std::vector<float> scales_;
};

// Rows of sequences of one row each, with these adapters; logits are wanted of every `every`-th row.
Batch batch_of(const std::vector<std::int32_t>& adapters, std::size_t every = 1) {
  Batch batch;
  for (std::size_t row = 0; row < adapters.size(); ++row) append_rows(batch, {0}, 0, 1);
  batch.adapters = adapters;
  for (std::size_t row = 0; row < adapters.size(); row += every) {
    batch.logit_rows.push_back(static_cast<std::int32_t>(row));
    batch.logit_adapters.push_back(adapters[row]);
  }
  return batch;
}

std::vector<std::int32_t> mixed_adapters(std::size_t rows, std::int32_t count) {
  std::vector<std::int32_t> adapters(rows);
  std::mt19937 engine(5);
  std::int32_t last = kNone;
  for (std::int32_t& adapter : adapters) {
    if (engine() % 3 != 0) last = static_cast<std::int32_t>(engine() % (count + 1)) - 1;  // else: a run
    adapter = last;
  }
  return adapters;
}

Linear require_adapted(Ops& ops, const Linear& base, std::span<const AdapterView> views) {
  auto adapted = ops.adapt(base, views);
  REQUIRE(adapted.has_value());
  return *std::move(adapted);
}

void check_close(const Matrix& got, const Matrix& want, double tolerance) {
  REQUIRE(got.values.size() == want.values.size());
  for (std::size_t i = 0; i < want.values.size(); ++i)
    if (std::abs(static_cast<double>(got.values[i]) - static_cast<double>(want.values[i])) > tolerance)
      FAIL("value " << i << ": " << got.values[i] << " instead of " << want.values[i]);
}

}  // namespace

TEST_CASE("a product adds to each row what the row's adapter does") {
  for (const OpsOptions& options : backends()) {
    for (const auto& [rows, in, out] :
         {std::array{1, 40, 24}, std::array{7, 64, 96}, std::array{40, 131, 70}, std::array{150, 72, 264}}) {
      INFO(options.isa << " " << rows << "x" << in << "x" << out);
      auto ops = require_ops(options, 2);
      const Weight base(DType::f32, out, in, 1);
      const Adapter one(out, in, 8, 11), two(out, in, 3, 21), wide(out, in, 70, 31);
      const AdapterView views[] = {one.view(), two.view(), {}, wide.view()};
      const Adapter* const adapters[] = {&one, &two, nullptr, &wide};
      const WeightView view = base.view();
      const Linear plain = require_pack(*ops, {&view, 1});
      const Linear adapted = require_adapted(*ops, plain, views);
      const Matrix x = Matrix::random(rows, in, 3);
      const std::vector<std::int32_t> of_row = mixed_adapters(static_cast<std::size_t>(rows), 4);
      const Batch batch = batch_of(of_row);
      KvPool pool(*ops, {DType::f32, 1, 1, 16, 16}, 1, 1);
      ops->begin_step(batch, pool.view());
      const Tensor input = upload(*ops, x);
      Matrix want = download(*ops, ops->matmul(input, plain));
      const Matrix without = want;
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int32_t adapter = of_row[static_cast<std::size_t>(r)];
        if (adapter == kNone || !adapters[adapter]) continue;
        for (std::int64_t o = 0; o < out; ++o)
          want.at(r, o) += static_cast<float>(adapters[adapter]->added(x, r, o));
      }
      check_close(download(*ops, ops->matmul(input, adapted)), want, 1e-4);
      check_close(download(*ops, ops->logits(input, adapted)), want, 1e-4);
      const Matrix gated = download(*ops, ops->gated_matmul(input, adapted, Activation::silu, nullptr));
      check_close(gated, download(*ops, ops->gate_mul(upload(*ops, want), Activation::silu)), 1e-3);
      // Rows without an adapter, and steps without one, have the plain product's bits.
      const Matrix again = download(*ops, ops->matmul(input, adapted));
      for (std::int64_t r = 0; r < rows; ++r)
        if (of_row[static_cast<std::size_t>(r)] == kNone)
          CHECK(same_bits(&again.values[static_cast<std::size_t>(r * out)],
                          &without.values[static_cast<std::size_t>(r * out)], out));
      Batch none = batch;
      none.adapters.clear();
      none.logit_adapters.clear();
      ops->begin_step(none, pool.view());
      const Matrix base_only = download(*ops, ops->matmul(upload(*ops, x), adapted));
      CHECK(same_bits(base_only.values.data(), without.values.data(), rows * out));
    }
  }
}

TEST_CASE("rows whose logits are wanted keep their adapters when the others are gone") {
  for (const OpsOptions& options : backends()) {
    INFO(options.isa);
    auto ops = require_ops(options);
    const Weight base(DType::f32, 48, 64, 1);
    const Adapter one(48, 64, 8, 11), two(48, 64, 4, 21);
    const AdapterView views[] = {one.view(), two.view()};
    const WeightView view = base.view();
    const Linear adapted = require_adapted(*ops, require_pack(*ops, {&view, 1}), views);
    const Batch batch = batch_of(mixed_adapters(23, 2), 3);
    const Matrix x = Matrix::random(23, 64, 3);
    KvPool pool(*ops, {DType::f32, 1, 1, 16, 16}, 1, 1);
    ops->begin_step(batch, pool.view());
    const Tensor input = upload(*ops, x);
    const Matrix all = download(*ops, ops->matmul(input, adapted));
    const Matrix some = download(*ops, ops->matmul(ops->gather_rows(input, batch.logit_rows), adapted));
    REQUIRE(some.rows == 8);
    for (std::int64_t i = 0; i < some.rows; ++i)
      CHECK(same_bits(
          &some.values[static_cast<std::size_t>(i * 48)],
          &all.values[static_cast<std::size_t>(batch.logit_rows[static_cast<std::size_t>(i)] * 48)], 48));
  }
}

TEST_CASE("a row with an adapter is the same alone and among 200, on any number of threads") {
  constexpr std::int64_t kRows = 200, kIn = 300, kOut = 211;
  for (const OpsOptions& options : backends()) {
    INFO(options.isa);
    const Weight base(DType::bf16, kOut, kIn, 1);
    const Adapter one(kOut, kIn, 16, 11), two(kOut, kIn, 5, 21);
    const AdapterView views[] = {one.view(), two.view()};
    const WeightView view = base.view();
    const Matrix x = Matrix::random(kRows, kIn, 3);
    const std::vector<std::int32_t> of_row = mixed_adapters(kRows, 2);
    Matrix want;
    for (const int threads : {1, 3}) {
      auto ops = require_ops(options, threads);
      const Linear adapted = require_adapted(*ops, require_pack(*ops, {&view, 1}), views);
      KvPool pool(*ops, {DType::f32, 1, 1, 16, 16}, 1, 1);
      const auto compute = [&](std::int64_t first, std::int64_t rows) {
        const Batch batch = batch_of({of_row.begin() + first, of_row.begin() + first + rows});
        ops->begin_step(batch, pool.view());
        Matrix part(rows, kIn);
        std::copy_n(&x.values[static_cast<std::size_t>(first * kIn)], rows * kIn, part.values.begin());
        return download(*ops, ops->matmul(upload(*ops, part), adapted));
      };
      const Matrix all = compute(0, kRows);
      if (threads == 1) want = all;
      REQUIRE(same_bits(all.values.data(), want.values.data(), kRows * kOut));
      std::mt19937 engine(7);
      for (const std::int64_t longest : {1, 5, 40}) {
        std::int64_t first = 0;
        for (const std::int64_t rows : random_cuts(kRows, longest, engine)) {
          const Matrix part = compute(first, rows);
          if (!same_bits(part.values.data(), &want.values[static_cast<std::size_t>(first * kOut)],
                         rows * kOut))
            FAIL("rows " << first << " to " << first + rows << " differ");
          first += rows;
        }
      }
    }
  }
}

TEST_CASE("adapters that do not fit a weight are refused") {
  for (const OpsOptions& options : backends()) {
    auto ops = require_ops(options);
    const Weight base(DType::f32, 12, 20, 1);
    const WeightView view = base.view();
    const Linear plain = require_pack(*ops, {&view, 1});
    const Adapter fits(12, 20, 4, 1), narrow(12, 19, 4, 1), low(11, 20, 4, 1), deep(12, 20, 1025, 1);
    const auto code = [&](const AdapterView& adapter) {
      const auto adapted = ops->adapt(plain, {&adapter, 1});
      REQUIRE(!adapted.has_value());
      return adapted.error().code;
    };
    CHECK(ops->adapt(plain, std::array{fits.view()}).has_value());
    CHECK(code(narrow.view()) == ErrorCode::invalid_argument);
    CHECK(code(low.view()) == ErrorCode::invalid_argument);
    CHECK(code(deep.view()) == ErrorCode::unsupported);
    AdapterView other = fits.view();
    other.up = deep.view().up;
    CHECK(code(other) == ErrorCode::invalid_argument);
    other = fits.view();
    other.scales = other.scales.subspan(1);
    CHECK(code(other) == ErrorCode::invalid_argument);
  }
}

}  // namespace baton::test
