// convert_values: what every element type means, from any alignment. quantise_to_e4m3: against a search
// through all codes.
#include "baton/tensor/convert.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "support/catch.hpp"

namespace baton {
namespace {

std::vector<float> floats(DType from, std::vector<unsigned char> bytes, float scale = 1.0F) {
  const auto count = static_cast<std::int64_t>(bytes.size() / size_of(from));
  bytes.insert(bytes.begin(), 0);  // unaligned
  std::vector<float> values(static_cast<std::size_t>(count));
  convert_values(bytes.data() + 1, from, count, DType::f32, reinterpret_cast<std::byte*>(values.data()),
                 scale);
  return values;
}

float meaning(std::byte code) {
  float value = 0;
  convert_values(&code, DType::e4m3, 1, DType::f32, reinterpret_cast<std::byte*>(&value));
  return value;
}

// The code whose value is nearest; of two, the even one.
std::byte nearest(float value) {
  std::byte best{};
  float distance = std::numeric_limits<float>::infinity();
  for (int i = 0; i < 256; ++i) {
    const auto code = static_cast<std::byte>(i);
    const float candidate = meaning(code);
    if (std::isnan(candidate) || std::signbit(candidate) != std::signbit(value)) continue;
    const float off = std::abs(candidate - value);
    if (off < distance || (off == distance && (i & 1) == 0)) {
      best = code;
      distance = off;
    }
  }
  return best;
}

// From the format's definition.
float meaning_of_half(std::uint32_t bits) {
  const auto exponent = static_cast<int>(bits >> 10 & 31), mantissa = static_cast<int>(bits & 1023);
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                   : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
  return (bits & 0x8000) != 0 ? -size : size;
}

std::uint32_t half_of(float value) {
  std::uint16_t bits = 0;
  convert_values(&value, DType::f32, 1, DType::f16, reinterpret_cast<std::byte*>(&bits));
  return bits;
}

}  // namespace

TEST_CASE("elements are widened to what they stand for") {
  CHECK(floats(DType::f16, {0x00, 0x3C, 0x01, 0x80, 0xFF, 0x7B}) ==
        std::vector<float>{1.0F, -0x1p-24F, 65504.0F});
  CHECK(floats(DType::bf16, {0xC0, 0x3F, 0x80, 0xFF}) == std::vector<float>{1.5F, -INFINITY});
  CHECK(floats(DType::e4m3, {0x38, 0x01, 0x87, 0x08, 0x7E, 0xFE}) ==
        std::vector<float>{1.0F, 0x1p-9F, -0x7p-9F, 0x1p-6F, 448.0F, -448.0F});
  CHECK(floats(DType::e4m3, {0x3C}, 0.5F) == std::vector<float>{0.75F});
  CHECK(std::isnan(floats(DType::e4m3, {0x7F})[0]));
  const unsigned char codes[] = {0x3C, 0xB9, 0x7F};
  std::uint16_t narrow[3] = {};
  convert_values(codes, DType::e4m3, 3, DType::bf16, reinterpret_cast<std::byte*>(narrow), 3.0F);
  CHECK(narrow[0] == 0x4090);  // 4.5
  CHECK(narrow[1] == 0xC058);  // -3.375
  CHECK((narrow[2] & 0x7FFF) > 0x7F80);
  convert_values(codes, DType::e4m3, 2, DType::f16, reinterpret_cast<std::byte*>(narrow), 3.0F);
  CHECK(narrow[0] == 0x4480);
  CHECK(narrow[1] == 0xC2C0);
}

TEST_CASE("every f16 is read and written as it is, and what lies between two goes to the nearest") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    float value = 0;
    convert_values(&half, DType::f16, 1, DType::f32, reinterpret_cast<std::byte*>(&value));
    if ((bits & 0x7C00) == 0x7C00) {
      const bool infinite = (bits & 0x3FF) == 0;
      wrong += infinite ? !std::isinf(value) || half_of(value) != bits
                        : !std::isnan(value) || (half_of(value) & 0x7FFF) <= 0x7C00;
      continue;
    }
    wrong +=
        value != meaning_of_half(bits) || std::signbit(value) != (bits >> 15 != 0) || half_of(value) != bits;
    if ((bits & 0x7FFF) == 0x7BFF) continue;  // the largest has no next
    const float middle = (value + meaning_of_half(bits + 1)) / 2;
    wrong += half_of(middle) != bits + (bits & 1);  // the even one of the two
    wrong += half_of(std::nextafter(middle, value)) != bits;
    wrong += half_of(std::nextafter(middle, meaning_of_half(bits + 1))) != bits + 1;
  }
  CHECK(wrong == 0);
  CHECK(half_of(65519.99F) == 0x7BFF);
  CHECK(half_of(65520.0F) == 0x7C00);
  CHECK(half_of(-1e30F) == 0xFC00);
  CHECK(half_of(1e-30F) == 0);
}

TEST_CASE("e4m3 codes are the nearest, and the largest weight is the largest code") {
  std::mt19937 engine(5);
  for (int round = 0; round < 40; ++round) {
    const float spread = std::ldexp(1.0F, static_cast<int>(engine() % 60) - 40);
    std::vector<float> values(97);
    for (float& value : values) {
      value = spread * (static_cast<float>(engine() % 20001) - 10000) / 10000;
      if (engine() % 4 == 0) value *= std::ldexp(1.0F, -static_cast<int>(engine() % 12));
    }
    std::vector<std::byte> codes(values.size());
    const float scale = quantise_to_e4m3(values, codes);
    float largest = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      CAPTURE(round, i, values[i], scale);
      CHECK(codes[i] == nearest(values[i] / scale));
      largest = std::max(largest, std::abs(meaning(codes[i])));
    }
    CHECK(largest == 448.0F);
  }
}

TEST_CASE("e4m3 codes of ties, zeros and what is not finite") {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto codes_of = [](std::vector<float> values) {
    std::vector<std::byte> codes(values.size());
    const float scale = quantise_to_e4m3(values, codes);
    std::vector<float> meant{scale};
    for (const std::byte code : codes) meant.push_back(meaning(code));
    return meant;
  };
  // With 448 among them the scale is 1: half-way between two codes goes to the even one.
  CHECK(codes_of({448, 17, 19, -17, 0x1p-10F, 0x3p-10F, 0x1.fp-7F, 0}) ==
        std::vector<float>{1, 448, 16, 20, -16, 0, 0x1p-8F, 0x1p-6F, 0});
  CHECK(codes_of({0, -0.0F, 0}) == std::vector<float>{1, 0, 0, 0});
  CHECK(codes_of({1e-42F, -1e-42F}) == std::vector<float>{1, 0, 0});
  const std::vector<float> odd = codes_of({infinity, 2, std::nanf(""), -infinity, -1});
  CHECK(odd[0] == 2.0F / 448);
  CHECK(std::isnan(odd[1]));
  CHECK(odd[2] == 448);
  CHECK(std::isnan(odd[3]));
  CHECK(std::isnan(odd[4]));
  CHECK(odd[5] == -224);
}

}  // namespace baton
