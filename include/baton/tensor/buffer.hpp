// Buffer: owned device memory. The only owner of bytes that tensors, KV views and packed weights look into.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "baton/base/result.hpp"
#include "baton/tensor/dtype.hpp"

namespace baton {

struct BufferOptions {
  bool huge_pages =
      false;  // ask the kernel for huge pages (madvise); silently ordinary pages where it declines
};

class Buffer {
 public:
  Buffer() = default;
  // Zero-filled, aligned to 64 bytes at least. out_of_memory where the system or the device has not enough.
  static Result<Buffer> allocate(Device device, std::size_t bytes, BufferOptions options = {});

  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return data_ ? data_.get_deleter().bytes : 0; }
  Device device() const { return data_.get_deleter().device; }

 private:
  struct Release {
    std::size_t bytes;
    Device device;
    void operator()(std::byte* data) const;
  };
  std::unique_ptr<std::byte, Release> data_;
};

// Between host memory and `on_device`, memory of that device. Returns when it is done.
Result<void> copy_to_host(Device device, const std::byte* on_device, std::span<std::byte> host);
Result<void> copy_from_host(std::span<const std::byte> host, Device device, std::byte* on_device);

}  // namespace baton
