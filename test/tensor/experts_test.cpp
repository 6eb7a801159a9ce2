// The Ops contract, mixtures of experts and norms of heads: against a naive computation in double, the choice
// in every corner, and the same bits for a row alone and among others.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "ops_contract.hpp"
#include "tensor/cpu_experts.hpp"

namespace baton::test {
namespace {

using Row = std::vector<double>;

// A layer's experts in a checkpoint's element type.
struct Layer {
  std::vector<std::unique_ptr<Weight>> gates, ups, downs;
  std::vector<ExpertView> views;
  std::unique_ptr<Weight> router, router_bias;  // the bias only where the experts have some
  std::vector<float> choice_bias;               // [experts]
  std::vector<std::unique_ptr<Weight>> biases;  // of gate, up and down of each expert, or none

  Layer(DType dtype, std::int32_t count, std::int64_t in, std::int64_t ffn, bool biased = false) {
    for (std::int32_t e = 0; e < count; ++e) {
      const auto seed = static_cast<unsigned>(100 + 3 * e);
      gates.push_back(std::make_unique<Weight>(dtype, ffn, in, seed));
      ups.push_back(std::make_unique<Weight>(dtype, ffn, in, seed + 1));
      downs.push_back(std::make_unique<Weight>(dtype, in, ffn, seed + 2));
      views.push_back({gates.back()->view(), ups.back()->view(), downs.back()->view()});
      if (!biased) continue;
      for (WeightView* view : {&views.back().gate, &views.back().up, &views.back().down}) {
        biases.push_back(std::make_unique<Weight>(dtype, 1, view->out, seed + 1000 + biases.size() % 3));
        view->bias = biases.back()->view().data;
      }
    }
    if (biased) router_bias = std::make_unique<Weight>(dtype, 1, count, 98);
    router = std::make_unique<Weight>(dtype, count, in, 99);
    choice_bias = Matrix::random(1, count, 97, 0.5F).values;
  }
};

Row product(const Row& x, const Matrix& w, const Weight* bias) {
  Row y(static_cast<std::size_t>(w.rows));
  if (bias) y.assign(bias->exact().values.begin(), bias->exact().values.end());
  for (std::int64_t o = 0; o < w.rows; ++o)
    for (std::int64_t i = 0; i < w.cols; ++i)
      y[static_cast<std::size_t>(o)] += x[static_cast<std::size_t>(i)] * static_cast<double>(w.at(o, i));
  return y;
}

Row naive_mixture(const Layer& layer, const Row& x, const ExpertChoice& choice, Activation activation) {
  const Row logits = product(x, layer.router->exact(), layer.router_bias.get());
  const auto bias = [&](std::size_t expert, std::size_t which) {
    return layer.biases.empty() ? nullptr : layer.biases[3 * expert + which].get();
  };
  const bool sigmoid = choice.scores == ExpertChoice::Scores::sigmoid;
  Row shares, merits;
  for (const double logit : logits) shares.push_back(sigmoid ? 1 / (1 + std::exp(-logit)) : std::exp(logit));
  const double all = sigmoid ? 1 : std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= all;
  for (std::size_t e = 0; e < shares.size(); ++e)
    merits.push_back(shares[e] + (choice.bias ? static_cast<double>(layer.choice_bias[e]) : 0));
  std::vector<std::size_t> order;
  const std::size_t each = shares.size() / static_cast<std::size_t>(choice.groups);
  Row of_groups;
  for (std::size_t first = 0; first < shares.size(); first += each) {
    Row group(merits.begin() + static_cast<std::ptrdiff_t>(first),
              merits.begin() + static_cast<std::ptrdiff_t>(first + each));
    std::sort(group.rbegin(), group.rend());
    of_groups.push_back(choice.bias && each > 1 ? group[0] + group[1] : group[0]);
  }
  for (std::size_t e = 0; e < shares.size(); ++e)
    if (std::ranges::count_if(of_groups, [&](double g) { return g > of_groups[e / each]; }) <
        choice.kept_groups)
      order.push_back(e);
  std::stable_sort(order.begin(), order.end(), [&](auto x1, auto x2) { return merits[x1] > merits[x2]; });
  order.resize(static_cast<std::size_t>(choice.per_token));
  double kept = 0;
  for (const std::size_t e : order) kept += shares[e];
  Row y(x.size());
  for (const std::size_t e : order) {
    Row hidden = product(x, layer.gates[e]->exact(), bias(e, 0));
    const Row up = product(x, layer.ups[e]->exact(), bias(e, 1));
    for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = gated(activation, hidden[i], up[i]);
    const Row down = product(hidden, layer.downs[e]->exact(), bias(e, 2));
    const double weight = shares[e] / (choice.renormalise ? kept : 1) * static_cast<double>(choice.factor);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += weight * down[i];
  }
  return y;
}

Linear require_router(Ops& ops, const Layer& layer) {
  WeightView view = layer.router->view();
  if (layer.router_bias) view.bias = layer.router_bias->view().data;
  return require_pack(ops, {&view, 1});
}

Experts require_experts(Ops& ops, const Layer& layer) {
  auto packed = ops.pack_experts(layer.views);
  if (!packed) FAIL(packed.error().message);
  return *std::move(packed);
}

std::vector<ChosenExpert> choose(const std::vector<float>& logits, const ExpertChoice& choice) {
  std::vector<ChosenExpert> chosen(static_cast<std::size_t>(choice.per_token));
  choose_experts(logits, choice, chosen);
  return chosen;
}

}  // namespace

TEST_CASE("a mixture is the weighted sum of the chosen experts") {
  struct Case {
    DType dtype;
    std::int32_t experts;
    std::int64_t in, ffn, rows;
    ExpertChoice choice;
    bool biased = false;
    Activation activation = Activation::silu;
    bool choice_bias = false;
  };
  constexpr auto kSigmoid = ExpertChoice::Scores::sigmoid;
  const Case cases[] = {
      {DType::f32, 1, 17, 5, 3, {1, true}},
      {DType::bf16, 8, 48, 40, 1, {2, true}},
      {DType::f16, 8, 64, 33, 29, {2, false}},
      {DType::bf16, 40, 32, 16, 70, {8, true}},
      {DType::f32, 3, 24, 70, 9, {3, false}},
      {DType::bf16, 128, 32, 8, 5, {32, true}},
      {DType::bf16, 8, 48, 40, 21, {4, true}, true, Activation::clamped_silu},
      {DType::f32, 5, 33, 17, 2, {2, false}, true, Activation::gelu},
      {DType::f32, 12, 33, 17, 9, {3, true, kSigmoid, 2.5F}},
      {DType::bf16, 9, 32, 24, 9, {2, false, kSigmoid}},
      {DType::f32, 12, 33, 17, 40, {4, true, kSigmoid, 1.5F, nullptr, 4, 2}},
      {DType::f32, 12, 33, 17, 40, {4, true, kSigmoid, 1.5F, nullptr, 4, 2}, false, Activation::silu, true},
      {DType::f32, 6, 16, 8, 20, {2, false, {}, 1.0F, nullptr, 6, 3}, false, Activation::silu, true}};
  for (const OpsOptions& options : backends()) {
    for (Case c : cases) {
      INFO(options.isa << " " << c.experts << " experts, " << c.rows << " rows");
      const Layer layer(c.dtype, c.experts, c.in, c.ffn, c.biased);
      auto ops = require_ops(options);
      const Linear router = require_router(*ops, layer);
      const Experts experts = require_experts(*ops, layer);
      const WeightView bias{.data = layer.choice_bias.data(), .dtype = DType::f32, .out = 1, .in = c.experts};
      const auto packed_bias = ops->pack_vector(bias);
      REQUIRE(packed_bias.has_value());
      if (c.choice_bias) c.choice.bias = &*packed_bias;
      CHECK(experts.count() == c.experts);
      CHECK(experts.in() == c.in);
      CHECK(experts.ffn() == c.ffn);
      const Matrix x = Matrix::random(c.rows, c.in, 5, 1.0F);
      const Matrix y = download(*ops, ops->mixture(upload(*ops, x), router, experts, c.choice, c.activation));
      REQUIRE(y.rows == c.rows);
      REQUIRE(y.cols == c.in);
      for (std::int64_t r = 0; r < c.rows; ++r) {
        Row row(static_cast<std::size_t>(c.in));
        for (std::int64_t i = 0; i < c.in; ++i)
          row[static_cast<std::size_t>(i)] = static_cast<double>(x.at(r, i));
        const Row want = naive_mixture(layer, row, c.choice, c.activation);
        double size = 0;
        for (const double value : want) size = std::max(size, std::abs(value));
        for (std::int64_t i = 0; i < c.in; ++i)
          if (std::abs(static_cast<double>(y.at(r, i)) - want[static_cast<std::size_t>(i)]) > 1e-5 * size)
            FAIL("row " << r << ", column " << i << ": " << y.at(r, i) << " instead of "
                        << want[static_cast<std::size_t>(i)]);
      }
    }
  }
}

TEST_CASE("a mixture of a row is the same alone and among 300, on any number of threads") {
  const Layer layer(DType::bf16, 16, 64, 48);
  const Matrix x = Matrix::random(300, 64, 8, 2.0F);
  for (const OpsOptions& options : backends()) {
    if (options.device.kind == DeviceKind::cuda) continue;  // f32 products of many rows are split otherwise
    INFO(options.isa);
    Matrix whole;
    for (const int threads : {1, 3}) {
      auto ops = require_ops(options, threads);
      const Linear router = require_router(*ops, layer);
      const Experts experts = require_experts(*ops, layer);
      const Tensor all = upload(*ops, x);
      const Matrix together = download(*ops, ops->mixture(all, router, experts, {4, true}, Activation::silu));
      if (threads == 1) whole = together;
      CHECK(same_bits(together.values.data(), whole.values.data(), 300 * 64));
      for (const std::int64_t row : {0, 7, 299}) {
        const Matrix alone =
            download(*ops, ops->mixture(rows_of(all, row, 1), router, experts, {4, true}, Activation::silu));
        CHECK(same_bits(alone.values.data(), whole.values.data() + row * 64, 64));
      }
    }
  }
}

TEST_CASE("experts are chosen by score, ties to the lower id, NaN last") {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const auto plain = choose({0, 2, 1, 2}, {3, true});
  CHECK(plain[0].expert == 1);
  CHECK(plain[1].expert == 3);
  CHECK(plain[2].expert == 2);
  CHECK(plain[0].weight == plain[1].weight);
  CHECK(plain[0].weight + plain[1].weight + plain[2].weight == Approx(1.0F));
  CHECK(plain[2].weight / plain[0].weight == Approx(std::exp(-1.0F)));

  const auto shares = choose({0, std::log(3.0F)}, {1, false});
  CHECK(shares[0].weight == Approx(0.75F));

  const auto broken = choose({nan, -5, nan, -7}, {3, true});
  CHECK(broken[0].expert == 1);
  CHECK(broken[1].expert == 3);
  CHECK(broken[2].expert == 0);
  CHECK(broken[2].weight == 0.0F);

  const auto endless = choose({1, infinity, 3}, {2, true});
  CHECK(endless[0].expert == 1);
  CHECK(endless[0].weight == 1.0F);
  CHECK(endless[1].weight == 0.0F);

  const auto nothing = choose({nan, nan}, {2, true});
  CHECK(nothing[0].expert == 0);
  CHECK(nothing[0].weight == 0.5F);
}

TEST_CASE("head_norm norms each head by itself") {
  for (const OpsOptions& options : backends()) {
    INFO(options.isa);
    auto ops = require_ops(options);
    const Weight weight(DType::bf16, 1, 24, 3);
    auto scale = ops->pack_vector(weight.view());
    REQUIRE(scale.has_value());
    const Matrix x = Matrix::random(4, 5 * 24, 6, 2.0F);
    const Tensor heads = upload(*ops, x);
    ops->head_norm(heads.columns(24, 3 * 24), *scale, 1e-6F);  // the first and the last head stay
    const Matrix y = download(*ops, heads);
    for (std::int64_t r = 0; r < 4; ++r) {
      for (std::int64_t head = 0; head < 5; ++head) {
        double squares = 0;
        for (std::int64_t i = 0; i < 24; ++i)
          squares += std::pow(static_cast<double>(x.at(r, head * 24 + i)), 2);
        for (std::int64_t i = 0; i < 24; ++i) {
          const auto was = static_cast<double>(x.at(r, head * 24 + i));
          const bool normed = head >= 1 && head <= 3;
          const double want =
              normed ? was / std::sqrt(squares / 24 + 1e-6) * static_cast<double>(weight.exact().at(0, i))
                     : was;
          REQUIRE(static_cast<double>(y.at(r, head * 24 + i)) == Approx(want).epsilon(2e-6).margin(1e-7));
        }
      }
    }
  }
}

TEST_CASE("experts that do not fit each other are refused by name") {
  for (const OpsOptions& options : backends()) {
    auto ops = require_ops(options);
    const Layer layer(DType::f32, 3, 8, 12);
    const auto field = [&](auto change) {
      std::vector<ExpertView> views = layer.views;
      change(views);
      const auto packed = ops->pack_experts(views);
      return packed ? std::string("packed") : packed.error().field;
    };
    CHECK(field([](auto&) {}) == "packed");
    CHECK(field([](auto& v) { v.clear(); }) == "experts");
    CHECK(field([](auto& v) { v.resize(kMostExperts + 1, v[0]); }) == "experts");
    CHECK(field([](auto& v) { v[2].gate.in = 7; }) == "gate");
    CHECK(field([](auto& v) { v[1].up.out = 4; }) == "up");
    CHECK(field([](auto& v) { v[1].down = v[1].up; }) == "down");
    CHECK(field([](auto& v) { v[0].down.dtype = DType::bf16; }) == "down");
    CHECK(field([](auto& v) { v[2].up.bias = v[2].up.data; }) == "up");
  }
}

}  // namespace baton::test
