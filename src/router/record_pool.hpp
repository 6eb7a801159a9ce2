// RecordPool: records of equally many words, named by small integers that stay valid however many follow.
// Records lie in chunks that are allocated one at a time, so growing never copies.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "router/memory_budget.hpp"

namespace baton {

template <class Word>
class RecordPool {
 public:
  RecordPool(std::size_t words, MemoryBudget& budget) : words_(words), budget_(budget) {}

  // All words zero; nothing where the budget is spent.
  std::optional<std::uint32_t> allocate() {
    if (free_ == kNone && !add_chunk()) return std::nullopt;
    const std::uint32_t index = free_;
    Word* record = words_of(index);
    std::memcpy(&free_, record, sizeof free_);
    std::fill_n(record, words_, Word{0});
    return index;
  }
  void release(std::uint32_t index) {
    std::memcpy(words_of(index), &free_, sizeof free_);
    free_ = index;
  }
  std::span<Word> at(std::uint32_t index) { return {words_of(index), words_}; }
  std::span<const Word> at(std::uint32_t index) const { return {words_of(index), words_}; }

  // Every record gets more words, zero at its end; false, and nothing changed, where the budget is spent.
  bool widen(std::size_t words) {
    const std::size_t old_bytes = chunk_bytes();
    const std::size_t new_bytes = old_bytes / words_ * words;
    if (!budget_.take(new_bytes * chunks_.size())) return false;
    for (std::unique_ptr<Word[]>& chunk : chunks_) {
      auto wider = std::make_unique<Word[]>(kRecords * words);
      for (std::size_t i = 0; i < kRecords; ++i)
        std::copy_n(chunk.get() + i * words_, words_, wider.get() + i * words);
      chunk = std::move(wider);
    }
    budget_.give(old_bytes * chunks_.size());
    words_ = words;
    return true;
  }
  std::size_t words() const { return words_; }

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  static constexpr std::uint32_t kRecords = 256;  // in a chunk

  std::size_t chunk_bytes() const { return kRecords * words_ * sizeof(Word); }
  Word* words_of(std::uint32_t index) const {
    return chunks_[index / kRecords].get() + index % kRecords * words_;
  }

  bool add_chunk() {
    if (chunks_.size() >= kMaxChunks || !budget_.take(chunk_bytes())) return false;
    const auto first = static_cast<std::uint32_t>(chunks_.size()) * kRecords;
    chunks_.push_back(std::make_unique<Word[]>(kRecords * words_));
    for (std::uint32_t i = kRecords; i-- > 0;) release(first + i);
    return true;
  }
  static constexpr std::size_t kMaxChunks = (std::size_t{1} << 30) / kRecords;  // indices have 30 bits

  std::size_t words_;
  MemoryBudget& budget_;
  std::vector<std::unique_ptr<Word[]>> chunks_;
  std::uint32_t free_ = kNone;  // the head of a list through the first bytes of the free records
};

}  // namespace baton
