// Packing: views side by side, and what is refused.
#include "ops_contract.hpp"

namespace baton::test {

TEST_CASE("views packed side by side compute what each computes alone") {
  for (const OpsOptions& options : backends()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      auto ops = require_ops(options, 2);
      const Weight q(dtype, 100, 48, 1), k(dtype, 20, 48, 2), v(dtype, 20, 48, 3), bias(dtype, 1, 20, 4);
      std::vector<WeightView> views{q.view(), k.view(), v.view()};
      views[1].bias = bias.view().data;
      const Linear all = require_pack(*ops, views);
      REQUIRE(all.in() == 48);
      REQUIRE(all.out() == 140);
      for (const std::int64_t rows : {1, 11}) {
        const Matrix x = Matrix::random(rows, 48, 5);
        const Matrix y = download(*ops, ops->matmul(upload(*ops, x), all));
        std::int64_t column = 0;
        for (const WeightView& view : views) {
          const Matrix part = download(*ops, ops->matmul(upload(*ops, x), require_pack(*ops, {&view, 1})));
          for (std::int64_t r = 0; r < rows; ++r) {
            REQUIRE(same_bits(&y.values[static_cast<std::size_t>(r * 140 + column)],
                              &part.values[static_cast<std::size_t>(r * view.out)], view.out));
          }
          column += view.out;
        }
      }
    }
  }
}

TEST_CASE("pack wants scales where they belong") {
  for (const OpsOptions& options : backends()) {
    auto ops = require_ops(options);
    const Weight fp8(DType::e4m3, 4, 8, 1), plain(DType::f32, 4, 8, 2);
    const float scales[5] = {1, 2, 3, 4, 5};
    const auto field = [&](const Weight& weight, std::size_t count) {
      WeightView view = weight.view();
      view.scales = {scales, count};
      const auto packed = ops->pack({&view, 1});
      return packed ? std::string("packed") : packed.error().field;
    };
    CHECK(field(fp8, 1) == "packed");
    CHECK(field(fp8, 4) == "packed");
    for (const std::size_t count : {0, 2, 5}) CHECK(field(fp8, count) == "scales");
    CHECK(field(plain, 1) == "scales");
    WeightView vector = fp8.view();
    vector.out = 1;
    vector.scales = {scales, 1};
    CHECK_FALSE(ops->pack_vector(vector));
  }
}

TEST_CASE("pack refuses weights that do not fit") {
  auto ops = require_ops({});
  const Weight a(DType::f32, 4, 8, 1), b(DType::f32, 4, 6, 2), c(DType::bf16, 4, 8, 3);
  const auto code = [&](std::vector<WeightView> views) {
    const auto packed = ops->pack(views);
    REQUIRE(!packed);
    CHECK(!packed.error().message.empty());
    return packed.error().code;
  };
  CHECK(code({}) == ErrorCode::invalid_argument);
  CHECK(code({a.view(), b.view()}) == ErrorCode::invalid_argument);
  CHECK(code({a.view(), c.view()}) == ErrorCode::invalid_argument);
  WeightView bad = a.view();
  bad.dtype = DType::i32;
  CHECK(code({bad}) == ErrorCode::unsupported);
  bad = a.view();
  bad.data = nullptr;
  CHECK(code({bad}) == ErrorCode::invalid_argument);
  bad = a.view();
  bad.out = 0;
  CHECK(code({bad}) == ErrorCode::invalid_argument);
  bad = a.view();
  bad.in = std::int64_t{1} << 27;
  bad.out = std::int64_t{1} << 30;
  CHECK(code({bad}) == ErrorCode::out_of_memory);
  bad.in = INT64_MAX / 8;
  bad.out = INT64_MAX / 8;
  CHECK(code({bad}) == ErrorCode::invalid_argument);

  const auto matrix = ops->pack_vector(a.view());
  REQUIRE(!matrix);
  CHECK(matrix.error().code == ErrorCode::invalid_argument);
  CHECK(!ops->prepare_rope({}));
}

}  // namespace baton::test
