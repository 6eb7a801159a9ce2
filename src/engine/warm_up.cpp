#include "baton/engine/warm_up.hpp"

#include <algorithm>
#include <new>
#include <vector>

#include "baton/engine/kv_memory.hpp"

namespace baton {
namespace {

// Sequences of so many rows each, in blocks of their own, with an adapter where the model has any: that takes
// more memory.
Batch make_batch(const std::vector<std::int32_t>& lengths, const KvLayout& layout, bool adapters) {
  Batch batch;
  for (const std::int32_t rows : lengths) {
    const auto first_block = static_cast<std::int32_t>(batch.block_table.size());
    batch.sequences.push_back({static_cast<std::int32_t>(batch.tokens.size()), rows, 0, first_block});
    for (std::int32_t b = 0; b * layout.block_size < rows; ++b) batch.block_table.push_back(first_block + b);
    for (std::int32_t p = 0; p < rows; ++p) {
      batch.tokens.push_back(0);
      batch.positions.push_back(p);
    }
    batch.logit_rows.push_back(static_cast<std::int32_t>(batch.tokens.size()) - 1);
  }
  if (adapters) {
    batch.adapters.assign(batch.tokens.size(), 0);
    batch.logit_adapters.assign(batch.logit_rows.size(), 0);
  }
  batch.repeat_table(layout.groups.count(), static_cast<std::int32_t>(batch.block_table.size()));
  return batch;
}

}  // namespace

Result<void> warm_up(Model& model, Ops& ops, const KvSpec& spec, std::int32_t rows, std::int32_t sequences,
                     std::int32_t width) {
  const std::int32_t longest = std::min(rows, model.config().max_positions);
  std::vector<std::int32_t> prompts;
  for (std::int32_t left = rows; left > 0; left -= prompts.back()) prompts.push_back(std::min(left, longest));
  const std::vector<std::int32_t> decodes(static_cast<std::size_t>(std::min(sequences, rows)), 1);
  const bool adapters = !model.adapters().empty();
  const Batch steps[] = {make_batch(prompts, spec.layout, adapters),
                         make_batch(decodes, spec.layout, adapters), make_batch({1}, spec.layout, adapters)};
  std::size_t blocks = 0;
  for (const Batch& step : steps) blocks = std::max(blocks, step.block_table.size());
  auto memory = KvMemory::allocate(spec, spec.layout.block_bytes() * blocks, 1, ops.device(), width);
  if (!memory) return std::move(memory).error();
  try {
    for (const Batch& step : steps) {
      const Tensor logits = model.forward(step, memory->view(), ops);
      const std::vector<RowSampling> greedy(step.logit_rows.size());
      if (!ops.sample(logits, greedy)) ops.to_host(logits);
    }
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::out_of_memory, "no memory for a step of " + std::to_string(rows) + " rows",
                      "--max-batch-tokens");
  } catch (const DeviceFailure& failure) {
    return make_error(ErrorCode::unavailable, failure.what());
  }
  return {};
}

}  // namespace baton
