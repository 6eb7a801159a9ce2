// Mixture of experts against a computation in double: routing with every option, the permutation, the
// products on tensor cores and without, and the sum.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "device_matrix.hpp"
#include "kernels/cuda/moe.hpp"

namespace baton::gpu {
namespace {

struct Routing {
  std::int32_t experts, choices, groups, kept_groups;
  cuda::MoeScores scores;
  bool bias, renormalise;
  float factor;
};

class MoeTest {
 public:
  bool run() {
    using enum cuda::MoeScores;
    for (const Routing& r :
         {Routing{1, 1, 1, 1, softmax, false, true, 1.0F}, Routing{8, 2, 1, 1, softmax, false, true, 1.0F},
          Routing{60, 4, 1, 1, softmax, false, false, 1.0F},
          Routing{128, 8, 1, 1, softmax, false, true, 1.0F},
          Routing{160, 6, 8, 3, softmax, false, false, 16.0F},
          Routing{256, 8, 8, 4, sigmoid, true, true, 2.5F},
          Routing{512, 32, 1, 1, sigmoid, false, true, 1.0F},
          Routing{32, 4, 16, 5, sigmoid, true, false, 1.0F}})
      for (const std::int32_t rows : {1, 67}) routes(r, rows);
    for (const std::int32_t entries : {1, 6, 512, 5000})
      for (const std::int32_t experts : {1, 5, 128}) permutes(entries, experts);
    for (const Element element : {Element::f32, Element::f16, Element::bf16}) {
      for (const Element weight : {Element::f32, Element::f16, Element::bf16, Element::e4m3}) {
        if (element != Element::f32 && weight != element && weight != Element::e4m3) continue;
        products(element, weight, 3, 2, 5, 208, 150);
        products(element, weight, 40, 4, 6, 64, 66);
        products(element, weight, 150, 2, 4, 208, 150);
        products(element, weight, 700, 1, 3, 96, 130);
        products(element, weight, 9, 2, 4, 37, 19);
      }
      combines(element, 64);
      combines(element, 37);
    }
    invariance();
    return expectations_.report();
  }

 private:
  void routes(const Routing& r, std::int32_t rows) {
    Matrix logits(Element::f32, rows, r.experts, 3);
    logits.randomise(engine_, 3.0F);
    std::vector<float> bias(static_cast<std::size_t>(r.experts));
    for (float& b : bias) b = random_float(engine_, 0.3F);
    const DeviceArray<float> device_bias(bias);
    const auto count = static_cast<std::size_t>(rows * r.choices);
    const DeviceArray<std::int32_t> experts(count);
    const DeviceArray<float> weights(count);
    cuda::MoeRoute args;
    args.logits = logits.view();
    args.bias = r.bias ? device_bias.data() : nullptr;
    args.scores = r.scores;
    args.choices = r.choices;
    args.groups = r.groups;
    args.kept_groups = r.kept_groups;
    args.renormalise = r.renormalise;
    args.factor = r.factor;
    args.experts = experts.data();
    args.weights = weights.data();
    require_done(cuda::moe_route(args, nullptr), "moe_route");
    const std::vector<std::int32_t> got = experts.values();
    const std::vector<float> got_weights = weights.values();
    for (std::int32_t row = 0; row < rows; ++row) {
      std::vector<double> score(static_cast<std::size_t>(r.experts)), choice;
      double total = 0;
      for (std::int32_t e = 0; e < r.experts; ++e) {
        const double exponential = std::exp(static_cast<double>(logits.get(row, e)));
        score[static_cast<std::size_t>(e)] =
            r.scores == cuda::MoeScores::softmax ? exponential : exponential / (1 + exponential);
        total += exponential;
      }
      if (r.scores == cuda::MoeScores::softmax)
        for (double& s : score) s /= total;
      choice = score;
      if (r.bias)
        for (std::size_t e = 0; e < choice.size(); ++e) choice[e] += static_cast<double>(bias[e]);
      limit_groups(r, choice);
      std::vector<std::int32_t> order(choice.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return choice[static_cast<std::size_t>(a)] > choice[static_cast<std::size_t>(b)];
      });
      double sum = 0;
      for (std::int32_t k = 0; k < r.choices; ++k) sum += score[static_cast<std::size_t>(order[k])];
      for (std::int32_t k = 0; k < r.choices; ++k) {
        const auto at = static_cast<std::size_t>(row * r.choices + k);
        const std::int32_t chosen = got[at] >= 0 && got[at] < r.experts ? got[at] : 0;
        const double want = score[static_cast<std::size_t>(chosen)] / (r.renormalise ? sum : 1.0) *
                            static_cast<double>(r.factor);
        // What is equal up to the rounding of f32 may change places.
        const double distance =
            choice[static_cast<std::size_t>(chosen)] - choice[static_cast<std::size_t>(order[k])];
        expectations_.expect(got[at] == order[k] || std::abs(distance) < 5e-7,
                             "moe_route of %d experts, row %d choice %d: %d, not %d", r.experts, row, k,
                             got[at], order[k]);
        expectations_.expect(std::abs(static_cast<double>(got_weights[at]) - want) <= 3e-6 * want,
                             "moe_route of %d experts, row %d choice %d: weight %g, not %g", r.experts, row,
                             k, static_cast<double>(got_weights[at]), want);
      }
    }
  }

  static void limit_groups(const Routing& r, std::vector<double>& choice) {
    if (r.groups == 1) return;
    const std::int32_t size = r.experts / r.groups;
    std::vector<std::pair<double, std::int32_t>> groups;
    for (std::int32_t g = 0; g < r.groups; ++g) {
      std::vector<double> members(choice.begin() + g * size, choice.begin() + (g + 1) * size);
      std::sort(members.rbegin(), members.rend());
      groups.emplace_back(-(r.bias && size > 1 ? members[0] + members[1] : members[0]), g);
    }
    std::sort(groups.begin(), groups.end());
    for (std::int32_t i = r.kept_groups; i < r.groups; ++i)
      for (std::int32_t e = 0; e < size; ++e)
        choice[static_cast<std::size_t>(groups[static_cast<std::size_t>(i)].second * size + e)] = -1e300;
  }

  // Experts below first_expert or past the last are elsewhere.
  void permutes(std::int32_t entries, std::int32_t experts) {
    constexpr std::int32_t kFirst = 2;
    std::vector<std::int32_t> chosen(static_cast<std::size_t>(entries));
    for (std::int32_t& e : chosen)
      e = static_cast<std::int32_t>(engine_() % static_cast<unsigned>(experts + 4));
    const DeviceArray<std::int32_t> device_chosen(chosen);
    const DeviceArray<std::int32_t> offsets(static_cast<std::size_t>(experts + 1)), entry_of(chosen.size()),
        slot_of(chosen.size());
    require_done(cuda::moe_permute({device_chosen.data(), entries, kFirst, experts, offsets.data(),
                                    entry_of.data(), slot_of.data()},
                                   nullptr),
                 "moe_permute");
    const std::vector<std::int32_t> got_offsets = offsets.values(), got_entries = entry_of.values(),
                                    got_slots = slot_of.values();
    std::int32_t slot = 0;
    std::vector<std::int32_t> want(chosen.size(), -1);
    for (std::int32_t e = 0; e < experts; ++e) {
      expectations_.expect(got_offsets[static_cast<std::size_t>(e)] == slot,
                           "moe_permute: offset of expert %d", e);
      for (std::int32_t i = 0; i < entries; ++i) {
        if (chosen[static_cast<std::size_t>(i)] != e + kFirst) continue;
        expectations_.expect(got_entries[static_cast<std::size_t>(slot)] == i, "moe_permute: slot %d", slot);
        want[static_cast<std::size_t>(i)] = slot++;
      }
    }
    expectations_.expect(got_offsets.back() == slot, "moe_permute: the last offset");
    expectations_.expect(got_slots == want, "moe_permute: slots of %d entries, %d experts", entries, experts);
  }

  // Entries of random experts, permuted on the device.
  struct Permutation {
    Permutation(std::int32_t entries, std::int32_t experts, std::mt19937& engine)
        : chosen(random_choices(entries, experts, engine)),
          device_chosen(chosen),
          offsets(static_cast<std::size_t>(experts + 1)),
          entry_of(chosen.size()),
          slot_of(chosen.size()) {
      require_done(cuda::moe_permute({device_chosen.data(), entries, 0, experts, offsets.data(),
                                      entry_of.data(), slot_of.data()},
                                     nullptr),
                   "moe_permute");
    }
    static std::vector<std::int32_t> random_choices(std::int32_t entries, std::int32_t experts,
                                                    std::mt19937& engine) {
      std::vector<std::int32_t> made(static_cast<std::size_t>(entries));
      for (std::int32_t& e : made) {  // the last expert gets nothing, where there are several
        e = static_cast<std::int32_t>(engine() % static_cast<unsigned>(std::max(1, experts - 1)));
        if (engine() % 16 == 0) e = experts;  // which is elsewhere
      }
      return made;
    }
    std::vector<std::int32_t> chosen;
    DeviceArray<std::int32_t> device_chosen, offsets, entry_of, slot_of;
  };

  void products(Element element, Element weight_type, std::int32_t rows, std::int32_t choices,
                std::int32_t experts, std::int32_t in, std::int32_t out) {
    const std::int32_t entries = rows * choices;
    const Permutation permutation(entries, experts, engine_);
    const std::vector<std::int32_t> entry_of = permutation.entry_of.values();
    Matrix weight(weight_type, experts * out, in);
    weight.randomise(engine_, 1.0F);
    std::vector<float> scales(static_cast<std::size_t>(experts * out));
    for (float& s : scales) s = 1.0F + random_float(engine_, 0.5F);
    const DeviceArray<float> device_scales(scales);
    const std::vector<float> weight_values = weight.floats();
    Matrix bias(element, experts, out);
    bias.randomise(engine_, 3.0F);
    const std::vector<std::int32_t> offsets = permutation.offsets.values();
    for (const int way : {0, 1, 2, 3}) {
      const bool gathers = way % 2 == 0, biased = way / 2 == 1;
      Matrix x(element, gathers ? rows : entries, in, in % 8 == 0 ? 8 : 1);
      x.randomise(engine_, 1.0F);
      Matrix y(element, entries, out, out % 2 == 0 ? 2 : 1);
      cuda::MoeMatmul args;
      args.x = x.view();
      args.offsets = permutation.offsets.data();
      args.entry_of = gathers ? permutation.entry_of.data() : nullptr;
      args.choices = choices;
      args.entries = entries;
      args.expert_count = experts;
      args.weight = weight.view().data;
      args.weight_type = weight_type;
      args.scale = weight_type == Element::e4m3 ? device_scales.data() : nullptr;
      args.bias = biased ? bias.view().data : nullptr;
      args.y = y.view();
      require_done(cuda::moe_matmul(args, nullptr), "moe_matmul");
      y.download();
      const std::vector<float> x_values = x.floats();
      for (std::int32_t slot = offsets.back(); slot < entries; ++slot)
        expectations_.expect(std::isnan(y.get(slot, 0)) && std::isnan(y.get(slot, out - 1)),
                             "moe_matmul wrote to slot %d, which no entry has", slot);
      for (std::int32_t slot = 0; slot < offsets.back(); ++slot) {
        const std::int32_t entry = entry_of[static_cast<std::size_t>(slot)];
        const std::int32_t expert = permutation.chosen[static_cast<std::size_t>(entry)];
        const std::int32_t row = gathers ? entry / choices : slot;
        for (std::int32_t o = 0; o < out; ++o) {
          double want = 0, size = 0;
          const float* left = &x_values[static_cast<std::size_t>(row * in)];
          const float* right = &weight_values[static_cast<std::size_t>((expert * out + o) * in)];
          for (std::int32_t k = 0; k < in; ++k) {
            const double term = static_cast<double>(left[k]) * static_cast<double>(right[k]);
            want += term;
            size += std::abs(term);
          }
          if (args.scale) {
            want *= static_cast<double>(scales[static_cast<std::size_t>(expert * out + o)]);
            size *= 1.5;
          }
          if (biased) want += static_cast<double>(bias.get(expert, o));
          Tolerance tolerance = rounding_of(element);
          tolerance.absolute += 5e-6 * size;
          const double got = static_cast<double>(y.get(slot, o));
          expectations_.expect(tolerance.holds(got, want),
                               "moe_matmul %s x %s%s, %d entries, in %d, slot %d output %d: %g, not %g",
                               name_of(element), name_of(weight_type), biased ? " and biases" : "", entries,
                               in, slot, o, got, want);
        }
      }
      expectations_.expect(y.spare_untouched(), "moe_matmul wrote beside its rows");
    }
  }

  // A row's bits do not depend on how many others go to its expert (another size of tile).
  void invariance() {
    constexpr std::int32_t kRows = 200, kIn = 256, kOut = 192;
    Matrix weight(Element::bf16, 2 * kOut, kIn), x(Element::bf16, kRows, kIn);
    Matrix many(Element::bf16, kRows, kOut), few(Element::bf16, 3, kOut), bias(Element::bf16, 2, kOut);
    bias.randomise(engine_, 1.0F);
    weight.randomise(engine_, 1.0F);
    x.randomise(engine_, 1.0F);
    for (const bool all : {true, false}) {
      const std::int32_t rows = all ? kRows : 3;
      const DeviceArray<std::int32_t> offsets(std::vector<std::int32_t>{0, 0, rows});
      cuda::MoeMatmul args;
      args.x = x.view();
      args.x.rows = rows;
      args.offsets = offsets.data();
      args.entries = rows;
      args.expert_count = 2;
      args.weight = weight.view().data;
      args.bias = bias.view().data;
      args.y = all ? many.view() : few.view();
      require_done(cuda::moe_matmul(args, nullptr), "moe_matmul");
    }
    many.download();
    few.download();
    for (std::int32_t r = 0; r < 3; ++r)
      expectations_.expect(std::memcmp(many.bytes(r, 0), few.bytes(r, 0), kOut * 2) == 0,
                           "moe_matmul: row %d depends on how many there are", r);
  }

  void combines(Element element, std::int32_t cols) {
    constexpr std::int32_t kRows = 9, kChoices = 3;
    Matrix x(element, kRows * kChoices, cols);
    x.randomise(engine_, 2.0F);
    std::vector<std::int32_t> slots(kRows * kChoices);
    std::iota(slots.begin(), slots.end(), 0);
    std::shuffle(slots.begin(), slots.end(), engine_);
    slots[4] = -1;
    std::vector<float> weights(slots.size());
    for (float& w : weights) w = random_float(engine_, 1.0F);
    const DeviceArray<std::int32_t> device_slots(slots);
    const DeviceArray<float> device_weights(weights);
    for (const bool accumulate : {false, true}) {
      Matrix y(element, kRows, cols, 5), before(element, kRows, cols);
      if (accumulate) y.randomise(engine_, 2.0F);
      for (std::int32_t r = 0; r < kRows; ++r)
        for (std::int32_t c = 0; c < cols; ++c) before.set(r, c, accumulate ? y.get(r, c) : 0.0F);
      require_done(cuda::moe_combine(
                       {x.view(), device_slots.data(), device_weights.data(), kChoices, y.view(), accumulate},
                       nullptr),
                   "moe_combine");
      y.download();
      for (std::int32_t r = 0; r < kRows; ++r)
        for (std::int32_t c = 0; c < cols; ++c) {
          double want = static_cast<double>(before.get(r, c));
          for (std::int32_t k = 0; k < kChoices; ++k) {
            const auto at = static_cast<std::size_t>(r * kChoices + k);
            if (slots[at] >= 0)
              want += static_cast<double>(weights[at]) * static_cast<double>(x.get(slots[at], c));
          }
          Tolerance tolerance = rounding_of(element);
          tolerance.absolute += 2e-6;
          expectations_.expect(tolerance.holds(static_cast<double>(y.get(r, c)), want),
                               "moe_combine row %d column %d", r, c);
        }
    }
  }

  std::mt19937 engine_{5};
  Expectations expectations_{"moe"};
};

}  // namespace

bool moe_tests() { return MoeTest().run(); }

}  // namespace baton::gpu
