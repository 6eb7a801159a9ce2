#include "model/packed_weights.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "baton/tensor/convert.hpp"

namespace baton {
namespace {

using Kind = PackedWeights::Kind;

constexpr std::array<std::int64_t, 8> kAwqOrder{0, 2, 4, 6, 1, 3, 5, 7};
// Of one tile: its codes stay in the first-level cache, its rows of AWQ's words fill a cache line.
constexpr std::int64_t kTileOutputs = 128;
constexpr std::int64_t kTileInputs = 128;

std::uint32_t word_at(std::span<const std::byte> bytes, std::int64_t index) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data() + index * 4, sizeof word);
  return word;
}

std::uint32_t code_in(std::uint32_t word, std::int64_t index, std::int32_t bits) {
  return word >> (index * bits) & ((1U << bits) - 1);
}

// Eight codes of 4 bits as bytes.
std::uint64_t spread(std::uint32_t word) {
  std::uint64_t bytes = word;
  bytes = (bytes | bytes << 16) & 0x0000FFFF0000FFFF;
  bytes = (bytes | bytes << 8) & 0x00FF00FF00FF00FF;
  return (bytes | bytes << 4) & 0x0F0F0F0F0F0F0F0F;
}

// 8 x 8 bytes: blocks of 4, of 2 and of 1 change places.
void transpose(std::array<std::uint64_t, 8>& rows) {
  constexpr std::array<std::uint64_t, 3> kLow{0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF, 0x00000000FFFFFFFF};
  for (std::size_t stage = 3; stage-- > 0;) {
    const std::size_t block = std::size_t{1} << stage;
    for (std::size_t r = 0; r < 8; ++r) {
      if ((r & block) != 0) continue;
      const std::uint64_t moved = (rows[r] >> (8 * block) ^ rows[r + block]) & kLow[stage];
      rows[r + block] ^= moved;
      rows[r] ^= moved << (8 * block);
    }
  }
}

struct TensorNames {
  const char* codes;
  const char* scales;
  const char* zeros;
  const char* groups;
};
TensorNames names_of(Kind kind) {
  if (kind == Kind::compressed)
    return {".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_g_idx"};
  return {".qweight", ".scales", ".qzeros", ".g_idx"};
}

Error corrupt(const std::string& name, const std::string& what) {
  return make_error(ErrorCode::corrupt, "tensor '" + name + "' " + what, name);
}

}  // namespace

std::string codes_of(const std::string& name, Kind kind) { return name + names_of(kind).codes; }

std::vector<std::string> packed_tensors(const Checkpoint& checkpoint, const std::string& name,
                                        const PackedWeights& packed) {
  const TensorNames names = names_of(packed.kind);
  std::vector<std::string> all{name + names.codes, name + names.scales};
  if (packed.kind == Kind::compressed) all.push_back(name + ".weight_shape");
  if (packed.kind != Kind::compressed || !packed.symmetric) all.push_back(name + names.zeros);
  if (packed.kind != Kind::awq && checkpoint.find(name + names.groups)) all.push_back(name + names.groups);
  return all;
}

struct PackedProjection::Tile {
  std::int64_t output = 0, outputs = 0;  // the first, and how many
  std::int64_t input = 0, inputs = 0;
  alignas(64) std::array<std::uint8_t, kTileOutputs * kTileInputs> codes;

  std::uint8_t* row(std::int64_t wanted) { return codes.data() + (wanted - output) * kTileInputs; }
};

PackedProjection::PackedProjection(const Checkpoint& checkpoint, const std::string& name,
                                   const PackedWeights& packed, Size size)
    : checkpoint_(&checkpoint),
      name_(name),
      packed_(packed),
      size_(size),
      per_word_(32 / packed.bits),
      group_(packed.group > 0 ? packed.group : size.in),
      groups_(size.in / group_),
      by_output_(packed.kind == Kind::compressed) {}

Result<PackedProjection> PackedProjection::open(const Checkpoint& checkpoint, const std::string& name,
                                                const PackedWeights& packed, Size size) {
  PackedProjection projection(checkpoint, name, packed, size);
  if (size.in % projection.group_ != 0)
    return make_error(ErrorCode::unsupported,
                      "quantization_config has groups of " + std::to_string(packed.group) +
                          " inputs, which do not divide the " + std::to_string(size.in) + " of '" + name +
                          "'",
                      packed.kind == Kind::compressed ? "quantization_config.config_groups"
                                                      : "quantization_config.group_size");
  if (auto read = projection.read_codes(); !read) return std::move(read).error();
  if (auto read = projection.read_scales(); !read) return std::move(read).error();
  if (auto read = projection.read_zeros(); !read) return std::move(read).error();
  if (auto read = projection.read_groups(); !read) return std::move(read).error();
  return projection;
}

Result<std::span<const std::byte>> PackedProjection::tensor(const std::string& name, std::string_view dtype,
                                                            const Shape& shape) const {
  const Checkpoint::TensorRef* found = checkpoint_->find(name);
  if (!found)
    return corrupt(name,
                   "is missing: config.json asks for " + std::string(dtype) + " " + shape_to_string(shape));
  const SafetensorsEntry& entry = found->entry;
  if (entry.dtype_name != dtype || entry.shape != shape)
    return corrupt(name, "is of " + entry.dtype_name + " " + shape_to_string(entry.shape) +
                             ", but config.json asks for " + std::string(dtype) + " " +
                             shape_to_string(shape));
  return checkpoint_->bytes(*found);
}

Result<void> PackedProjection::read_codes() {
  const std::string name = codes_of(name_, packed_.kind);
  const auto [out, in] = size_;
  if (packed_.kind == Kind::compressed) {
    const std::string shape_name = name_ + ".weight_shape";
    const Checkpoint::TensorRef* found = checkpoint_->find(shape_name);
    const bool narrow = found && found->entry.dtype_name == "I32";
    const auto said = tensor(shape_name, narrow ? "I32" : "I64", {2});
    if (!said) return said.error();
    std::int64_t shape[2] = {};
    for (std::size_t i = 0; i < 2; ++i)
      if (narrow)
        shape[i] = static_cast<std::int32_t>(word_at(*said, static_cast<std::int64_t>(i)));
      else
        std::memcpy(&shape[i], said->data() + i * 8, 8);
    if (shape[0] != out || shape[1] != in)
      return corrupt(shape_name, "says " + shape_to_string(shape) + ", but config.json asks for " +
                                     shape_to_string(Shape{out, in}));
    const auto codes = tensor(name, "I32", {out, (in + per_word_ - 1) / per_word_});
    if (!codes) return codes.error();
    codes_ = *codes;
    return {};
  }
  // The zeros' words hold outputs, those of GPTQ's codes hold inputs.
  const bool full = out % per_word_ == 0 && (packed_.kind == Kind::awq || in % per_word_ == 0);
  if (!full)
    return corrupt(name, "cannot hold a weight of " + shape_to_string(Shape{out, in}) + " in words of " +
                             std::to_string(per_word_));
  const auto codes = packed_.kind == Kind::awq ? tensor(name, "I32", {in, out / per_word_})
                                               : tensor(name, "I32", {in / per_word_, out});
  if (!codes) return codes.error();
  codes_ = *codes;
  return {};
}

Result<void> PackedProjection::read_scales() {
  const std::string name = name_ + names_of(packed_.kind).scales;
  const Checkpoint::TensorRef* found = checkpoint_->find(name);
  const DType dtype = found ? found->entry.dtype.value_or(DType::e4m3) : DType::e4m3;
  const auto bytes = tensor(name, dtype == DType::e4m3 ? "F16, F32 or BF16" : safetensors_dtype_name(dtype),
                            by_output_ ? Shape{size_.out, groups_} : Shape{groups_, size_.out});
  if (!bytes) return bytes.error();
  scales_.resize(static_cast<std::size_t>(size_.out * groups_));
  convert_values(bytes->data(), dtype, size_.out * groups_, DType::f32,
                 std::as_writable_bytes(std::span(scales_)).data());
  if (!std::ranges::all_of(scales_, [](float scale) { return std::isfinite(scale); }))
    return corrupt(name, "holds NaN or infinity");
  return {};
}

Result<void> PackedProjection::read_zeros() {
  zeros_.assign(scales_.size(), static_cast<float>(1 << (packed_.bits - 1)));
  if (packed_.kind == Kind::compressed) return read_compressed_zeros();
  const auto bytes = tensor(name_ + ".qzeros", "I32", {groups_, size_.out / per_word_});
  if (!bytes) return bytes.error();
  // The first version took one from each zero by a subtraction of whole words, borrows included: it is given
  // back in the same way.
  const std::uint32_t ones = packed_.bits == 4 ? 0x11111111U : 0x01010101U;
  const auto words = static_cast<std::int64_t>(zeros_.size()) / per_word_;
  for (std::int64_t w = 0; w < words; ++w) {
    const std::uint32_t word = word_at(*bytes, w) + (packed_.zeros_less_one ? ones : 0);
    for (std::int64_t k = 0; k < per_word_; ++k) {
      const std::int64_t place = packed_.kind == Kind::awq ? kAwqOrder[static_cast<std::size_t>(k)] : k;
      zeros_[static_cast<std::size_t>(w * per_word_ + place)] =
          static_cast<float>(code_in(word, k, packed_.bits));
    }
  }
  return {};
}

Result<void> PackedProjection::read_compressed_zeros() {
  const std::string name = name_ + names_of(packed_.kind).zeros;
  const Checkpoint::TensorRef* found = checkpoint_->find(name);
  if (packed_.symmetric) {
    if (!found) return {};
    return make_error(ErrorCode::invalid_argument,
                      "the checkpoint has the tensor '" + name +
                          "', but quantization_config.config_groups says that weights are symmetric",
                      "quantization_config.config_groups");
  }
  const bool plain = found && found->entry.dtype_name == "I8";
  const std::int64_t rows = (size_.out + per_word_ - 1) / per_word_;
  const auto bytes = tensor(name, plain ? "I8" : "I32", {plain ? size_.out : rows, groups_});
  if (!bytes) return bytes.error();
  for (std::int64_t output = 0; output < size_.out; ++output) {
    for (std::int64_t group = 0; group < groups_; ++group) {
      float& zero = zeros_[static_cast<std::size_t>(at(output, group))];
      if (plain)
        zero += static_cast<float>(
            std::to_integer<std::int8_t>((*bytes)[static_cast<std::size_t>(at(output, group))]));
      else
        zero = static_cast<float>(
            code_in(word_at(*bytes, output / per_word_ * groups_ + group), output % per_word_, packed_.bits));
    }
  }
  return {};
}

Result<void> PackedProjection::read_groups() {
  if (packed_.kind == Kind::awq) return {};
  const std::string name = name_ + names_of(packed_.kind).groups;
  if (!packed_.inputs_ordered && !checkpoint_->find(name)) return {};
  const auto bytes = tensor(name, "I32", {size_.in});
  if (!bytes) return bytes.error();
  input_groups_.resize(static_cast<std::size_t>(size_.in));
  std::memcpy(input_groups_.data(), bytes->data(), bytes->size());
  for (const std::int32_t group : input_groups_)
    if (group < 0 || group >= groups_)
      return corrupt(name, "names group " + std::to_string(group) + " of " + std::to_string(groups_));
  bool in_order = true;
  for (std::size_t i = 0; i < input_groups_.size(); ++i)
    in_order = in_order && input_groups_[i] == static_cast<std::int64_t>(i) / group_;
  if (in_order) input_groups_.clear();
  return {};
}

void PackedProjection::read_tile(Tile& tile) const {
  if (packed_.kind == Kind::awq) return read_awq_tile(tile);
  if (packed_.kind == Kind::gptq) return read_gptq_tile(tile);
  read_compressed_tile(tile);
}

void PackedProjection::read_awq_tile(Tile& tile) const {
  const std::int64_t words = size_.out / 8;
  for (std::int64_t i = 0; i < tile.inputs; i += 8) {
    const std::int64_t inputs = std::min<std::int64_t>(8, tile.inputs - i);
    for (std::int64_t w = tile.output / 8; w < (tile.output + tile.outputs + 7) / 8; ++w) {
      std::array<std::uint64_t, 8> bytes{};  // of an input each, then of an output
      for (std::int64_t k = 0; k < inputs; ++k)
        bytes[static_cast<std::size_t>(k)] = spread(word_at(codes_, (tile.input + i + k) * words + w));
      transpose(bytes);
      for (std::size_t k = 0; k < 8; ++k)
        std::memcpy(tile.row(w * 8 + kAwqOrder[k]) + i, &bytes[k], sizeof bytes[k]);
    }
  }
}

void PackedProjection::read_gptq_tile(Tile& tile) const {
  for (std::int64_t i = 0; i < tile.inputs; i += per_word_) {
    const std::int64_t row = (tile.input + i) / per_word_ * size_.out;
    for (std::int64_t output = tile.output; output < tile.output + tile.outputs; ++output) {
      const std::uint32_t word = word_at(codes_, row + output);
      if (packed_.bits == 8) {
        std::memcpy(tile.row(output) + i, &word, sizeof word);
        continue;
      }
      const std::uint64_t bytes = spread(word);
      std::memcpy(tile.row(output) + i, &bytes, sizeof bytes);
    }
  }
}

void PackedProjection::read_compressed_tile(Tile& tile) const {
  const std::int64_t words = (size_.in + per_word_ - 1) / per_word_;
  for (std::int64_t output = tile.output; output < tile.output + tile.outputs; ++output) {
    const std::int64_t first = output * words + tile.input / per_word_;
    std::uint8_t* const row = tile.row(output);
    if (packed_.bits == 8) {
      std::memcpy(row, codes_.data() + first * 4, static_cast<std::size_t>(tile.inputs));
      continue;
    }
    for (std::int64_t i = 0; i < tile.inputs;
         i += 8) {  // the last may be padding, which the tile has room for
      const std::uint64_t bytes = spread(word_at(codes_, first + i / 8));
      std::memcpy(row + i, &bytes, sizeof bytes);
    }
  }
}

// What the tile's codes of one output stand for; `scale` and `zero` are that output's, of all groups.
void PackedProjection::values_of(Tile& tile, std::int64_t output, const float* scale, const float* zero,
                                 std::span<float> values) const {
  const std::uint8_t* const codes = tile.row(output);
  const auto inputs = static_cast<std::size_t>(tile.inputs);
  if (!input_groups_.empty()) {
    const std::int32_t* const groups = input_groups_.data() + tile.input;
    for (std::size_t i = 0; i < inputs; ++i)
      values[i] = (static_cast<float>(codes[i]) - zero[groups[i]]) * scale[groups[i]];
    return;
  }
  for (std::size_t i = 0; i < inputs;) {
    const std::int64_t group = (tile.input + static_cast<std::int64_t>(i)) / group_;
    const std::size_t end = std::min(inputs, static_cast<std::size_t>((group + 1) * group_ - tile.input));
    const float by = scale[group], from = zero[group];
    for (; i < end; ++i) values[i] = (static_cast<float>(codes[i]) - from) * by;
  }
}

void PackedProjection::expand(std::int64_t first, std::int64_t last, DType to, std::byte* rows) const {
  Tile tile;
  std::array<float, kTileInputs> values{};
  const std::int64_t begin = first / 8 * 8;  // AWQ's words hold eight outputs
  const auto most = static_cast<std::size_t>(std::min(kTileOutputs, last - begin) * groups_);
  std::vector<float> scale(most), zero(most);
  for (tile.output = begin; tile.output < last; tile.output += kTileOutputs) {
    tile.outputs = std::min(kTileOutputs, last - tile.output);
    std::size_t next = 0;
    for (std::int64_t output = tile.output; output < tile.output + tile.outputs; ++output) {
      for (std::int64_t group = 0; group < groups_; ++group, ++next) {
        scale[next] = scales_[static_cast<std::size_t>(at(output, group))];
        zero[next] = zeros_[static_cast<std::size_t>(at(output, group))];
      }
    }
    for (tile.input = 0; tile.input < size_.in; tile.input += kTileInputs) {
      tile.inputs = std::min(kTileInputs, size_.in - tile.input);
      read_tile(tile);
      for (std::int64_t output = std::max(first, tile.output); output < tile.output + tile.outputs;
           ++output) {
        const std::int64_t row = (output - tile.output) * groups_;
        values_of(tile, output, scale.data() + row, zero.data() + row, values);
        convert_values(
            values.data(), DType::f32, tile.inputs, to,
            rows + static_cast<std::size_t>((output - first) * size_.in + tile.input) * size_of(to));
      }
    }
  }
}

}  // namespace baton
