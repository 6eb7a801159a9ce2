#include "adapters.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "linear.hpp"
#include "runtime.hpp"

namespace baton {
namespace {

// What becomes the weight's piece of device memory; parts begin at multiples of 256 bytes.
class Image {
 public:
  std::size_t append(std::span<const std::byte> part) {
    const std::size_t offset = (bytes_.size() + 255) / 256 * 256;
    bytes_.resize(offset + part.size());
    std::memcpy(bytes_.data() + offset, part.data(), part.size());
    return offset;
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Offsets in the image.
struct Parts {
  std::size_t down = 0, up = 0, scales = 0;
  std::int32_t rank = 0;
};

// [rows, cols] to [cols, rows].
std::vector<std::byte> transposed(const std::vector<std::byte>& values, std::int64_t rows, std::int64_t cols,
                                  std::size_t element) {
  std::vector<std::byte> made(values.size());
  const auto height = static_cast<std::size_t>(rows), width = static_cast<std::size_t>(cols);
  for (std::size_t row = 0; row < height; ++row)
    for (std::size_t col = 0; col < width; ++col)
      std::memcpy(made.data() + (col * height + row) * element, values.data() + (row * width + col) * element,
                  element);
  return made;
}

Result<Parts> append_adapter(const AdapterView& view, DType compute, Image& image) {
  for (const WeightView* matrix : {&view.down, &view.up})
    if (auto checked = check_weights({matrix, 1}); !checked) return std::move(checked).error();
  Parts parts;
  parts.rank = static_cast<std::int32_t>(view.down.out);
  parts.down = image.append(expanded(view.down, compute));
  parts.up = image.append(transposed(expanded(view.up, compute), view.up.out, view.up.in, size_of(compute)));
  parts.scales = image.append(std::as_bytes(view.scales));
  return parts;
}

}  // namespace

Result<std::shared_ptr<const CudaAdapters>> pack_adapters_on_gpu(Device device,
                                                                 std::span<const AdapterView> adapters,
                                                                 DType compute) {
  std::vector<cuda::AdapterEntry> entries(adapters.size());
  std::vector<Parts> parts(adapters.size());
  auto packed = std::make_shared<CudaAdapters>();
  packed->element = element_on_gpu(compute);
  Image image;
  image.append(std::as_bytes(std::span(entries)));  // their place
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    if (!adapters[i].down.data) continue;
    auto appended = append_adapter(adapters[i], compute, image);
    if (!appended) return std::move(appended).error();
    parts[i] = *appended;
    packed->most_rank = std::max(packed->most_rank, parts[i].rank);
  }
  if (packed->most_rank == 0) return std::shared_ptr<const CudaAdapters>();
  auto memory = Buffer::allocate(device, image.bytes().size());
  if (!memory) return std::move(memory).error();
  packed->memory = *std::move(memory);
  const std::byte* const base = packed->memory.data();
  for (std::size_t i = 0; i < adapters.size(); ++i)
    if (parts[i].rank > 0)
      entries[i] = {base + parts[i].down, base + parts[i].up,
                    reinterpret_cast<const float*>(base + parts[i].scales), parts[i].rank};
  std::memcpy(image.bytes().data(), entries.data(), std::span(entries).size_bytes());
  const CurrentDevice current(device.index);
  if (auto copied = copy_to_gpu(image.bytes(), packed->memory.data()); !copied)
    return std::move(copied).error();
  return std::shared_ptr<const CudaAdapters>(std::move(packed));
}

}  // namespace baton
