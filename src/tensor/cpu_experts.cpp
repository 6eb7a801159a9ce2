#include "cpu_experts.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "cpu_ops.hpp"
#include "experts.hpp"

namespace baton {

Result<Experts> pack_experts(std::span<const ExpertView> experts, const kernels::Kernels& kernels,
                             ThreadPool& pool) {
  if (auto checked = check_experts(experts); !checked) return checked.error();
  auto body = std::make_shared<PackedExperts>();
  body->in = experts[0].gate.in;
  body->ffn = experts[0].gate.out;
  body->count = static_cast<std::int32_t>(experts.size());
  for (const ExpertView& expert : experts) {
    const WeightView gate_up[] = {expert.gate, expert.up};
    auto wide = pack_matrix(gate_up, kernels, pool);
    if (!wide) return wide.error();
    auto down = pack_matrix({&expert.down, 1}, kernels, pool);
    if (!down) return down.error();
    body->experts.push_back({*std::move(wide), *std::move(down)});
  }
  return Experts(std::move(body));
}

void choose_experts(std::span<const float> logits, const ExpertChoice& choice,
                    std::span<ChosenExpert> chosen) {
  const auto score = [&](std::int32_t id) {
    const float logit = logits[static_cast<std::size_t>(id)];
    return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit;
  };
  std::vector<std::int32_t> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  const auto taken = static_cast<std::ptrdiff_t>(chosen.size());
  std::partial_sort(order.begin(), order.begin() + taken, order.end(), [&](std::int32_t a, std::int32_t b) {
    return score(a) != score(b) ? score(a) > score(b) : a < b;
  });
  // Relative to the largest, so that its own share is 1 whatever it is, infinite ones included.
  const float largest = score(order.front());
  const auto share = [&](std::int32_t id) {
    return score(id) == largest ? 1.0
                                : std::exp(static_cast<double>(score(id)) - static_cast<double>(largest));
  };
  double sum = 0;
  const std::size_t summed = choice.renormalise ? chosen.size() : order.size();
  for (std::size_t i = 0; i < summed; ++i)
    sum += share(choice.renormalise ? order[i] : static_cast<std::int32_t>(i));
  for (std::size_t i = 0; i < chosen.size(); ++i)
    chosen[i] = {order[i], static_cast<float>(share(order[i]) / sum)};
}

Tensor CpuOps::mixture(const Tensor& x, const Linear& router, const Experts& experts,
                       const ExpertChoice& choice, Activation activation) {
  assert(dynamic_cast<const PackedExperts*>(&experts.body()) != nullptr);
  const auto& body = static_cast<const PackedExperts&>(experts.body());
  assert(x.cols == body.in && router.out() == body.count);
  assert(choice.per_token >= 1 && choice.per_token <= body.count);
  const Tensor y = allocate(x.rows, body.in);
  if (x.rows == 0) return y;
  const std::size_t mark = workspace_.mark();
  const Tensor scores = matmul(x, router);  // [rows, experts]

  struct Visit {
    std::int32_t row = 0;
    float weight = 0.0F;
  };
  std::vector<std::vector<Visit>> visits(static_cast<std::size_t>(body.count));
  std::vector<ChosenExpert> chosen(static_cast<std::size_t>(choice.per_token));
  for (std::int32_t row = 0; row < x.rows; ++row) {
    const float* logits = static_cast<const float*>(scores.data) + row * scores.stride;
    choose_experts({logits, static_cast<std::size_t>(body.count)}, choice, chosen);
    for (const ChosenExpert& one : chosen)
      visits[static_cast<std::size_t>(one.expert)].push_back({row, one.weight});
  }

  const auto row_at = [](const Tensor& t, std::int64_t row) {
    return static_cast<float*>(t.data) + row * t.stride;
  };
  for (std::int64_t row = 0; row < y.rows; ++row) std::fill_n(row_at(y, row), y.cols, 0.0F);
  std::vector<std::int32_t> rows;
  for (std::size_t e = 0; e < visits.size(); ++e) {
    if (visits[e].empty()) continue;
    const std::size_t before = workspace_.mark();
    rows.clear();
    for (const Visit& visit : visits[e]) rows.push_back(visit.row);
    const Tensor gathered = gather_rows(x, rows);
    const Tensor down = matmul(gate_mul(matmul(gathered, body.experts[e].gate_up), activation),
                               body.experts[e].down);  // [visits, in]
    for_rows(down.rows, down.cols, [&](std::int64_t i) {
      const Visit visit = visits[e][static_cast<std::size_t>(i)];
      const float* from = row_at(down, i);
      float* to = row_at(y, visit.row);
      for (std::int64_t c = 0; c < y.cols; ++c) to[c] += visit.weight * from[c];
    });
    workspace_.release(before);
  }
  workspace_.release(mark);
  return y;
}

}  // namespace baton
