#include "cpu_ops.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

namespace baton {
namespace {

struct PreparedRope {
  std::vector<float> inv_frequency;
  float scale = 1.0F;
};

const float* row_of(const Tensor& x, std::int64_t row) {
  return static_cast<const float*>(x.data) + row * x.stride;
}
float* mutable_row(const Tensor& x, std::int64_t row) { return static_cast<float*>(x.data) + row * x.stride; }

kernels::Gate gate_of(Activation activation) { return static_cast<kernels::Gate>(activation); }
static_assert(kernels::kClampedLimit == kClampedSiluLimit && kernels::kClampedSlope == kClampedSiluSlope);

const PackedMatrix& matrix_of(const Linear& weight) {
  assert(dynamic_cast<const PackedMatrix*>(&weight.body()) != nullptr);
  return static_cast<const PackedMatrix&>(weight.body());
}

}  // namespace

std::string CpuOps::numerics_id() const {
  const std::string alone = std::string("cpu/") + kernels_.name + "/f32";
  return place_.width > 1 ? alone + "/tp" + std::to_string(place_.width) : alone;
}

std::size_t CpuOps::scope_begin() {
  ++open_scopes_;
  return workspace_.mark();
}

void CpuOps::scope_end(std::size_t mark) {
  --open_scopes_;
  workspace_.release(mark);
}

Tensor CpuOps::allocate(std::int64_t rows, std::int64_t cols) {
  return {workspace_.floats(static_cast<std::size_t>(rows * cols)), DType::f32, rows, cols, cols};
}

Result<std::shared_ptr<const void>> CpuOps::prepare_rope(const RopeTable& table) {
  if (table.inv_frequency.empty()) {
    return make_error(ErrorCode::invalid_argument, "a rotary embedding has no frequencies", "inv_frequency");
  }
  auto prepared = std::make_shared<PreparedRope>();
  prepared->inv_frequency = table.inv_frequency;
  prepared->scale = table.scale;
  return std::shared_ptr<const void>(std::move(prepared));
}

void CpuOps::begin_step(const Batch& batch, const KvView& kv) {
  batch_ = &batch;
  kv_ = kv;
  rotations_used_ = 0;
  host_.release(0);
  if (open_scopes_ == 0) workspace_.release(0);
}

Tensor CpuOps::embed(const Linear& table, std::span<const std::int32_t> tokens) {
  const PackedMatrix& weight = matrix_of(table);
  const Tensor y = allocate(static_cast<std::int64_t>(tokens.size()), weight.in);
  for_rows(y.rows, weight.in * 8, [&](std::int64_t row) {  // strided reads: about eight times a plain copy
    const std::int32_t token = tokens[static_cast<std::size_t>(row)];
    assert(token >= 0 && token < weight.out);
    kernels_.embed({.weight = weight.weight.data(),
                    .type = weight.type,
                    .in = weight.in,
                    .token = token,
                    .y = mutable_row(y, row)});
  });
  return y;
}

Tensor CpuOps::gather_rows(const Tensor& x, std::span<const std::int32_t> rows) {
  const Tensor y = allocate(static_cast<std::int64_t>(rows.size()), x.cols);
  for (std::int64_t row = 0; row < y.rows; ++row) {
    const std::int32_t from = rows[static_cast<std::size_t>(row)];
    assert(from >= 0 && from < x.rows);
    std::memcpy(mutable_row(y, row), row_of(x, from), static_cast<std::size_t>(x.cols) * sizeof(float));
  }
  return y;
}

Tensor CpuOps::rms_norm(const Tensor& x, const Linear& weight, float epsilon) {
  assert(weight.in() == x.cols);
  assert(dynamic_cast<const NormVector*>(&weight.body()) != nullptr);
  const float* scale = static_cast<const NormVector&>(weight.body()).data();
  const Tensor y = allocate(x.rows, x.cols);
  for_rows(x.rows, x.cols, [&](std::int64_t row) {
    kernels_.rms_norm(row_of(x, row), scale, x.cols, epsilon, mutable_row(y, row));
  });
  return y;
}

void CpuOps::head_norm(Tensor heads, const Linear& weight, float epsilon) {
  assert(dynamic_cast<const NormVector*>(&weight.body()) != nullptr);
  const std::int64_t head_dim = weight.in();
  assert(heads.cols % head_dim == 0);
  const float* scale = static_cast<const NormVector&>(weight.body()).data();
  for_rows(heads.rows, heads.cols, [&](std::int64_t row) {
    float* const values = mutable_row(heads, row);
    for (std::int64_t first = 0; first < heads.cols; first += head_dim)
      kernels_.rms_norm(values + first, scale, head_dim, epsilon, values + first);
  });
}

Tensor CpuOps::add(Tensor x, const Tensor& y) {
  assert(x.rows == y.rows && x.cols == y.cols);
  for_rows(x.rows, x.cols,
           [&](std::int64_t row) { kernels_.add(mutable_row(x, row), row_of(y, row), 1.0F, x.cols); });
  return x;
}

Tensor CpuOps::add_rms_norm(Tensor x, const Tensor& y, float factor, const Linear& weight, float epsilon,
                            const Tensor& room, const Linear* /*next*/) {
  assert(x.rows == y.rows && x.cols == y.cols && x.rows == room.rows && weight.in() == x.cols);
  const float* scale = static_cast<const NormVector&>(weight.body()).data();
  for_rows(x.rows, 2 * x.cols, [&](std::int64_t row) {
    kernels_.add(mutable_row(x, row), row_of(y, row), factor, x.cols);
    kernels_.rms_norm(row_of(x, row), scale, x.cols, epsilon, mutable_row(room, row));
  });
  return room;
}

Tensor CpuOps::gate_mul(const Tensor& gate_up, Activation activation) {
  const std::int64_t cols = gate_up.cols / 2;
  const Tensor y = allocate(gate_up.rows, cols);
  for_rows(y.rows, cols * 4, [&](std::int64_t row) {
    const float* gate = row_of(gate_up, row);
    kernels_.gate_mul(gate_of(activation), gate, gate + cols, cols, mutable_row(y, row));
  });
  return y;
}

Tensor CpuOps::matmul(const Tensor& x, const Linear& weight) {
  const Tensor y = product(x, weight);
  add_adapters(x, weight, y);
  return y;
}

Tensor CpuOps::product(const Tensor& x, const Linear& weight) {
  const PackedMatrix& w = matrix_of(weight);
  assert(w.in == x.cols && w.group == kernels_.group);
  const Tensor y = allocate(x.rows, w.out);
  const kernels::GemmArgs args{.x = row_of(x, 0),
                               .x_stride = x.stride,
                               .rows = x.rows,
                               .weight = w.weight.data(),
                               .type = w.type,
                               .in = w.in,
                               .out = w.out,
                               .scale = w.scale_data(),
                               .bias = w.bias_data(),
                               .y = mutable_row(y, 0),
                               .y_stride = y.stride};
  if (x.rows == 0) return y;
  if (x.rows <= kernels_.direct_rows) {
    matmul_direct(args);
  } else {
    matmul_blocked(args);
  }
  return y;
}

void CpuOps::matmul_direct(const kernels::GemmArgs& args) {
  const std::int64_t groups = ceil_div(args.out, kernels_.group);
  if (args.in * args.out * args.rows <= kInlineWork) {
    for (std::int64_t group = 0; group < groups; ++group) kernels_.gemm_direct(args, group);
  } else {
    pool_.run(groups, [&](std::int64_t group, int) { kernels_.gemm_direct(args, group); });
  }
}

void CpuOps::matmul_blocked(const kernels::GemmArgs& args) {
  const std::size_t mark = workspace_.mark();
  float* blocks = workspace_.floats(kernels_.gemm_block_floats(args.rows, args.in));
  const std::size_t scratch_floats = kernels_.gemm_scratch_floats();
  float* scratch = workspace_.floats(scratch_floats * static_cast<std::size_t>(pool_.threads()));
  for_rows(args.rows, args.in, [&](std::int64_t row) { kernels_.gemm_block(args, {row, row + 1}, blocks); });

  // A task is one group, all rows; where there are too few groups to go round, the rows are cut as well.
  const std::int64_t groups = ceil_div(args.out, kernels_.group);
  const std::int64_t wanted = ceil_div(4 * pool_.threads(), groups);
  const std::int64_t most = ceil_div(args.rows, 4 * kernels_.tile_rows);
  const std::int64_t parts = pool_.threads() == 1 ? 1 : std::clamp<std::int64_t>(wanted, 1, most);
  const auto body = [&](std::int64_t task, int thread) {
    const std::int64_t part = task / groups;
    const kernels::RowRange range{args.rows * part / parts, args.rows * (part + 1) / parts};
    kernels_.gemm_blocked(args, task % groups, range, blocks,
                          scratch + scratch_floats * static_cast<std::size_t>(thread));
  };
  if (args.in * args.out * args.rows <= kInlineWork) {
    for (std::int64_t task = 0; task < groups * parts; ++task) body(task, 0);
  } else {
    pool_.run(groups * parts, body);
  }
  workspace_.release(mark);
}

const CpuOps::Rotation& CpuOps::rotation(const void* prepared) {
  for (std::size_t i = 0; i < rotations_used_; ++i) {
    if (rotations_[i].prepared == prepared) return rotations_[i];
  }
  if (rotations_used_ == rotations_.size()) rotations_.emplace_back();
  Rotation& made = rotations_[rotations_used_++];
  const auto& table = *static_cast<const PreparedRope*>(prepared);
  const std::size_t half = table.inv_frequency.size();
  const std::size_t rows = batch_->positions.size();
  made.prepared = prepared;
  made.cosine.resize(rows * half);
  made.sine.resize(rows * half);
  for_rows(static_cast<std::int64_t>(rows), static_cast<std::int64_t>(half) * 64, [&](std::int64_t row) {
    const double position = batch_->positions[static_cast<std::size_t>(row)];
    for (std::size_t i = 0; i < half; ++i) {
      const double angle = position * static_cast<double>(table.inv_frequency[i]);
      const double scale = table.inv_frequency[i] == 0.0F ? 1.0 : static_cast<double>(table.scale);
      const std::size_t at = static_cast<std::size_t>(row) * half + i;
      made.cosine[at] = static_cast<float>(std::cos(angle) * scale);
      made.sine[at] = static_cast<float>(std::sin(angle) * scale);
    }
  });
  return made;
}

void CpuOps::rope(Tensor heads, std::int32_t head_dim, const void* prepared) {
  assert(batch_ && heads.rows == static_cast<std::int64_t>(batch_->positions.size()));
  assert(static_cast<const PreparedRope*>(prepared)->inv_frequency.size() * 2 ==
         static_cast<std::size_t>(head_dim));
  const Rotation& values = rotation(prepared);
  const std::int64_t half = head_dim / 2;
  for_rows(heads.rows, heads.cols, [&](std::int64_t row) {
    kernels_.rope({.row = mutable_row(heads, row),
                   .heads = heads.cols / head_dim,
                   .head_dim = head_dim,
                   .cosine = values.cosine.data() + row * half,
                   .sine = values.sine.data() + row * half});
  });
}

void CpuOps::store_kv(KvPlace place, const Tensor& k, const Tensor& v) {
  const KvLayout& layout = kv_.layout;
  assert(k.cols == std::int64_t{kv_.heads()} * layout.head_dim && v.cols == k.cols);
  const kernels::Element type = element_of(layout.dtype);
  const std::size_t token_bytes = static_cast<std::size_t>(layout.head_dim) * size_of(layout.dtype);
  for (const SequenceRows& sequence : batch_->sequences) {
    const std::int32_t* table = batch_->table_of(place.group).data() + sequence.block_table_offset;
    for_rows(sequence.rows, 2 * k.cols, [&](std::int64_t i) {
      const std::int64_t position = sequence.first_position + i;
      const std::int32_t block = table[position / layout.block_size];
      assert(block >= 0 && block < kv_.blocks);
      const std::size_t offset = static_cast<std::size_t>(position % layout.block_size) * token_bytes;
      for (std::int32_t head = 0; head < kv_.heads(); ++head) {
        const std::int64_t column = std::int64_t{head} * layout.head_dim;
        kernels_.store(row_of(k, sequence.first_row + i) + column, layout.head_dim, type,
                       kv_.piece(block, place.layer, 0, head) + offset);
        kernels_.store(row_of(v, sequence.first_row + i) + column, layout.head_dim, type,
                       kv_.piece(block, place.layer, 1, head) + offset);
      }
    });
  }
}

std::span<const float> CpuOps::to_host(const Tensor& x) {
  const auto count = static_cast<std::size_t>(x.rows * x.cols);
  float* copy = host_.floats(count);
  for (std::int64_t row = 0; row < x.rows; ++row) {
    std::memcpy(copy + row * x.cols, row_of(x, row), static_cast<std::size_t>(x.cols) * sizeof(float));
  }
  return {copy, count};
}

}  // namespace baton
