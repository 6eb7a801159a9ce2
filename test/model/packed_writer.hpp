// Writes projections as AWQ, GPTQ and compressed-tensors pack them: from the formats' definitions, one code
// at a time, and nothing of the reader's.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tiny_model.hpp"

namespace baton::test {

// What a checkpoint is made of, and what its quantization_config says.
struct Packer {
  enum class Kind : std::uint8_t { awq, gptq, compressed } kind;
  int bits = 4;
  std::int64_t group = 8;    // 0: all inputs
  bool asymmetric = true;    // compressed: has zero points
  bool ordered = false;      // inputs of one group lie scattered
  bool v2 = false;           // gptq
  bool plain_zeros = false;  // compressed: of I8
  bool named_groups = true;  // gptq: g_idx is there even where inputs are in order
  std::string scale_type = "F16";
};

struct PackedWeight {
  std::vector<TestTensor> tensors;
  std::vector<float> weights;  // [out, in], what the tensors stand for
};

// Codes of `bits`, `per_word` along one dimension of the matrix that code(row, column) describes.
inline TestTensor pack_codes(const std::string& name, std::int64_t rows, std::int64_t columns, int bits,
                             bool along_rows,
                             const std::function<std::uint32_t(std::int64_t, std::int64_t)>& code,
                             const std::function<std::uint32_t(std::uint32_t)>& finish = {}) {
  const std::int64_t per_word = 32 / bits;
  const auto words_of = [&](std::int64_t codes) { return (codes + per_word - 1) / per_word; };
  TestTensor tensor{
      name, "I32", {along_rows ? words_of(rows) : rows, along_rows ? columns : words_of(columns)}, {}};
  for (std::int64_t r = 0; r < tensor.shape[0]; ++r) {
    for (std::int64_t c = 0; c < tensor.shape[1]; ++c) {
      std::uint32_t word = 0;
      for (std::int64_t k = 0; k < per_word; ++k) {
        const std::int64_t row = along_rows ? r * per_word + k : r,
                           column = along_rows ? c : c * per_word + k;
        if (row < rows && column < columns) word |= code(row, column) << (k * bits);
      }
      if (finish) word = finish(word);
      for (int byte = 0; byte < 4; ++byte) tensor.bytes += static_cast<char>(word >> (8 * byte) & 255);
    }
  }
  return tensor;
}

inline std::string i32_bytes(const std::vector<std::int32_t>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * 4};
}

// A random projection: codes, zero points and scales of all values, those of both ends included.
inline PackedWeight pack_projection(const Packer& how, const std::string& name, std::int64_t out,
                                    std::int64_t in, std::mt19937& engine) {
  const std::int64_t group = how.group > 0 ? how.group : in, groups = in / group;
  const std::uint32_t codes = 1U << how.bits;
  const bool compressed = how.kind == Packer::Kind::compressed, awq = how.kind == Packer::Kind::awq;
  std::vector<std::uint32_t> code(static_cast<std::size_t>(out * in));
  std::vector<std::uint32_t> zero(static_cast<std::size_t>(out * groups));
  std::vector<float> scale(zero.size());
  std::vector<std::int32_t> group_of(static_cast<std::size_t>(in));
  for (auto& value : code) value = engine() % codes;
  for (auto& value : zero) value = compressed && !how.asymmetric ? codes / 2 : engine() % codes;
  for (float& value : scale) value = static_cast<float>(engine() % 32 + 16) / (how.bits == 4 ? 1024 : 16384);
  for (std::size_t i = 0; i < group_of.size(); ++i)
    group_of[i] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) / group);
  if (how.ordered) std::shuffle(group_of.begin(), group_of.end(), engine);
  const auto code_of = [&](std::int64_t o, std::int64_t i) {
    return code[static_cast<std::size_t>(o * in + i)];
  };
  const auto at = [&](std::int64_t o, std::int64_t g) { return static_cast<std::size_t>(o * groups + g); };

  PackedWeight made;
  for (std::int64_t o = 0; o < out; ++o)
    for (std::int64_t i = 0; i < in; ++i) {
      const std::size_t place = at(o, group_of[static_cast<std::size_t>(i)]);
      made.weights.push_back((static_cast<float>(code_of(o, i)) - static_cast<float>(zero[place])) *
                             scale[place]);
    }
  std::vector<float> stored;  // scales in the order of the file
  for (std::int64_t k = 0; k < out * groups; ++k)
    stored.push_back(compressed ? scale[static_cast<std::size_t>(k)] : scale[at(k % out, k / out)]);
  const std::string scale_bytes = encode(stored, how.scale_type);
  if (awq || how.kind == Packer::Kind::gptq) {
    // AWQ's word holds the columns 0, 2, 4, 6, 1, 3, 5, 7 of eight.
    const auto column = [&](std::int64_t o) {
      return awq ? o / 8 * 8 + (o % 8 < 4 ? o % 8 * 2 : o % 8 * 2 - 7) : o;
    };
    const std::uint32_t one_each = how.bits == 4 ? 0x11111111U : 0x01010101U;
    made.tensors.push_back(pack_codes(name + ".qweight", in, out, how.bits, !awq,
                                      [&](std::int64_t i, std::int64_t o) { return code_of(column(o), i); }));
    made.tensors.push_back(pack_codes(
        name + ".qzeros", groups, out, how.bits, false,
        [&](std::int64_t g, std::int64_t o) { return zero[at(column(o), g)]; },
        [&](std::uint32_t word) { return awq || how.v2 ? word : word - one_each; }));
    made.tensors.push_back({name + ".scales", how.scale_type, {groups, out}, scale_bytes});
    if (!awq && (how.named_groups || how.ordered))
      made.tensors.push_back({name + ".g_idx", "I32", {in}, i32_bytes(group_of)});
    return made;
  }
  made.tensors.push_back(pack_codes(name + ".weight_packed", out, in, how.bits, false, code_of));
  made.tensors.push_back({name + ".weight_scale", how.scale_type, {out, groups}, scale_bytes});
  if (how.asymmetric && how.plain_zeros) {
    TestTensor& zeros =
        made.tensors.emplace_back(TestTensor{name + ".weight_zero_point", "I8", {out, groups}, {}});
    for (const std::uint32_t value : zero)
      zeros.bytes += static_cast<char>(static_cast<int>(value) - static_cast<int>(codes / 2));
  } else if (how.asymmetric) {
    made.tensors.push_back(pack_codes(name + ".weight_zero_point", out, groups, how.bits, true,
                                      [&](std::int64_t o, std::int64_t g) { return zero[at(o, g)]; }));
  }
  const std::int64_t shape[] = {out, in};
  made.tensors.push_back(
      {name + ".weight_shape", "I64", {2}, {reinterpret_cast<const char*>(shape), sizeof shape}});
  if (how.ordered) made.tensors.push_back({name + ".weight_g_idx", "I32", {in}, i32_bytes(group_of)});
  return made;
}

inline nlohmann::json quantization_config(const Packer& how) {
  const std::int64_t group = how.group > 0 ? how.group : -1;
  if (how.kind == Packer::Kind::awq)
    return {{"quant_method", "awq"},
            {"bits", how.bits},
            {"group_size", group},
            {"version", "gemm"},
            {"zero_point", true}};
  if (how.kind == Packer::Kind::gptq)
    return {{"quant_method", "gptq"}, {"bits", how.bits},
            {"group_size", group},    {"desc_act", how.ordered},
            {"sym", false},           {"checkpoint_format", how.v2 ? "gptq_v2" : "gptq"}};
  nlohmann::json weights = {{"num_bits", how.bits},
                            {"type", "int"},
                            {"symmetric", !how.asymmetric},
                            {"strategy", how.group > 0 ? "group" : "channel"}};
  if (how.group > 0) weights["group_size"] = how.group;
  if (how.ordered) weights["actorder"] = "group";
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}}}}}};
}

// Packs the projections and the experts of `tiny`, but for those that `left_whole` names a part of.
inline void pack_model(TinyModel& tiny, const Packer& how, const std::string& left_whole = "lm_head") {
  std::mt19937 engine(23);
  std::vector<TestTensor> tensors;
  for (TestTensor& tensor : tiny.tensors) {
    const bool matrix = tensor.shape.size() == 2 && tensor.name.ends_with(".weight");
    if (!matrix || tensor.name.find("embed_tokens") != std::string::npos ||
        tensor.name.ends_with(".gate.weight") || tensor.name.find(left_whole) != std::string::npos) {
      tensors.push_back(std::move(tensor));
      continue;
    }
    const std::string name = tensor.name.substr(0, tensor.name.size() - 7);
    PackedWeight packed = pack_projection(how, name, tensor.shape[0], tensor.shape[1], engine);
    tiny.weights[tensor.name] = std::move(packed.weights);
    for (TestTensor& made : packed.tensors) tensors.push_back(std::move(made));
  }
  tiny.tensors = std::move(tensors);
  tiny.config["quantization_config"] = quantization_config(how);
  tiny.write();
}

}  // namespace baton::test
