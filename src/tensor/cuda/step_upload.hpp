// StepUpload: a Batch in device memory, at addresses that stay where they are until a larger batch makes them
// move.
//
// Everything goes over in one copy (and one for each further group of KV blocks), from pinned memory, in
// stream order. Two host images take turns, so that the host may prepare a step while the copy of the one
// before is still to come.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "baton/tensor/batch.hpp"
#include "baton/tensor/buffer.hpp"
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/step.hpp"

namespace baton {

class StepUpload {
 public:
  StepUpload(Device device, cudaStream_t stream);
  ~StepUpload();
  StepUpload(const StepUpload&) = delete;
  StepUpload& operator=(const StepUpload&) = delete;

  // Of those layers whose attention has one, or cuda::kNoWindow. Counts from the next upload on.
  void set_window(std::int32_t window) { window_ = window; }
  std::int32_t window() const { return window_; }

  void upload(const Batch& batch);

  // Valid until the next upload; as addresses, for as long as generation() stays the same.
  cuda::StepTables tables(std::int32_t group = 0) const;
  const std::int32_t* tokens() const { return at(at_.tokens); }
  const std::int32_t* logit_rows() const { return at(at_.logit_rows); }
  const std::int32_t* adapters() const { return at(at_.adapters); }
  const std::int32_t* logit_adapters() const { return at(at_.logit_adapters); }
  // Work of decode attention: rows of sequences that have one row in this step. What layers with a window
  // have to do has a list of its own, which is never longer.
  const cuda::DecodeItem* decode_items(bool windowed) const {
    return reinterpret_cast<const cuda::DecodeItem*>(at(windowed ? at_.windowed_items : at_.items));
  }
  const std::int32_t* decode_item_count(bool windowed) const {
    return at(at_.item_counts) + (windowed ? 1 : 0);
  }
  // Work of prefill attention: the other sequences. Heaviest first.
  const cuda::PrefillTile* prefill_tiles() const {
    return reinterpret_cast<const cuda::PrefillTile*>(at(at_.tiles));
  }
  std::int32_t prefill_tile_count() const { return static_cast<std::int32_t>(tiles_here_.size()); }
  std::int32_t decode_item_capacity() const { return static_cast<std::int32_t>(capacity_.items); }
  bool has_decode_rows() const { return !items_here_.empty(); }
  std::uint64_t generation() const { return generation_; }

 private:
  struct Capacity {
    std::size_t rows = 0, sequences = 0, items = 0, tiles = 0, table = 0, groups = 0;  // tables
    bool windowed = false;  // a second list of items
    bool holds(const Capacity& wanted) const;
  };
  struct Places {  // offsets of the parts, in words
    std::size_t tokens = 0, positions = 0, sequence_of = 0, logit_rows = 0, adapters = 0, logit_adapters = 0,
                sequences = 0, item_counts = 0, items = 0, windowed_items = 0, tiles = 0, table = 0,
                table_stride = 0,  // from one group's to the next
        words = 0;
  };
  struct Image {
    std::int32_t* data = nullptr;  // pinned
    cudaEvent_t copied = nullptr;
  };

  Capacity needed(const Batch& batch);
  void grow(const Capacity& wanted);
  static Places place(const Capacity& capacity);
  void free_images();
  void fill(const Batch& batch, std::int32_t* image) const;
  void copy(const Image& image, std::size_t first, std::size_t words);
  const std::int32_t* at(std::size_t offset) const {
    return reinterpret_cast<const std::int32_t*>(device_memory_.data()) + offset;
  }

  Device device_;
  cudaStream_t stream_;
  Buffer device_memory_;
  Image images_[2];
  int turn_ = 0;
  std::uint64_t generation_ = 0;
  Capacity capacity_;
  Places at_;
  std::int32_t window_ = cuda::kNoWindow;
  std::vector<cuda::DecodeItem> items_here_, windowed_items_here_;
  std::vector<cuda::PrefillTile> tiles_here_;
};

}  // namespace baton
