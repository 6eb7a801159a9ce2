#include "step_upload.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include "runtime.hpp"

namespace baton {
namespace {

constexpr std::size_t kWordsPerItem = sizeof(cuda::DecodeItem) / sizeof(std::int32_t);
constexpr std::size_t kWordsPerTile = sizeof(cuda::PrefillTile) / sizeof(std::int32_t);
constexpr std::size_t kWordsPerSequence = sizeof(cuda::SequenceEntry) / sizeof(std::int32_t);

template <class Values>
void put(std::int32_t* image, std::size_t offset, const Values& values) {
  if (!values.empty()) std::memcpy(image + offset, values.data(), std::span(values).size_bytes());
}

}  // namespace

StepUpload::StepUpload(Device device, cudaStream_t stream) : device_(device), stream_(stream) {
  for (Image& image : images_)
    require(cudaEventCreateWithFlags(&image.copied, cudaEventDisableTiming), "cannot make an event");
}

StepUpload::~StepUpload() {
  free_images();
  for (Image& image : images_) cudaEventDestroy(image.copied);
}

void StepUpload::free_images() {
  for (Image& image : images_) {
    cudaFreeHost(image.data);
    image.data = nullptr;
  }
}

bool StepUpload::Capacity::holds(const Capacity& wanted) const {
  return rows >= wanted.rows && sequences >= wanted.sequences && items >= wanted.items &&
         tiles >= wanted.tiles && table >= wanted.table && groups >= wanted.groups &&
         windowed >= wanted.windowed;
}

// Lists the attention work on the way. A sequence of a padding row has a negative position: no work.
StepUpload::Capacity StepUpload::needed(const Batch& batch) {
  const bool windowed = window_ != cuda::kNoWindow;
  items_here_.clear();
  windowed_items_here_.clear();
  tiles_here_.clear();
  for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceRows& sequence = batch.sequences[s];
    if (sequence.first_position < 0) continue;
    if (sequence.rows == 1) {
      const std::int32_t position = sequence.first_position,
                         seen = cuda::first_seen(position, window_) / cuda::kSplitTokens;
      for (std::int32_t split = 0; split <= position / cuda::kSplitTokens; ++split) {
        items_here_.push_back({sequence.first_row, split});
        if (windowed && split >= seen) windowed_items_here_.push_back({sequence.first_row, split});
      }
      continue;
    }
    for (std::int32_t row = 0; row < sequence.rows; row += cuda::kPrefillTileRows)
      tiles_here_.push_back({static_cast<std::int32_t>(s), row});
  }
  const auto reach = [&](const cuda::PrefillTile& tile) {
    return batch.sequences[static_cast<std::size_t>(tile.sequence)].first_position + tile.first_row;
  };
  std::stable_sort(tiles_here_.begin(), tiles_here_.end(),
                   [&](const auto& a, const auto& b) { return reach(a) > reach(b); });
  return {batch.tokens.size(),
          batch.sequences.size(),
          items_here_.size(),
          tiles_here_.size(),
          batch.table_size(),
          static_cast<std::size_t>(batch.kv_groups),
          windowed};
}

// Nothing changes where an allocation fails.
void StepUpload::grow(const Capacity& wanted) {
  require(cudaStreamSynchronize(stream_), "waiting for the step before");
  const auto larger = [](std::size_t have, std::size_t want) {
    return want <= have ? have : std::max(want, have * 2);
  };
  const Capacity capacity{larger(std::max<std::size_t>(capacity_.rows, 512), wanted.rows),
                          larger(std::max<std::size_t>(capacity_.sequences, 256), wanted.sequences),
                          larger(std::max<std::size_t>(capacity_.items, 4096), wanted.items),
                          larger(std::max<std::size_t>(capacity_.tiles, 256), wanted.tiles),
                          larger(std::max<std::size_t>(capacity_.table, 32768), wanted.table),
                          std::max(capacity_.groups, wanted.groups),
                          wanted.windowed};
  const Places places = place(capacity);
  const std::size_t bytes = places.words * sizeof(std::int32_t);
  auto memory = Buffer::allocate(device_, bytes);
  if (!memory) throw std::bad_alloc();
  void* pinned[2] = {};
  for (void*& image : pinned) {
    if (const cudaError_t made = cudaMallocHost(&image, bytes); made != cudaSuccess) {
      cudaFreeHost(pinned[0]);
      require(made, "no pinned memory for a step");
    }
    std::memset(image, 0, bytes);
  }
  free_images();
  for (std::size_t i = 0; i < 2; ++i) images_[i].data = static_cast<std::int32_t*>(pinned[i]);
  device_memory_ = *std::move(memory);
  capacity_ = capacity;
  at_ = places;
  ++generation_;
}

StepUpload::Places StepUpload::place(const Capacity& capacity) {
  Places places;
  const auto next = [&](std::size_t size) {
    const std::size_t offset = places.words;
    places.words += (size + 63) / 64 * 64;  // parts start at multiples of 256 bytes
    return offset;
  };
  places.tokens = next(capacity.rows);
  places.positions = next(capacity.rows);
  places.sequence_of = next(capacity.rows);
  places.logit_rows = next(capacity.rows);
  places.adapters = next(capacity.rows);
  places.logit_adapters = next(capacity.rows);
  places.sequences = next(capacity.sequences * kWordsPerSequence);
  places.item_counts = next(2);
  places.items = next(capacity.items * kWordsPerItem);
  places.windowed_items = next(capacity.windowed ? capacity.items * kWordsPerItem : 0);
  places.tiles = next(capacity.tiles * kWordsPerTile);
  places.table = next(capacity.table);  // last: only what is used of them is copied
  places.table_stride = places.words - places.table;
  for (std::size_t group = 1; group < capacity.groups; ++group) next(capacity.table);
  return places;
}

void StepUpload::fill(const Batch& batch, std::int32_t* image) const {
  put(image, at_.tokens, batch.tokens);
  put(image, at_.positions, batch.positions);
  put(image, at_.logit_rows, batch.logit_rows);
  put(image, at_.adapters, batch.adapters);
  put(image, at_.logit_adapters, batch.logit_adapters);
  std::int32_t* const sequence_of = image + at_.sequence_of;
  auto* const entries = reinterpret_cast<cuda::SequenceEntry*>(image + at_.sequences);
  for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceRows& sequence = batch.sequences[s];
    entries[s] = {sequence.first_row, sequence.rows, sequence.first_position, sequence.block_table_offset};
    std::fill_n(sequence_of + sequence.first_row, sequence.rows, static_cast<std::int32_t>(s));
  }
  image[at_.item_counts] = static_cast<std::int32_t>(items_here_.size());
  image[at_.item_counts + 1] = static_cast<std::int32_t>(windowed_items_here_.size());
  put(image, at_.items, items_here_);
  put(image, at_.windowed_items, windowed_items_here_);
  put(image, at_.tiles, tiles_here_);
  for (std::int32_t group = 0; group < batch.kv_groups; ++group)
    put(image, at_.table + static_cast<std::size_t>(group) * at_.table_stride, batch.table_of(group));
}

void StepUpload::copy(const Image& image, std::size_t first, std::size_t words) {
  if (words == 0) return;
  auto* const to = reinterpret_cast<std::int32_t*>(device_memory_.data()) + first;
  require(
      cudaMemcpyAsync(to, image.data + first, words * sizeof(std::int32_t), cudaMemcpyHostToDevice, stream_),
      "cannot upload a step");
}

void StepUpload::upload(const Batch& batch) {
  if (const Capacity wanted = needed(batch); device_memory_.size() == 0 || !capacity_.holds(wanted))
    grow(wanted);
  Image& image = images_[turn_];
  turn_ = 1 - turn_;
  require(cudaEventSynchronize(image.copied), "waiting for an upload");
  fill(batch, image.data);
  copy(image, 0, at_.table + batch.table_size());
  for (std::int32_t group = 1; group < batch.kv_groups; ++group)
    copy(image, at_.table + static_cast<std::size_t>(group) * at_.table_stride, batch.table_size());
  require(cudaEventRecord(image.copied, stream_), "cannot record an event");
}

cuda::StepTables StepUpload::tables(std::int32_t group) const {
  return {at(at_.positions), at(at_.sequence_of),
          reinterpret_cast<const cuda::SequenceEntry*>(at(at_.sequences)),
          at(at_.table + static_cast<std::size_t>(group) * at_.table_stride)};
}

}  // namespace baton
