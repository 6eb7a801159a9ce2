// What the contract suite of Ops needs: the backends of this machine, and tensors made and read through Ops
// alone, so that the same tests run on any device.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "baton/tensor/buffer.hpp"
#include "baton/tensor/ops.hpp"
#include "support/catch.hpp"

namespace baton::test {

// Every backend and instruction set that this build and this machine can run.
inline std::vector<OpsOptions> backends() {
  std::vector<OpsOptions> found;
  for (const char* isa : {"portable", "avx2", "avx512"}) {
    const OpsOptions options{.threads = 1, .isa = isa};
    if (make_ops(options)) found.push_back(options);
  }
  // A GPU, where the build and the machine have one, in f32: held to the same figures.
  const OpsOptions gpu{.device = {DeviceKind::cuda, 0}, .isa = "cuda", .activations = DType::f32};
  if (make_ops(gpu)) found.push_back(gpu);
  return found;
}

inline std::unique_ptr<Ops> require_ops(OpsOptions options, int threads = 1) {
  options.threads = threads;
  auto ops = make_ops(options);
  REQUIRE(ops.has_value());
  return *std::move(ops);
}

inline Linear require_pack(Ops& ops, std::span<const WeightView> views) {
  auto packed = ops.pack(views);
  REQUIRE(packed.has_value());
  return *std::move(packed);
}

// [rows, cols] of numbers around zero, the same for the same seed.
struct Matrix {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<float> values;

  Matrix() = default;
  Matrix(std::int64_t r, std::int64_t c) : rows(r), cols(c), values(static_cast<std::size_t>(r * c)) {}
  static Matrix random(std::int64_t r, std::int64_t c, unsigned seed, float width = 1.0F) {
    Matrix made(r, c);
    std::mt19937 engine(seed);
    for (float& value : made.values) {
      value = (static_cast<float>(engine() >> 8) * 0x1p-23F - 1.0F) * width;
    }
    return made;
  }
  float& at(std::int64_t r, std::int64_t c) { return values[static_cast<std::size_t>(r * cols + c)]; }
  float at(std::int64_t r, std::int64_t c) const { return values[static_cast<std::size_t>(r * cols + c)]; }
};

// A weight in a checkpoint's element type, and the f32 values that it stands for. bf16 and f16 values are
// chosen among those that are exact in both, e4m3 values among those that it holds.
class Weight {
 public:
  Weight(DType dtype, std::int64_t out, std::int64_t in, unsigned seed)
      : exact_(Matrix::random(out, in, seed)) {
    bytes_.reserve(exact_.values.size() * 4 + 1);
    bytes_.push_back(0);  // unaligned on purpose
    for (float& value : exact_.values) append(dtype, value);
    view_ = {.data = bytes_.data() + 1, .dtype = dtype, .out = out, .in = in};
  }
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;
  const Matrix& exact() const { return exact_; }
  WeightView view() const { return view_; }

 private:
  void append(DType dtype, float& value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    if (dtype != DType::f32) {
      bits &=
          dtype == DType::e4m3 ? 0xFFF00000U : 0xFFFF0000U;  // seven bits of mantissa fit into f16 and bf16
      std::memcpy(&value, &bits, 4);
      if (dtype == DType::bf16) {
        bits >>= 16;
      } else if (dtype == DType::e4m3) {
        const std::uint32_t exponent = (bits >> 23) & 0xFFU;
        if (exponent < 121) value = 0.0F;  // subnormal in e4m3
        bits = value == 0.0F ? 0 : (bits >> 24 & 0x80U) | (exponent - 120) << 3 | (bits >> 20 & 7U);
      } else {
        const std::uint32_t exponent = (bits >> 23) & 0xFFU;
        if (exponent < 113) value = 0.0F;  // subnormal in f16
        bits = value == 0.0F ? 0 : (bits >> 16 & 0x8000U) | (exponent - 112) << 10 | (bits >> 13 & 0x3FFU);
      }
    }
    const auto* raw = reinterpret_cast<const unsigned char*>(&bits);
    bytes_.insert(bytes_.end(), raw, raw + size_of(dtype));
  }

  Matrix exact_;
  std::vector<unsigned char> bytes_;
  WeightView view_;
};

// Puts a matrix on the device: as a table whose rows are looked up. Keeps the table; lives as long as the
// test.
inline Tensor upload(Ops& ops, const Matrix& matrix) {
  const WeightView view{
      .data = matrix.values.data(), .dtype = DType::f32, .out = matrix.rows, .in = matrix.cols};
  const Linear table = require_pack(ops, {&view, 1});
  std::vector<std::int32_t> rows(static_cast<std::size_t>(matrix.rows));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
  return ops.embed(table, rows);
}

inline Matrix download(Ops& ops, const Tensor& x) {
  Matrix made(x.rows, x.cols);
  const auto values = ops.to_host(x);
  REQUIRE(values.size() == made.values.size());
  made.values.assign(values.begin(), values.end());
  return made;
}

inline Tensor rows_of(const Tensor& x, std::int64_t first, std::int64_t count) {
  Tensor part = x;
  part.data = static_cast<std::byte*>(x.data) + static_cast<std::size_t>(first * x.stride) * size_of(x.dtype);
  part.rows = count;
  return part;
}

inline bool same_bits(const float* a, const float* b, std::int64_t count) {
  return std::memcmp(a, b, static_cast<std::size_t>(count) * sizeof(float)) == 0;
}

// An activation as its authors write it.
inline double gated(Activation activation, double gate, double up) {
  switch (activation) {
    case Activation::silu:
      return gate / (1 + std::exp(-gate)) * up;
    case Activation::gelu:
      // (1 + tanh z) / 2, without the difference of nearly equal numbers where z is far below 0
      return gate / (1 + std::exp(-1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))) * up;
    case Activation::clamped_silu:
      gate = std::min(gate, 7.0), up = std::clamp(up, -7.0, 7.0);
      return gate / (1 + std::exp(-1.702 * gate)) * (up + 1);
  }
  return 0;
}

// A cut of [0, total) into pieces of random length.
inline std::vector<std::int64_t> random_cuts(std::int64_t total, std::int64_t longest, std::mt19937& engine) {
  std::vector<std::int64_t> pieces;
  while (total > 0) {
    const auto piece = std::min<std::int64_t>(total, 1 + engine() % static_cast<unsigned>(longest));
    pieces.push_back(piece);
    total -= piece;
  }
  return pieces;
}

// A paged KV pool with sequences whose blocks are scattered at random.
class KvPool {
 public:
  KvPool(Ops& ops, KvLayout layout, std::int32_t blocks, unsigned seed) : engine_(seed) {
    auto buffer = Buffer::allocate(ops.device(), layout.block_bytes() * static_cast<std::size_t>(blocks));
    REQUIRE(buffer.has_value());
    buffer_ = *std::move(buffer);
    view_ = {.base = buffer_.data(), .layout = layout, .blocks = blocks};
    for (std::int32_t i = 0; i < blocks; ++i) free_.push_back(i);
    std::shuffle(free_.begin(), free_.end(), engine_);
  }
  const KvView& view() const { return view_; }
  std::vector<std::int32_t> table(std::int64_t tokens) {
    std::vector<std::int32_t> blocks;
    for (std::int64_t at = 0; at < tokens; at += view_.layout.block_size) {
      REQUIRE(!free_.empty());
      blocks.push_back(free_.back());
      free_.pop_back();
    }
    return blocks;
  }

 private:
  std::mt19937 engine_;
  Buffer buffer_;
  KvView view_;
  std::vector<std::int32_t> free_;
};

inline void append_rows(Batch& batch, const std::vector<std::int32_t>& table, std::int64_t first_position,
                        std::int64_t rows) {
  batch.sequences.push_back({.first_row = static_cast<std::int32_t>(batch.positions.size()),
                             .rows = static_cast<std::int32_t>(rows),
                             .first_position = static_cast<std::int32_t>(first_position),
                             .block_table_offset = static_cast<std::int32_t>(batch.block_table.size())});
  batch.block_table.insert(batch.block_table.end(), table.begin(), table.end());
  for (std::int64_t i = 0; i < rows; ++i) {
    batch.positions.push_back(static_cast<std::int32_t>(first_position + i));
    batch.tokens.push_back(0);
  }
}

}  // namespace baton::test
