#include "cpu_experts.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

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

namespace {

// The scores that weights are made of; of a NaN the least. The softmax is relative to the largest output, so
// that an infinite one has it all.
std::vector<double> scores_of(std::span<const float> outputs, const ExpertChoice& choice) {
  const auto logit = [](float output) {
    return std::isnan(output) ? -std::numeric_limits<double>::infinity() : static_cast<double>(output);
  };
  std::vector<double> scores;
  if (choice.scores == ExpertChoice::Scores::sigmoid) {
    for (const float output : outputs) scores.push_back(1 / (1 + std::exp(-logit(output))));
    return scores;
  }
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const float output : outputs) largest = std::max(largest, logit(output));
  for (const float output : outputs) {
    const double x = logit(output);
    scores.push_back(x == largest ? 1 : std::exp(x - largest));
    sum += scores.back();
  }
  for (double& score : scores) score /= sum;
  return scores;
}

// Experts outside the best groups are not to be chosen.
void keep_best_groups(const ExpertChoice& choice, std::vector<double>& merits) {
  const std::size_t each = merits.size() / static_cast<std::size_t>(choice.groups);
  std::vector<std::pair<double, std::size_t>> order;  // by -merit: the best first, ties to the lower one
  for (std::size_t first = 0; first < merits.size(); first += each) {
    std::vector<double> group(merits.begin() + static_cast<std::ptrdiff_t>(first),
                              merits.begin() + static_cast<std::ptrdiff_t>(first + each));
    std::ranges::sort(group, std::greater());
    order.emplace_back(-(choice.bias && each > 1 ? group[0] + group[1] : group[0]), first);
  }
  std::ranges::sort(order);
  for (std::size_t g = static_cast<std::size_t>(choice.kept_groups); g < order.size(); ++g)
    std::fill_n(merits.begin() + static_cast<std::ptrdiff_t>(order[g].second), each,
                -std::numeric_limits<double>::infinity());
}

}  // namespace

void choose_experts(std::span<const float> outputs, const ExpertChoice& choice,
                    std::span<ChosenExpert> chosen) {
  const std::vector<double> scores = scores_of(outputs, choice);
  std::vector<double> merits(scores);
  // Of a softmax the outputs tell more apart than the scores, some of which are 0.
  if (choice.scores == ExpertChoice::Scores::softmax && !choice.bias)
    for (std::size_t i = 0; i < merits.size(); ++i) merits[i] = static_cast<double>(outputs[i]);
  if (choice.bias) {
    const float* bias = static_cast<const NormVector&>(choice.bias->body()).data();
    for (std::size_t i = 0; i < merits.size(); ++i) merits[i] += static_cast<double>(bias[i]);
  }
  for (double& merit : merits)
    if (std::isnan(merit)) merit = -std::numeric_limits<double>::infinity();
  if (choice.groups > 1) keep_best_groups(choice, merits);

  std::vector<std::int32_t> order(outputs.size());
  std::iota(order.begin(), order.end(), 0);
  const auto merit = [&](std::int32_t id) { return merits[static_cast<std::size_t>(id)]; };
  const auto taken = static_cast<std::ptrdiff_t>(chosen.size());
  std::partial_sort(order.begin(), order.begin() + taken, order.end(), [&](std::int32_t a, std::int32_t b) {
    return merit(a) != merit(b) ? merit(a) > merit(b) : a < b;
  });
  const auto score = [&](std::int32_t id) { return scores[static_cast<std::size_t>(id)]; };
  double sum = choice.renormalise ? 0 : 1;
  if (choice.renormalise)
    for (std::size_t i = 0; i < chosen.size(); ++i) sum += score(order[i]);
  for (std::size_t i = 0; i < chosen.size(); ++i)
    chosen[i] = {order[i], static_cast<float>(score(order[i]) / std::max(sum, 1e-20) *
                                              static_cast<double>(choice.factor))};
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
