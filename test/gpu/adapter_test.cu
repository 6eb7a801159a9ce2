// What adapters add, kernel by kernel, against a computation in double: every element, odd sizes, strides and
// alignments, ranks from 1 to 70, rows in runs of one adapter and rows of one each. And that a row's bits are
// the same in any company, wherever it lies.
#include <algorithm>
#include <cmath>
#include <memory>
#include <span>

#include "device_matrix.hpp"
#include "kernel_tests.hpp"
#include "kernels/cuda/adapter.hpp"

namespace baton::gpu {
namespace {

constexpr Element kActivations[] = {Element::f32, Element::f16, Element::bf16};
constexpr std::int32_t kRanks[] = {1, 3, 8, 0, 17, 64, 70};
constexpr std::int32_t kMostRank = 70, kCount = 7;

// Spare columns and a shift of the first element, both in elements.
struct Placement {
  std::int32_t spare, shift;
};
constexpr Placement kPlacements[] = {{0, 0}, {16, 0}, {3, 1}};

// The adapters of one weight, and the table of them on the device.
class Adapters {
 public:
  Adapters(Element element, std::int32_t in, std::int32_t out, std::mt19937& engine) : element_(element) {
    std::vector<cuda::AdapterEntry> entries(kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
      const std::int32_t rank = kRanks[i];
      Adapter& made = all_[i];
      if (rank == 0) continue;
      made.down = std::make_unique<Matrix>(element, rank, in);
      made.up = std::make_unique<Matrix>(element, rank, out);
      made.down->randomise(engine, 1.0F);
      made.up->randomise(engine, 1.0F);
      for (std::int32_t j = 0; j < rank; ++j) made.scales.push_back(random_float(engine, 0.5F));
      made.device_scales = std::make_unique<DeviceArray<float>>(made.scales);
      entries[i] = {made.down->view().data, made.up->view().data, made.device_scales->data(), rank};
    }
    table_ = std::make_unique<DeviceArray<cuda::AdapterEntry>>(entries);
  }
  static std::int32_t rank_of(std::int32_t adapter) { return adapter < 0 ? 0 : kRanks[adapter]; }
  float down(std::int32_t adapter, std::int32_t j, std::int32_t k) const {
    return at(adapter).down->get(j, k);
  }
  float up(std::int32_t adapter, std::int32_t j, std::int32_t o) const { return at(adapter).up->get(j, o); }
  float scale(std::int32_t adapter, std::int32_t j) const {
    return at(adapter).scales[static_cast<std::size_t>(j)];
  }
  cuda::AdapterRows rows(const std::int32_t* of_row) const {
    return {table_->data(), of_row, kMostRank, element_};
  }

 private:
  struct Adapter {
    std::unique_ptr<Matrix> down, up;  // [rank, in], [rank, out]
    std::vector<float> scales;
    std::unique_ptr<DeviceArray<float>> device_scales;
  };
  const Adapter& at(std::int32_t adapter) const { return all_[static_cast<std::size_t>(adapter)]; }

  Element element_;
  Adapter all_[kCount];
  std::unique_ptr<DeviceArray<cuda::AdapterEntry>> table_;
};

class AdapterTest {
 public:
  bool run() {
    struct Shape {
      std::int32_t rows, in, out;
    };
    for (const Element element : kActivations)
      for (const Shape shape :
           {Shape{1, 1, 1}, Shape{5, 7, 9}, Shape{21, 64, 96}, Shape{40, 100, 1100}, Shape{150, 72, 40},
            Shape{131, 33, 7}, Shape{9, 6152, 24}, Shape{4, 2999, 2056}})
        for (const Element result : {element, Element::f32}) {
          rows_ = shape.rows, in_ = shape.in, out_ = shape.out;
          element_ = element, result_ = result;
          const Adapters adapters(element, in_, out_, engine_);
          for (const bool runs : {true, false}) added(adapters, runs);
          std::vector<std::int32_t> equal(static_cast<std::size_t>(rows_), kCount - 1);
          sameness(adapters, equal);
          if (element == Element::f32) break;  // result is f32, too
        }
    refusals();
    return expectations_.report();
  }

 private:
  using OfRow = std::vector<std::int32_t>;

  // Rows of any adapter or none, in runs of up to 20 or each for itself.
  OfRow random_adapters(bool runs) {
    OfRow of_row;
    while (of_row.size() < static_cast<std::size_t>(rows_)) {
      const auto adapter = static_cast<std::int32_t>(engine_() % (kCount + 1)) - 1;
      of_row.insert(of_row.end(), runs ? 1 + engine_() % 20 : 1, adapter);
    }
    of_row.resize(static_cast<std::size_t>(rows_));
    return of_row;
  }

  // Both kernels; y as it comes out, and the inner values.
  std::vector<float> compute(const Adapters& adapters, const OfRow& of_row, const Matrix& x, Matrix& y) {
    const DeviceArray<std::int32_t> device_of(of_row);
    const DeviceArray<float> inner(of_row.size() * kMostRank);
    const cuda::AdapterRows rows = adapters.rows(device_of.data());
    require_done(cuda::adapter_shrink(x.view(), rows, inner.data(), nullptr), "adapter_shrink");
    require_done(cuda::adapter_expand(inner.data(), rows, y.view(), nullptr), "adapter_expand");
    y.download();
    return inner.values();
  }

  void added(const Adapters& adapters, bool runs) {
    const OfRow of_row = random_adapters(runs);
    for (const Placement p : kPlacements) {
      Matrix x(element_, rows_, in_, p.spare, p.shift), y(result_, rows_, out_, p.spare, p.shift);
      x.randomise(engine_, 1.0F);
      y.randomise(engine_, 1.0F);
      for (std::int32_t r = 0; r < rows_; ++r) y.set(r, 0, -0.0F);  // which is another one plus 0
      y.upload();
      Matrix before(result_, rows_, out_);
      for (std::int32_t r = 0; r < rows_; ++r)
        for (std::int32_t o = 0; o < out_; ++o) before.set(r, o, y.get(r, o));
      const std::vector<float> inner = compute(adapters, of_row, x, y);
      for (std::int32_t r = 0; r < rows_; ++r) {
        const std::int32_t adapter = of_row[static_cast<std::size_t>(r)];
        const std::span<const float> mine = std::span(inner).subspan(static_cast<std::size_t>(r) * kMostRank);
        check_inner(adapters, adapter, x, r, mine.first(kMostRank));
        if (Adapters::rank_of(adapter) > 0) {
          check_outputs(adapters, adapter, r, mine, before, y);
        } else {
          expectations_.expect(same_row(before, r, y, r), "row %d has no adapter and changed", r);
        }
      }
      expectations_.expect(y.spare_untouched(), "adapter_expand wrote beside its rows");
    }
    sameness(adapters, of_row);
  }

  void check_inner(const Adapters& adapters, std::int32_t adapter, const Matrix& x, std::int32_t r,
                   std::span<const float> inner) {
    const std::int32_t rank = Adapters::rank_of(adapter);
    for (std::int32_t j = 0; j < kMostRank; ++j) {
      const float got = inner[static_cast<std::size_t>(j)];
      if (j >= rank) {
        expectations_.expect(std::isnan(got), "inner row %d: wrote %d of rank %d", r, j, rank);
        continue;
      }
      double sum = 0, size = 0;
      for (std::int32_t k = 0; k < in_; ++k) {
        const double term =
            static_cast<double>(x.get(r, k)) * static_cast<double>(adapters.down(adapter, j, k));
        sum += term;
        size += std::abs(term);
      }
      const double scale = static_cast<double>(adapters.scale(adapter, j));
      expectations_.expect(
          std::abs(static_cast<double>(got) - scale * sum) <= 2e-6 * std::abs(scale) * size + 1e-30,
          "%s %dx%d inner row %d rank %d: %g, not %g", name_of(element_), rows_, in_, r, j,
          static_cast<double>(got), scale * sum);
    }
  }

  void check_outputs(const Adapters& adapters, std::int32_t adapter, std::int32_t r,
                     std::span<const float> inner, const Matrix& before, const Matrix& y) {
    for (std::int32_t o = 0; o < out_; ++o) {
      double want = static_cast<double>(before.get(r, o)), size = std::abs(want);
      for (std::int32_t j = 0; j < Adapters::rank_of(adapter); ++j) {
        const double term = static_cast<double>(inner[static_cast<std::size_t>(j)]) *
                            static_cast<double>(adapters.up(adapter, j, o));
        want += term;
        size += std::abs(term);
      }
      Tolerance allowed = rounding_of(result_);
      allowed.absolute += 4e-6 * size;
      const double got = static_cast<double>(y.get(r, o));
      expectations_.expect(allowed.holds(got, want), "%s to %s %dx%dx%d row %d output %d: %g, not %g",
                           name_of(element_), name_of(result_), rows_, in_, out_, r, o, got, want);
    }
  }

  bool same_row(const Matrix& a, std::int32_t row, const Matrix& b, std::int32_t other) const {
    for (std::int32_t o = 0; o < out_; ++o)
      if (std::memcmp(a.bytes(row, o), b.bytes(other, o), size_of(result_)) != 0) return false;
    return true;
  }

  // The same rows at other addresses, in the opposite order, and some of them alone.
  void sameness(const Adapters& adapters, const OfRow& of_row) {
    Matrix x(element_, rows_, in_), y(result_, rows_, out_);
    x.randomise(engine_, 1.0F);
    y.randomise(engine_, 1.0F);
    const auto compute_rows = [&](const std::vector<std::int32_t>& rows, Placement p) {
      const auto count = static_cast<std::int32_t>(rows.size());
      Matrix some_x(element_, count, in_, p.spare, p.shift);
      auto some_y = std::make_unique<Matrix>(result_, count, out_, p.spare, p.shift);
      OfRow some_of;
      for (std::int32_t i = 0; i < count; ++i) {
        const std::int32_t r = rows[static_cast<std::size_t>(i)];
        for (std::int32_t k = 0; k < in_; ++k) some_x.set(i, k, x.get(r, k));
        for (std::int32_t o = 0; o < out_; ++o) some_y->set(i, o, y.get(r, o));
        some_of.push_back(of_row[static_cast<std::size_t>(r)]);
      }
      some_x.upload();
      some_y->upload();
      compute(adapters, some_of, some_x, *some_y);
      return some_y;
    };
    std::vector<std::int32_t> order(static_cast<std::size_t>(rows_));
    for (std::int32_t r = 0; r < rows_; ++r) order[static_cast<std::size_t>(r)] = r;
    const auto all = compute_rows(order, {0, 0});
    std::reverse(order.begin(), order.end());
    for (const Placement p : kPlacements) {
      const auto reversed = compute_rows(order, p);
      for (std::int32_t r = 0; r < rows_; ++r)
        expectations_.expect(same_row(*all, r, *reversed, rows_ - 1 - r),
                             "%s %dx%dx%d: row %d is another one elsewhere (spare %d)", name_of(element_),
                             rows_, in_, out_, r, p.spare);
    }
    for (std::int32_t r = 0; r < rows_; r += 1 + rows_ / 6)
      expectations_.expect(same_row(*all, r, *compute_rows({r}, {3, 1}), 0), "%s %dx%dx%d: row %d alone",
                           name_of(element_), rows_, in_, out_, r);
  }

  void refusals() {
    const Adapters adapters(Element::bf16, 8, 8, engine_);
    const DeviceArray<std::int32_t> of_row(OfRow{0});
    const DeviceArray<float> inner(kMostRank);
    const Matrix half(Element::f16, 1, 8), none(Element::bf16, 0, 8);
    const cuda::AdapterRows rows = adapters.rows(of_row.data());
    expectations_.expect(
        cuda::adapter_shrink(half.view(), rows, inner.data(), nullptr) == cudaErrorInvalidValue &&
            cuda::adapter_expand(inner.data(), rows, half.view(), nullptr) == cudaErrorInvalidValue,
        "rows of another element are taken");
    require_done(cuda::adapter_shrink(none.view(), rows, inner.data(), nullptr), "no rows");
    require_done(cuda::adapter_expand(inner.data(), rows, none.view(), nullptr), "no rows");
  }

  std::mt19937 engine_{1};
  std::int32_t rows_ = 0, in_ = 0, out_ = 0;
  Element element_ = Element::f32, result_ = Element::f32;
  Expectations expectations_{"adapter"};
};

}  // namespace

bool adapter_tests() { return AdapterTest().run(); }

}  // namespace baton::gpu
