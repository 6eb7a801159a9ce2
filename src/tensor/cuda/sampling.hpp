// DeviceSampler: Ops::sample on the GPU. The rows' parameters go over in one copy; token ids come back in
// one.
#pragma once

#include <cuda_runtime_api.h>

#include <span>
#include <vector>

#include "baton/tensor/buffer.hpp"
#include "baton/tensor/sampling.hpp"
#include "baton/tensor/tensor.hpp"
#include "kernels/cuda/sample.hpp"

namespace baton {

class DeviceSampler {
 public:
  DeviceSampler(Device device, cudaStream_t stream) : device_(device), stream_(stream) {}
  ~DeviceSampler();
  DeviceSampler(const DeviceSampler&) = delete;
  DeviceSampler& operator=(const DeviceSampler&) = delete;

  static bool can(const Tensor& logits, std::span<const RowSampling> rows);
  // Waits for the tokens. Changes `logits`.
  std::vector<RowSample> sample(const Tensor& logits, std::span<const RowSampling> rows);

 private:
  // Parts of one range of memory, on the host and on the device alike.
  struct Layout {
    std::size_t rows = 0, bias = 0, counts = 0, banned = 0, masks = 0;  // offsets
    std::size_t input = 0;                                              // bytes to send
    std::size_t tokens = 0, edges = 0, logprobs = 0, top_tokens = 0, top_logprobs = 0, end = 0;
  };
  Layout plan(std::span<const RowSampling> rows, std::size_t mask_bytes) const;
  void reserve(std::size_t bytes, std::int32_t rows, std::int32_t vocab);
  void fill(const Layout& layout, std::span<const RowSampling> rows);
  void fill_masks(const Layout& layout, std::span<const RowSampling> rows, std::size_t words);
  std::vector<RowSample> collect(const Layout& layout, std::span<const RowSampling> rows,
                                 bool logprobs) const;
  template <class T>
  T* host(std::size_t offset) const {
    return reinterpret_cast<T*>(host_ + offset);
  }
  template <class T>
  T* device(std::size_t offset) const {
    return reinterpret_cast<T*>(memory_.data() + offset);
  }

  const Device device_;
  const cudaStream_t stream_;
  std::byte* host_ = nullptr;  // pinned, as large as memory_
  Buffer memory_;
  Buffer workspace_;
  std::int32_t max_rows_ = 0;
  std::int32_t vocab_ = 0;
};

}  // namespace baton
