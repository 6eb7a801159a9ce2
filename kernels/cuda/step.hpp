// What the rows of one step are, in device memory. A row is one token of one sequence; the rows of a sequence
// are consecutive. Rows of a recorded step that nothing uses have position -1: kernels neither read nor write
// KV for them.
#pragma once

#include <cstdint>

namespace baton::cuda {

struct SequenceEntry {
  std::int32_t first_row;
  std::int32_t rows;
  std::int32_t first_position;  // tokens already in the cache
  std::int32_t table_offset;    // of its block table, into StepTables::block_table
};

struct StepTables {
  const std::int32_t* positions = nullptr;    // [rows]
  const std::int32_t* sequence_of = nullptr;  // [rows], into `sequences`
  const SequenceEntry* sequences = nullptr;
  const std::int32_t* block_table = nullptr;  // all sequences' tables; entry p / block_size holds position p
};

}  // namespace baton::cuda
