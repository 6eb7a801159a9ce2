// Batch: one step's rows, in host memory, for every device.
//
// A row is one token of one sequence. Rows of a sequence are consecutive and in order of position. The KV
// slot of a row at position p of sequence s is, in group g, table_of(g)[s.block_table_offset + p /
// block_size], token p % block_size. Where a window has left a block behind, its entry names another one of
// the sequence's group: what is read there counts for nothing, but has to be numbers: of a window that is no
// shorter than a block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace baton {

struct SequenceRows {
  std::int32_t first_row = 0;           // into tokens and positions
  std::int32_t rows = 0;                // tokens computed in this step
  std::int32_t first_position = 0;      // tokens of this sequence already in the KV cache
  std::int32_t block_table_offset = 0;  // into each group's table
};

struct Batch {
  std::vector<std::int32_t> tokens;     // [rows]
  std::vector<std::int32_t> positions;  // [rows]
  std::vector<SequenceRows> sequences;
  std::vector<std::int32_t> block_table;  // [kv_groups]: all sequences' tables, one after the other
  std::int32_t kv_groups = 1;             // KvLayout::groups
  std::vector<std::int32_t> logit_rows;   // rows whose logits are wanted, ascending
  bool wants_hidden = false;              // and what the model's final norm makes of them (Model::hidden)
  // The adapter of each row (Ops::adapt), -1: none. Both empty where no row has one.
  std::vector<std::int32_t> adapters;        // [rows]
  std::vector<std::int32_t> logit_adapters;  // [logit_rows]

  std::size_t table_size() const { return block_table.size() / static_cast<std::size_t>(kv_groups); }
  std::span<const std::int32_t> table_of(std::int32_t group) const {
    return std::span(block_table).subspan(static_cast<std::size_t>(group) * table_size(), table_size());
  }

  // For batches made by hand: gives each of `groups` the table of the first, whose blocks are below `apart`,
  // with blocks of its own.
  void repeat_table(std::int32_t groups, std::int32_t apart) {
    const std::vector<std::int32_t> first(block_table);
    for (std::int32_t group = 1; group < groups; ++group)
      for (const std::int32_t block : first) block_table.push_back(block + group * apart);
    kv_groups = groups;
  }

  // Of a tensor with this many rows: all of the step's, or those whose logits are wanted.
  std::span<const std::int32_t> adapters_of(std::int64_t rows) const {
    if (static_cast<std::size_t>(rows) == adapters.size()) return adapters;
    if (static_cast<std::size_t>(rows) == logit_adapters.size()) return logit_adapters;
    return {};
  }
};

}  // namespace baton
