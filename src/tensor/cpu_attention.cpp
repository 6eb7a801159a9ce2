// CpuOps::attention: which thread computes which part.
//
// Either a task is a tile of rows over all its splits, or, where there are too few of those to go round (a
// long context decoded alone), each split is a task of its own and the partials are folded afterwards. Both
// fold the same partials in the same order.
#include <algorithm>
#include <cassert>

#include "cpu_ops.hpp"

namespace baton {
namespace {
constexpr std::int64_t kTilePairs = 128;  // (row, head) pairs that share one unpacked split
}

struct CpuOps::AttentionCall {
  KvPlace place;
  const Tensor& q;
  const Tensor& out;
  const AttentionShape& shape;
  const Batch& batch;
  const KvView& kv;

  std::int64_t group() const { return shape.query_heads / shape.kv_heads; }

  kernels::AttentionArgs args(const AttentionTask& task) const {
    const std::int64_t row = task.sequence->first_row + task.first_row;
    const std::int64_t column = task.kv_head * group() * shape.head_dim;
    return {.q = static_cast<const float*>(q.data) + row * q.stride + column,
            .q_stride = q.stride,
            .rows = task.rows,
            .heads = group(),
            .head_dim = shape.head_dim,
            .first_position = task.sequence->first_position + task.first_row,
            .window = shape.window > 0 ? shape.window : INT64_MAX / 2,
            .scale = shape.scale,
            .kv = {.base = kv.base,
                   .block_bytes = kv.layout.block_bytes(),
                   .k_offset = static_cast<std::size_t>(kv.piece(0, place.layer, 0, task.kv_head) - kv.base),
                   .v_offset = static_cast<std::size_t>(kv.piece(0, place.layer, 1, task.kv_head) - kv.base),
                   .block_table = batch.table_of(place.group).data() + task.sequence->block_table_offset,
                   .block_size = kv.layout.block_size,
                   .type = element_of(kv.layout.dtype)}};
  }

  // Divides (row, head) pair i of the task by its sum, to where it goes.
  void finish(const kernels::Kernels& kernels, const AttentionTask& task, std::int64_t i,
              const float* running) const {
    const std::int64_t row = task.sequence->first_row + task.first_row + i / group();
    const std::int64_t head = task.kv_head * group() + i % group();
    const float* const sink =
        shape.sinks ? static_cast<const NormVector&>(shape.sinks->body()).data() + head : nullptr;
    kernels.attention_finish(running, shape.head_dim, sink,
                             static_cast<float*>(out.data) + row * out.stride + head * shape.head_dim);
  }
};

void CpuOps::plan_attention(const AttentionShape& shape) {
  const std::int64_t group = shape.query_heads / shape.kv_heads;
  const std::int64_t tile = std::max<std::int64_t>(1, kTilePairs / group);
  tasks_.clear();
  split_starts_.assign(1, 0);
  std::size_t partials = 0;
  for (const SequenceRows& sequence : batch_->sequences) {
    const std::int64_t tiles = (sequence.rows + tile - 1) / tile;
    for (std::int64_t t = tiles; t-- > 0;) {  // the latest rows have most to do: first
      for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
        AttentionTask task;
        task.sequence = &sequence;
        task.kv_head = head;
        task.first_row = static_cast<std::int32_t>(t * tile);
        task.rows = static_cast<std::int32_t>(std::min<std::int64_t>(tile, sequence.rows - t * tile));
        const std::int64_t first = sequence.first_position + task.first_row, keys = first + task.rows;
        if (shape.window > 0)
          task.first_split = std::max<std::int64_t>(0, first + 1 - shape.window) / kernels::kAttentionSplit;
        task.splits = ceil_div(keys, kernels::kAttentionSplit) - task.first_split;
        task.partials = partials;
        partials += static_cast<std::size_t>(task.rows * group * task.splits);
        tasks_.push_back(task);
        split_starts_.push_back(split_starts_.back() + task.splits);
      }
    }
  }
}

Tensor CpuOps::attention(KvPlace place, const Tensor& q, const AttentionShape& shape) {
  assert(batch_ && shape.kv_heads == kv_.heads() && shape.head_dim == kv_.layout.head_dim);
  assert(q.cols == std::int64_t{shape.query_heads} * shape.head_dim);
  const Tensor out = allocate(q.rows, q.cols);
  plan_attention(shape);
  const AttentionCall call{place, q, out, shape, *batch_, kv_};
  const auto tasks = static_cast<std::int64_t>(tasks_.size());
  const std::size_t mark = workspace_.mark();
  if (tasks < 2 * pool_.threads() && split_starts_.back() > tasks) {
    attend_by_split(call);
  } else {
    attend_whole(call);
  }
  workspace_.release(mark);
  return out;
}

void CpuOps::attend_whole(const AttentionCall& call) {
  const std::int64_t head_dim = call.shape.head_dim;
  const std::size_t partial = kernels_.attention_partial_floats(head_dim);
  const std::size_t pairs = static_cast<std::size_t>(std::max(kTilePairs, call.group()));
  const std::size_t scratch = kernels_.attention_scratch_floats(head_dim);
  const std::size_t each = 2 * pairs * partial + scratch;
  float* memory = workspace_.floats(each * static_cast<std::size_t>(pool_.threads()));
  const auto body = [&](std::int64_t index, int thread) {
    const AttentionTask& task = tasks_[static_cast<std::size_t>(index)];
    float* running = memory + each * static_cast<std::size_t>(thread);
    float* next = running + pairs * partial;
    const kernels::AttentionArgs args = call.args(task);
    const std::int64_t count = args.rows * args.heads;
    for (std::int64_t split = 0; split < task.splits; ++split) {
      kernels_.attention_split(args, task.first_split + split, split == 0 ? running : next,
                               next + pairs * partial);
      if (split > 0) kernels_.attention_merge(running, next, count, head_dim);
    }
    for (std::int64_t i = 0; i < count; ++i)
      call.finish(kernels_, task, i, running + static_cast<std::size_t>(i) * partial);
  };
  pool_.run(static_cast<std::int64_t>(tasks_.size()), body);
}

void CpuOps::attend_by_split(const AttentionCall& call) {
  const std::int64_t head_dim = call.shape.head_dim;
  const std::size_t partial = kernels_.attention_partial_floats(head_dim);
  const std::size_t scratch = kernels_.attention_scratch_floats(head_dim);
  const AttentionTask& last = tasks_.back();
  const std::size_t units = last.partials + static_cast<std::size_t>(last.rows * call.group() * last.splits);
  float* partials = workspace_.floats(units * partial);
  float* memory = workspace_.floats(scratch * static_cast<std::size_t>(pool_.threads()));
  const auto start = [&](const AttentionTask& task, std::int64_t split) {
    return partials + (task.partials + static_cast<std::size_t>(split * task.rows * call.group())) * partial;
  };
  pool_.run(split_starts_.back(), [&](std::int64_t index, int thread) {
    const auto after = std::upper_bound(split_starts_.begin(), split_starts_.end(), index);
    const auto owner = static_cast<std::size_t>(after - split_starts_.begin()) - 1;
    const AttentionTask& task = tasks_[owner];
    const std::int64_t split = index - split_starts_[owner];
    kernels_.attention_split(call.args(task), task.first_split + split, start(task, split),
                             memory + scratch * static_cast<std::size_t>(thread));
  });
  pool_.run(static_cast<std::int64_t>(tasks_.size()), [&](std::int64_t index, int) {
    const AttentionTask& task = tasks_[static_cast<std::size_t>(index)];
    const std::int64_t count = task.rows * call.group();
    float* running = start(task, 0);
    for (std::int64_t split = 1; split < task.splits; ++split) {
      kernels_.attention_merge(running, start(task, split), count, head_dim);
    }
    for (std::int64_t i = 0; i < count; ++i)
      call.finish(kernels_, task, i, running + static_cast<std::size_t>(i) * partial);
  });
}

}  // namespace baton
