// Tensor cores: ldmatrix, movmatrix, mma.sync, wgmma. Sums of one instruction are exact and rounded once; a
// GPU's are not specified.
#include <cstring>
#include <vector>

#include "machine.hpp"
#include "numbers.hpp"

namespace baton::emulator {

namespace {

// All 65536 values of a 16-bit format.
template <class Small>
const std::vector<float>& values_of() {
  static const std::vector<float> values = [] {
    std::vector<float> all(65536);
    for (std::size_t bits = 0; bits < all.size(); ++bits)
      all[bits] = Small::widen(static_cast<std::uint16_t>(bits));
    return all;
  }();
  return values;
}

bool whole_warp(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (lanes == 0xffffffffU) return true;
  if (warp.alive() != 0xffffffffU) warp.fault(in, 0, "a matrix instruction without a whole warp");
  return false;
}

using Rows = std::array<std::array<std::uint16_t, 8>, 8>;

template <bool kTransposed>
bool load_matrices(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (!whole_warp(warp, in, lanes)) return false;
  std::vector<std::uint64_t> addresses(kLanes);  // before the first result overwrites one
  for (int i = 0; i < kLanes; ++i)
    addresses[static_cast<std::size_t>(i)] =
        warp.value(in.from[0], i) + static_cast<std::uint64_t>(in.offset);
  for (std::size_t k = 0; k < in.list.size(); ++k) {
    Rows rows;
    for (std::size_t row = 0; row < 8; ++row)
      std::memcpy(rows[row].data(),
                  warp.pointer(in, addresses[8 * k + row], 16, static_cast<int>(8 * k + row), false), 16);
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::size_t row = i / 4, column = i % 4 * 2;
      const std::uint32_t low = kTransposed ? rows[column][row] : rows[row][column];
      const std::uint32_t high = kTransposed ? rows[column + 1][row] : rows[row][column + 1];
      warp.set(in.list[k], static_cast<int>(i), high << 16 | low);
    }
  }
  return true;
}

bool transpose(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (!whole_warp(warp, in, lanes)) return false;
  Rows rows;
  for (std::size_t i = 0; i < kLanes; ++i) {
    const std::uint64_t both = warp.value(in.from[0], static_cast<int>(i));
    rows[i / 4][i % 4 * 2] = static_cast<std::uint16_t>(both);
    rows[i / 4][i % 4 * 2 + 1] = static_cast<std::uint16_t>(both >> 16);
  }
  for (std::size_t i = 0; i < kLanes; ++i) {
    const std::uint32_t low = rows[i % 4 * 2][i / 4], high = rows[i % 4 * 2 + 1][i / 4];
    warp.set(in.to, static_cast<int>(i), high << 16 | low);
  }
  return true;
}

// A tile [16][16] that lies in four registers of a warp.
template <class Small>
void read_tile(Warp& warp, const Operand* fragment, float (&tile)[16][16]) {
  const std::vector<float>& values = values_of<Small>();
  for (int i = 0; i < kLanes; ++i) {
    for (int part = 0; part < 4; ++part) {
      const std::uint64_t both = warp.value(fragment[part], i);
      const int row = i / 4 + part % 2 * 8, column = i % 4 * 2 + part / 2 * 8;
      tile[row][column] = values[both & 0xffff];
      tile[row][column + 1] = values[both >> 16 & 0xffff];
    }
  }
}

float product(const float* a, const float* b, float sum) {
  double exact = 0;
  for (int k = 0; k < 16; ++k) exact += static_cast<double>(a[k]) * b[k];
  return static_cast<float>(exact + sum);
}

float real(Warp& warp, const Operand& operand, int lane) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(warp.value(operand, lane)));
}

// mma.m16n8k16: d, a, b, c.
template <class Small>
bool multiply(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (!whole_warp(warp, in, lanes)) return false;
  const std::vector<float>& values = values_of<Small>();
  float a[16][16], b[8][16];
  read_tile<Small>(warp, &in.list[4], a);
  for (int i = 0; i < kLanes; ++i) {
    for (int part = 0; part < 2; ++part) {
      const std::uint64_t both = warp.value(in.list[static_cast<std::size_t>(8 + part)], i);
      b[i / 4][i % 4 * 2 + part * 8] = values[both & 0xffff];
      b[i / 4][i % 4 * 2 + part * 8 + 1] = values[both >> 16 & 0xffff];
    }
  }
  for (int i = 0; i < kLanes; ++i) {
    for (int part = 0; part < 4; ++part) {
      const float c = real(warp, in.list[static_cast<std::size_t>(10 + part)], i);
      const float d = product(a[i / 4 + part / 2 * 8], b[i % 4 * 2 + part % 2], c);
      warp.set(in.list[static_cast<std::size_t>(part)], i, std::bit_cast<std::uint32_t>(d));
    }
  }
  return true;
}

// --- wgmma
// -----------------------------------------------------------------------------------------------------

// A matrix in shared memory under the 128-byte swizzle, as a descriptor says.
struct Descriptor {
  explicit Descriptor(std::uint64_t bits)
      : start(static_cast<std::uint32_t>(bits & 0x3fff) << 4),
        leading(static_cast<std::uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<std::uint32_t>(bits >> 32 & 0x3fff) << 4),
        swizzle(static_cast<std::uint32_t>(bits >> 62)) {}
  std::uint32_t start, leading, stride, swizzle;
};

const std::uint16_t* sixteen_bytes(Warp& warp, const Instruction& in, std::uint32_t address) {
  address ^= (address >> 7 & 7U) << 4;
  return reinterpret_cast<const std::uint16_t*>(warp.pointer(in, Space::shared, address, 16, 0, false));
}

// Rows [first, first + count) of 16 numbers each, one after the other: use(row in the range, which half, 8
// numbers).
template <class Use>
void each_row(Warp& warp, const Instruction& in, const Descriptor& matrix, int first, int count, Use&& use) {
  for (int row = first; row < first + count; ++row) {
    const auto at = matrix.start + static_cast<std::uint32_t>(row / 8) * matrix.stride +
                    static_cast<std::uint32_t>(row % 8) * 128;
    for (int half = 0; half < 2; ++half)
      use(row - first, half, sixteen_bytes(warp, in, at + static_cast<std::uint32_t>(half) * 16));
  }
}

// A matrix [count][16] that lies [16][count]: use(k, first of 8 columns, 8 numbers).
template <class Use>
void each_column(Warp& warp, const Instruction& in, const Descriptor& matrix, int count, Use&& use) {
  for (int k = 0; k < 16; ++k) {
    for (int n = 0; n < count; n += 8) {
      const std::uint32_t at = matrix.start + static_cast<std::uint32_t>(n / 64) * matrix.leading +
                               static_cast<std::uint32_t>(k / 8) * matrix.stride +
                               static_cast<std::uint32_t>(k % 8) * 128 +
                               static_cast<std::uint32_t>(n % 64) * 2;
      use(k, n, sixteen_bytes(warp, in, at));
    }
  }
}

template <class Small>
void read_rows(Warp& warp, const Instruction& in, const Descriptor& matrix, int first, int count,
               float (*to)[16]) {
  const std::vector<float>& values = values_of<Small>();
  each_row(warp, in, matrix, first, count, [&](int row, int half, const std::uint16_t* from) {
    for (int k = 0; k < 8; ++k) to[row][half * 8 + k] = values[from[k]];
  });
}

template <class Small>
void read_columns(Warp& warp, const Instruction& in, const Descriptor& matrix, int count, float (*to)[16]) {
  const std::vector<float>& values = values_of<Small>();
  each_column(warp, in, matrix, count, [&](int k, int n, const std::uint16_t* from) {
    for (int i = 0; i < 8; ++i) to[n + i][k] = values[from[i]];
  });
}

template <class Small, int kColumns>
void multiply_warp(Warp& warp, const Instruction& in, std::uint64_t first, std::uint64_t second, bool add) {
  constexpr std::size_t kResults = kColumns / 2;
  const bool a_in_registers = in.list.size() == kResults + 5;
  const Descriptor b_matrix(a_in_registers ? first : second);
  const bool b_across = warp.value(in.list.back(), 0) != 0;
  if (b_matrix.swizzle != 1) warp.fault(in, 0, "a swizzle other than 128 bytes");
  float a[16][16];
  static thread_local float b[kColumns][16];
  if (a_in_registers) {
    read_tile<Small>(warp, &in.list[kResults], a);
  } else {
    if (warp.value(in.list[in.list.size() - 2], 0) != 0) warp.fault(in, 0, "a transposed A");
    read_rows<Small>(warp, in, Descriptor(first), static_cast<int>(warp.index % 4) * 16, 16, a);
  }
  if (b_across) {
    read_columns<Small>(warp, in, b_matrix, kColumns, b);
  } else {
    read_rows<Small>(warp, in, b_matrix, 0, kColumns, b);
  }
  for (int i = 0; i < kLanes; ++i) {
    for (std::size_t r = 0; r < kResults; ++r) {
      const float sum = add ? real(warp, in.list[r], i) : 0.0F;
      const float d = product(a[i / 4 + static_cast<int>(r) % 4 / 2 * 8],
                              b[static_cast<int>(r) / 4 * 8 + i % 4 * 2 + static_cast<int>(r) % 2], sum);
      warp.set(in.list[r], i, std::bit_cast<std::uint32_t>(d));
    }
  }
}

// d, a, b, whether to add, signs; done when the warp waits for it.
template <class Small, int kColumns>
bool multiply_later(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (!whole_warp(warp, in, lanes)) return false;
  const bool a_in_registers = in.list.size() == kColumns / 2 + 5;
  const std::uint64_t first = warp.value(in.from[0], 0), second = warp.value(in.from[1], 0);
  const bool add = warp.value(in.from[a_in_registers ? 1 : 2], 0) != 0;
  const Descriptor b_matrix(a_in_registers ? first : second);
  // From here on it may read: the race check alone, now.
  const auto look = [](int, int, const std::uint16_t*) {};
  if (!a_in_registers) each_row(warp, in, Descriptor(first), static_cast<int>(warp.index % 4) * 16, 16, look);
  if (warp.value(in.list.back(), 0) != 0) {
    each_column(warp, in, b_matrix, kColumns, look);
  } else {
    each_row(warp, in, b_matrix, 0, kColumns, look);
  }
  if (warp.products.empty()) warp.products.emplace_back();
  warp.products.back().push_back(
      [&warp, &in, first, second, add] { multiply_warp<Small, kColumns>(warp, in, first, second, add); });
  return true;
}

bool commit_products(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (!whole_warp(warp, in, lanes)) return false;
  if (warp.products.empty()) warp.products.emplace_back();
  warp.products.emplace_back();
  return true;
}

bool wait_products(Warp& warp, const Instruction& in, std::uint32_t lanes) {
  if (!whole_warp(warp, in, lanes)) return false;
  while (warp.products.size() > static_cast<std::size_t>(in.number) + 1) {  // the last is not committed
    for (const auto& product : warp.products.front()) product();
    warp.products.erase(warp.products.begin());
  }
  return true;
}

template <class Small>
Run multiply_of(const Opcode& opcode) {
  if (opcode.has("m64n8k16")) return multiply_later<Small, 8>;
  if (opcode.has("m64n16k16")) return multiply_later<Small, 16>;
  if (opcode.has("m64n32k16")) return multiply_later<Small, 32>;
  if (opcode.has("m64n64k16")) return multiply_later<Small, 64>;
  return opcode.has("m64n128k16") ? multiply_later<Small, 128> : nullptr;
}

}  // namespace

Choice choose_matrix(const Opcode& opcode) {
  Choice choice;
  choice.flow = Flow::converge;
  const std::string& name = opcode.name();
  if (name == "ldmatrix" && opcode.has("m8n8") && opcode.type() == "b16") {
    choice.run = opcode.has("trans") ? load_matrices<true> : load_matrices<false>;
  } else if (name == "movmatrix") {
    choice.run = transpose;
  } else if (name == "mma" && opcode.has("m16n8k16") && opcode.type() == "f32") {
    choice.run = opcode.has("bf16") ? multiply<Brain16> : opcode.has("f16") ? multiply<Half16> : nullptr;
  } else if (name == "wgmma") {
    if (opcode.has("mma_async")) {
      choice.run = opcode.has("bf16")  ? multiply_of<Brain16>(opcode)
                   : opcode.has("f16") ? multiply_of<Half16>(opcode)
                                       : nullptr;
      choice.widths = {8, 8, 4, 4};
    } else {
      choice.has_result = false;
      choice.run = opcode.has("commit_group") ? commit_products
                   : opcode.has("wait_group") ? wait_products
                                              : nothing;
    }
  }
  return choice;
}

}  // namespace baton::emulator
