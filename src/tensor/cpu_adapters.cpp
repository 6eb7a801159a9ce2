#include "cpu_adapters.hpp"

#include "adapters.hpp"
#include "cpu_linear.hpp"
#include "cpu_ops.hpp"

namespace baton {
namespace {

// Where the rows of one adapter are among others: one after the other, or anywhere.
bool consecutive(std::span<const std::int32_t> rows) {
  return rows.back() - rows.front() + 1 == static_cast<std::int32_t>(rows.size());
}

Tensor rows_from(const Tensor& x, std::int32_t first, std::int64_t count) {
  Tensor part = x;
  part.data = static_cast<float*>(x.data) + first * x.stride;
  part.rows = count;
  return part;
}

}  // namespace

Result<Linear> CpuOps::adapt(const Linear& weight, std::span<const AdapterView> adapters) {
  if (auto fits = check_adapters(weight.out(), weight.in(), adapters); !fits) return std::move(fits).error();
  auto packed = std::make_shared<CpuAdapters>();
  for (const AdapterView& view : adapters) {
    CpuAdapters::Adapter& adapter = packed->adapters.emplace_back();
    if (!view.down.data) continue;
    auto down = pack_matrix({&view.down, 1}, kernels_, pool_);
    if (!down) return std::move(down).error();
    auto up = pack_matrix({&view.up, 1}, kernels_, pool_);
    if (!up) return std::move(up).error();
    adapter = {*std::move(down), *std::move(up), {view.scales.begin(), view.scales.end()}};
  }
  return Linear(weight, std::move(packed));
}

// By adapter, since a product is worth its while with many rows. A row's result does not show it: products of
// any number of rows have one order.
void CpuOps::add_adapters(const Tensor& x, const Linear& weight, const Tensor& y) {
  if (!weight.adapters() || !batch_) return;
  const std::span<const std::int32_t> of_row = batch_->adapters_of(x.rows);
  const auto& packed = static_cast<const CpuAdapters&>(*weight.adapters());
  std::vector<std::int32_t> rows;
  for (std::size_t i = 0; i < packed.adapters.size(); ++i) {
    if (!packed.adapters[i].down) continue;
    rows.clear();
    for (std::size_t row = 0; row < of_row.size(); ++row)
      if (of_row[row] == static_cast<std::int32_t>(i)) rows.push_back(static_cast<std::int32_t>(row));
    if (!rows.empty()) add_adapter(packed.adapters[i], x, rows, y);
  }
}

void CpuOps::add_adapter(const CpuAdapters::Adapter& adapter, const Tensor& x,
                         std::span<const std::int32_t> rows, const Tensor& y) {
  const std::size_t mark = workspace_.mark();
  const Tensor mine = consecutive(rows) ? rows_from(x, rows.front(), static_cast<std::int64_t>(rows.size()))
                                        : gather_rows(x, rows);
  const Tensor inner = product(mine, adapter.down);  // [rows, rank]
  for (std::int64_t row = 0; row < inner.rows; ++row) {
    float* const values = static_cast<float*>(inner.data) + row * inner.stride;
    for (std::size_t i = 0; i < adapter.scales.size(); ++i) values[i] *= adapter.scales[i];
  }
  const Tensor added = product(inner, adapter.up);  // [rows, out]
  for_rows(added.rows, added.cols, [&](std::int64_t row) {
    const std::int64_t to = rows[static_cast<std::size_t>(row)];
    kernels_.add(static_cast<float*>(y.data) + to * y.stride,
                 static_cast<const float*>(added.data) + row * added.stride, 1.0F, added.cols);
  });
  workspace_.release(mark);
}

}  // namespace baton
