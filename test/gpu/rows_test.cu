// The operations over rows against a computation in double, for every element, odd sizes, strides and
// alignments.
#include <algorithm>
#include <cmath>
#include <limits>

#include "device_matrix.hpp"
#include "gate_reference.hpp"
#include "kernels/cuda/rope_store.hpp"
#include "kernels/cuda/rows.hpp"

namespace baton::gpu {
namespace {

constexpr Element kActivations[] = {Element::f32, Element::f16, Element::bf16};

// Spare columns and a shift of the first element, both in elements.
struct Placement {
  std::int32_t spare, shift;
};
constexpr Placement kPlacements[] = {{0, 0}, {16, 0}, {3, 1}};

std::vector<float> random_vector(std::size_t count, std::mt19937& engine, float width) {
  std::vector<float> made(count);
  for (float& value : made) value = random_float(engine, width);
  return made;
}

class RowsTest {
 public:
  bool run() {
    for (const Element element : kActivations) {
      for (const Placement placement : kPlacements) {
        copies(element, placement);
        sums(element, placement);
        for (const std::int32_t cols : {1, 7, 64, 100, 288, 3072, 4096, 5000, 8192, 10000, 16384}) {
          norms(element, placement, cols, element);
          norms(element, placement, cols, Element::e4m3);
        }
        for (const cuda::Gate gate : kGates)
          for (const std::int32_t cols : {1, 37, 256, 9216, 20000}) {
            products(gate, element, placement, cols, element);
            products(gate, element, placement, cols, Element::e4m3);
          }
        for (const std::int32_t head_dim : {2, 8, 64, 72, 100, 128, 256, 512})
          for (const Element kv : {Element::f32, Element::f16, Element::bf16, Element::e4m3})
            rotations(element, placement, head_dim, kv);
      }
      independence(element);
      for (const cuda::Gate gate : kGates) extreme_gates(gate, element);
    }
    special_values();
    return expectations_.report();
  }

 private:
  // embed, gather and to_float.
  void copies(Element element, Placement p) {
    const std::vector<std::int32_t> index{8, 0, 3, 3, -1, 5};
    const DeviceArray<std::int32_t> device_index(index);
    const auto rows = static_cast<std::int32_t>(index.size());
    for (const std::int32_t cols : {1, 7, 64, 100, 4096}) {
      for (const Element from : kActivations) {
        Matrix table(from, 9, cols, p.spare, p.shift), y(element, rows, cols, p.spare, p.shift);
        table.randomise(engine_, 3.0F);
        require_done(cuda::embed(table.view(), device_index.data(), y.view(), nullptr), "embed");
        check_copies(table, index, y, "embed");
      }
      Matrix x(element, 9, cols, p.spare, p.shift), y(element, rows, cols, p.spare, p.shift);
      x.randomise(engine_, 3.0F);
      require_done(cuda::gather(x.view(), device_index.data(), y.view(), nullptr), "gather");
      check_copies(x, index, y, "gather");
      Matrix f(Element::f32, 9, cols, p.spare, p.shift);
      require_done(cuda::to_float(x.view(), f.view(), nullptr), "to_float");
      check_copies(x, {0, 1, 2, 3, 4, 5, 6, 7, 8}, f, "to_float");
    }
  }

  void check_copies(const Matrix& from, const std::vector<std::int32_t>& index, Matrix& to,
                    const char* what) {
    to.download();
    std::byte want[4];
    for (std::int32_t r = 0; r < to.rows(); ++r)
      for (std::int32_t c = 0; c < to.cols(); ++c) {
        const std::int32_t source = index[static_cast<std::size_t>(r)];
        encode(to.element(), source < 0 ? 0.0F : from.get(source, c), want);
        expectations_.expect(std::memcmp(want, to.bytes(r, c), size_of(to.element())) == 0,
                             "%s %s row %d column %d", what, name_of(to.element()), r, c);
      }
    expectations_.expect(to.spare_untouched(), "%s wrote beside its rows", what);
  }

  void sums(Element element, Placement p) {
    for (const std::int32_t cols : {1, 7, 64, 100, 4096}) {
      Matrix x(element, 6, cols, p.spare, p.shift), y(element, 6, cols, p.spare, p.shift);
      x.randomise(engine_, 3.0F);
      y.randomise(engine_, 3.0F);
      Matrix sum(element, 6, cols);
      for (std::int32_t r = 0; r < 6; ++r)
        for (std::int32_t c = 0; c < cols; ++c) sum.set(r, c, x.get(r, c) + y.get(r, c));
      require_done(cuda::add(x.view(), y.view(), nullptr), "add");
      check_copies(sum, {0, 1, 2, 3, 4, 5}, x, "add");
    }
  }

  // What `got` should hold, times its row's scale where it is e4m3.
  template <class Want>
  void check(Matrix& got, const DeviceArray<float>& scales, const char* what, Want want) {
    got.download();
    const std::vector<float> scale = scales.values();
    const bool quantised = got.element() == Element::e4m3;
    for (std::int32_t r = 0; r < got.rows(); ++r) {
      double largest = 0;
      for (std::int32_t c = 0; c < got.cols(); ++c) largest = std::max(largest, std::abs(want(r, c)));
      const double factor = quantised ? static_cast<double>(scale[static_cast<std::size_t>(r)]) : 1.0;
      if (quantised) {
        const double ideal = largest > 1e-30 ? largest / 448 : 1.0;
        expectations_.expect(std::abs(factor - ideal) <= 1e-5 * ideal, "%s row %d: scale %g, not %g", what, r,
                             factor, ideal);
      }
      for (std::int32_t c = 0; c < got.cols(); ++c) {
        const double value = static_cast<double>(got.get(r, c));
        expectations_.expect(rounding_of(got.element()).holds(value, want(r, c) / factor),
                             "%s %s of %d columns, row %d column %d: %g, not %g", what,
                             name_of(got.element()), got.cols(), r, c, value, want(r, c) / factor);
      }
    }
    expectations_.expect(got.spare_untouched(), "%s wrote beside its rows", what);
  }

  void norms(Element element, Placement p, std::int32_t cols, Element out) {
    constexpr std::int32_t kRows = 3;
    Matrix x(element, kRows, cols, p.spare, p.shift), added(element, kRows, cols, p.spare, p.shift);
    Matrix alone(out, kRows, cols, p.spare, p.shift), fused(out, kRows, cols, p.spare, p.shift);
    x.randomise(engine_, 3.0F);
    added.randomise(engine_, 2.0F);
    const std::vector<float> weight = random_vector(static_cast<std::size_t>(cols), engine_, 1.5F);
    const DeviceArray<float> device_weight(weight);
    const DeviceArray<float> scales(kRows);
    Matrix sum(element, kRows, cols, p.spare, p.shift);  // as add makes it
    for (std::int32_t r = 0; r < kRows; ++r)
      for (std::int32_t c = 0; c < cols; ++c) sum.set(r, c, x.get(r, c) + added.get(r, c));
    sum.upload();
    const auto want = [&](std::int32_t r, std::int32_t c) {
      if (c == 0) {
        double squares = 0;
        for (std::int32_t i = 0; i < cols; ++i) squares += std::pow(static_cast<double>(sum.get(r, i)), 2);
        root_ = std::sqrt(squares / cols + 1e-5);
      }
      return static_cast<double>(sum.get(r, c)) / root_ *
             static_cast<double>(weight[static_cast<std::size_t>(c)]);
    };
    require_done(
        cuda::rms_norm(sum.view(), device_weight.data(), 1e-5F, alone.view(), scales.data(), nullptr),
        "rms_norm");
    check(alone, scales, "rms_norm", want);
    require_done(cuda::add_rms_norm(x.view(), added.view(), 1.0F, device_weight.data(), 1e-5F, fused.view(),
                                    scales.data(), nullptr),
                 "add_rms_norm");
    check_copies(sum, {0, 1, 2}, x, "add_rms_norm's sum");
    fused.download();
    for (std::int32_t r = 0; r < kRows; ++r)
      expectations_.expect(std::memcmp(alone.bytes(r, 0), fused.bytes(r, 0),
                                       static_cast<std::size_t>(cols) * size_of(out)) == 0,
                           "add_rms_norm is not add, then rms_norm: %s, %d columns", name_of(out), cols);
  }

  static double gated(cuda::Gate gate, const Matrix& x, std::int32_t r, std::int32_t c) {
    return opened(gate, static_cast<double>(x.get(r, c))) *
           passed(gate, static_cast<double>(x.get(r, x.cols() / 2 + c)));
  }

  void products(cuda::Gate gate, Element element, Placement p, std::int32_t cols, Element out) {
    Matrix x(element, 3, 2 * cols, p.spare, p.shift), y(out, 3, cols, p.spare, p.shift);
    x.randomise(engine_, gate == cuda::Gate::clamped_silu                   ? 12.0F
                         : gate == cuda::Gate::silu && out != Element::e4m3 ? 120.0F
                                                                            : 4.0F);
    const DeviceArray<float> scales(3);
    require_done(cuda::gate_mul(gate, x.view(), y.view(), scales.data(), nullptr), "gate_mul");
    check(y, scales, name_of(gate), [&](std::int32_t r, std::int32_t c) { return gated(gate, x, r, c); });
  }

  // Where powers overflow or vanish, at the edges of what is clamped, and NaN, which stays NaN.
  void extreme_gates(cuda::Gate gate, Element element) {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    const std::pair<float, float> pairs[] = {
        {0.0F, 5.0F},    {-0.0F, 5.0F},    {1e4F, 1.5F},  {-1e4F, 1.5F},     {1e4F, -2.0F},    {-1e4F, -2.0F},
        {1.0F, 1e4F},    {-1.0F, 1e4F},    {1.0F, -1e4F}, {-90.0F, 1e4F},    {90.0F, 90.0F},   {-88.2F, 3.0F},
        {-100.0F, 3.0F}, {-11.0F, 1e4F},   {7.0F, 7.0F},  {7.03125F, 2.0F},  {7.5F, 7.5F},     {-7.5F, 7.5F},
        {7.5F, -7.5F},   {2.0F, 7.03125F}, {2.0F, -7.0F}, {2.0F, -7.03125F}, {-20.0F, -20.0F}, {kNan, 1.0F},
        {1.0F, kNan},    {kNan, kNan}};
    constexpr auto kCols = static_cast<std::int32_t>(std::size(pairs));
    Matrix x(element, 1, 2 * kCols), y(element, 1, kCols);
    for (std::int32_t c = 0; c < kCols; ++c) {
      x.set(0, c, pairs[c].first);
      x.set(0, kCols + c, pairs[c].second);
    }
    x.upload();
    require_done(cuda::gate_mul(gate, x.view(), y.view(), nullptr, nullptr), "gate_mul");
    y.download();
    for (std::int32_t c = 0; c < kCols; ++c) {
      const double want = gated(gate, x, 0, c), got = static_cast<double>(y.get(0, c));
      expectations_.expect(std::isnan(want) ? std::isnan(got) : rounding_of(element).holds(got, want),
                           "%s %s of %g and %g: %g, not %g", name_of(gate), name_of(element),
                           static_cast<double>(pairs[c].first), static_cast<double>(pairs[c].second), got,
                           want);
    }
  }

  // The same bits for a row among many, alone, and at another address.
  void independence(Element element) {
    constexpr std::int32_t kRows = 3000, kCols = 4096;
    Matrix x(element, kRows, kCols), y(element, kRows, kCols), one(element, 1, kCols, 0, 1);
    x.randomise(engine_, 3.0F);
    const DeviceArray<float> weight(random_vector(kCols, engine_, 1.5F));
    require_done(cuda::rms_norm(x.view(), weight.data(), 1e-5F, y.view(), nullptr, nullptr), "rms_norm");
    y.download();
    for (const std::int32_t r : {0, 1, 527, 528, 529, 1700, kRows - 1}) {
      cuda::Rows row = x.view();
      row.data =
          static_cast<std::byte*>(row.data) + r * row.stride * static_cast<std::int64_t>(size_of(element));
      row.rows = 1;
      require_done(cuda::rms_norm(row, weight.data(), 1e-5F, one.view(), nullptr, nullptr), "rms_norm");
      one.download();
      expectations_.expect(std::memcmp(one.bytes(0, 0), y.bytes(r, 0), kCols * size_of(element)) == 0,
                           "rms_norm of row %d alone is not the same", r);
    }
  }

  // rope_store with and without norms, rope and store_kv, for a step of three sequences and two idle rows.
  void rotations(Element element, Placement p, std::int32_t head_dim, Element stored) {
    constexpr std::int32_t kQueryHeads = 5, kKvHeads = 2, kBlock = 8, kBlocks = 16, kPositions = 40,
                           kRows = 13;
    const std::vector<cuda::SequenceEntry> sequences{{0, 6, 5, 0}, {6, 1, 17, 2}, {7, 4, 0, 5}};
    const std::vector<std::int32_t> table{3, 9, 14, 1, 7, 11};
    std::vector<std::int32_t> positions(kRows, -1), sequence_of(kRows, 0);
    for (std::size_t s = 0; s < sequences.size(); ++s)
      for (std::int32_t i = 0; i < sequences[s].rows; ++i) {
        positions[static_cast<std::size_t>(sequences[s].first_row + i)] = sequences[s].first_position + i;
        sequence_of[static_cast<std::size_t>(sequences[s].first_row + i)] = static_cast<std::int32_t>(s);
      }
    const DeviceArray<cuda::SequenceEntry> device_sequences(sequences);
    const DeviceArray<std::int32_t> device_table(table), device_positions(positions), device_of(sequence_of);
    const std::int32_t half = head_dim / 2;
    std::vector<float2> cos_sin;
    for (std::int32_t position = 0; position < kPositions; ++position)
      for (std::int32_t i = 0; i < half; ++i) {
        const double angle = position * std::pow(10000.0, -2.0 * i / head_dim);
        cos_sin.push_back(
            {static_cast<float>(1.25 * std::cos(angle)), static_cast<float>(1.25 * std::sin(angle))});
      }
    const DeviceArray<float2> device_cos_sin(cos_sin);
    const std::vector<float> query_norm = random_vector(static_cast<std::size_t>(head_dim), engine_, 1.5F);
    const std::vector<float> key_norm = random_vector(static_cast<std::size_t>(head_dim), engine_, 1.5F);
    const DeviceArray<float> device_query_norm(query_norm), device_key_norm(key_norm);

    // [block][keys, values][head][token][head_dim]
    const std::int64_t piece = kBlock * head_dim * static_cast<std::int64_t>(size_of(stored));
    DeviceArray<std::byte> cache(static_cast<std::size_t>(kBlocks * 2 * kKvHeads * piece));
    cuda::RopeStore fused;
    fused.query_heads = kQueryHeads;
    fused.cos_sin = device_cos_sin.data();
    fused.step = {device_positions.data(), device_of.data(), device_sequences.data(), device_table.data()};
    fused.kv = {cache.data(), 2 * kKvHeads * piece, piece, kKvHeads * piece, kKvHeads, head_dim, kBlock,
                stored};

    const std::int32_t cols = (kQueryHeads + 2 * kKvHeads) * head_dim;
    for (const int way : {0, 1, 2}) {  // fused with norms, fused without, apart
      Matrix qkv(element, kRows, cols, p.spare, p.shift);
      qkv.randomise(engine_, 3.0F);
      Matrix before(element, kRows, cols);
      for (std::int32_t r = 0; r < kRows; ++r)
        for (std::int32_t c = 0; c < cols; ++c) before.set(r, c, qkv.get(r, c));
      cache.poison();
      if (way < 2) {
        fused.qkv = qkv.view();
        fused.query_norm = way == 0 ? device_query_norm.data() : nullptr;
        fused.key_norm = way == 0 ? device_key_norm.data() : nullptr;
        require_done(cuda::rope_store(fused, nullptr), "rope_store");
      } else {
        cuda::Rows rotated = qkv.view(), k = qkv.view(), v = qkv.view();
        const auto bytes = static_cast<std::int64_t>(head_dim) * static_cast<std::int64_t>(size_of(element));
        rotated.cols = (kQueryHeads + kKvHeads) * head_dim;
        k.cols = v.cols = kKvHeads * head_dim;
        k.data = static_cast<std::byte*>(k.data) + kQueryHeads * bytes;
        v.data = static_cast<std::byte*>(v.data) + (kQueryHeads + kKvHeads) * bytes;
        require_done(cuda::rope(rotated, head_dim, device_positions.data(), device_cos_sin.data(), nullptr),
                     "rope");
        require_done(cuda::store_kv(k, v, fused.step, fused.kv, nullptr), "store_kv");
      }
      qkv.download();
      const std::vector<std::byte> got = cache.values();
      std::size_t stored_bytes = 0;
      for (std::int32_t r = 0; r < kRows; ++r) {
        const std::int32_t position = positions[static_cast<std::size_t>(r)];
        for (std::int32_t h = 0; h < kQueryHeads + 2 * kKvHeads; ++h) {
          const bool is_query = h < kQueryHeads, is_value = h >= kQueryHeads + kKvHeads;
          const std::vector<float>& norm = is_query ? query_norm : key_norm;
          double inverse = 1;
          if (way == 0 && !is_value) {
            double squares = 0;
            for (std::int32_t i = 0; i < head_dim; ++i)
              squares += std::pow(static_cast<double>(before.get(r, h * head_dim + i)), 2);
            inverse = 1 / std::sqrt(squares / head_dim + 1e-6);
          }
          const auto input = [&](std::int32_t i) {
            const double x = static_cast<double>(before.get(r, h * head_dim + i));
            return way == 0 && !is_value
                       ? x * inverse * static_cast<double>(norm[static_cast<std::size_t>(i)])
                       : x;
          };
          for (std::int32_t i = 0; i < head_dim; ++i) {
            if (position < 0) {
              expectations_.expect(qkv.get(r, h * head_dim + i) == before.get(r, h * head_dim + i),
                                   "rope changed an idle row");
              continue;
            }
            const float2 turn = cos_sin[static_cast<std::size_t>(position * half + i % half)];
            const double c = static_cast<double>(turn.x), s = static_cast<double>(turn.y);
            const double want = is_value   ? input(i)
                                : i < half ? input(i) * c - input(i + half) * s
                                           : input(i) * c + input(i - half) * s;
            double value = static_cast<double>(qkv.get(r, h * head_dim + i));
            Tolerance tolerance = rounding_of(element);
            if (!is_query) {
              const cuda::SequenceEntry& sequence = sequences[static_cast<std::size_t>(sequence_of[r])];
              const std::int32_t block =
                  table[static_cast<std::size_t>(sequence.table_offset + position / kBlock)];
              const std::int32_t kv_head = is_value ? h - kQueryHeads - kKvHeads : h - kQueryHeads;
              const std::int64_t at =
                  (block * 2 + (is_value ? 1 : 0)) * kKvHeads * piece + kv_head * piece +
                  ((position % kBlock) * head_dim + i) * static_cast<std::int64_t>(size_of(stored));
              value = static_cast<double>(decode(stored, got.data() + at));
              stored_bytes += size_of(stored);
              tolerance = rounding_of(stored);
              if (way == 2) tolerance.relative += rounding_of(element).relative;  // rounded on the way
            }
            tolerance.absolute += 4e-6;
            if (way == 2 && !is_query) tolerance.absolute += 8 * rounding_of(element).relative * 0.1;
            expectations_.expect(
                tolerance.holds(value, want),
                "rope_store way %d, %s to %s, head_dim %d, row %d head %d element %d: %g, not %g", way,
                name_of(element), name_of(stored), head_dim, r, h, i, value, want);
          }
        }
      }
      const auto untouched = static_cast<std::size_t>(std::count(got.begin(), got.end(), std::byte{0xff}));
      expectations_.expect(untouched >= got.size() - stored_bytes, "rope_store wrote beside its slots");
    }
  }

  // Rounding to nearest even, infinities and NaN, as the contract of Ops::store_kv has it.
  void special_values() {
    const std::uint32_t bits[8] = {0x3F808000, 0x3F818000, 0x3F808001, 0x7F800000,
                                   0xFF800000, 0x7F800001, 0x80000000, 0x7F7FFFFF};
    const std::uint16_t want[8] = {0x3F80, 0x3F82, 0x3F81, 0x7F80, 0xFF80, 0x7FC0, 0x8000, 0x7F80};
    const std::vector<std::int32_t> zero{0}, position{3};
    const std::vector<cuda::SequenceEntry> sequence{{0, 1, 3, 0}};
    const DeviceArray<std::int32_t> device_zero(zero), device_position(position);
    const DeviceArray<cuda::SequenceEntry> device_sequence(sequence);
    std::vector<float> values(8);
    std::memcpy(values.data(), bits, sizeof bits);
    const DeviceArray<float> k(values);
    const cuda::StepTables step{device_position.data(), device_zero.data(), device_sequence.data(),
                                device_zero.data()};
    const cuda::ConstRows rows{k.data(), 8, 1, 8, Element::f32};
    DeviceArray<std::uint16_t> cache(2 * 8 * 8);
    const cuda::PagedKv kv{reinterpret_cast<std::byte*>(cache.data()), 256, 128, 128, 1, 8, 8, Element::bf16};
    require_done(cuda::store_kv(rows, rows, step, kv, nullptr), "store_kv");
    const std::vector<std::uint16_t> got = cache.values();
    for (std::size_t i = 0; i < 8; ++i) {
      expectations_.expect(got[3 * 8 + i] == want[i], "store_kv: key %zu is %x", i, got[3 * 8 + i]);
      expectations_.expect(got[64 + 3 * 8 + i] == want[i], "store_kv: value %zu is %x", i,
                           got[64 + 3 * 8 + i]);
    }
  }

  std::mt19937 engine_{1};
  double root_ = 1;
  Expectations expectations_{"rows"};
};

}  // namespace

bool rows_tests() { return RowsTest().run(); }

}  // namespace baton::gpu
