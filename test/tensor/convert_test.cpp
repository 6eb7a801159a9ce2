// convert_values: what every element type means, from any alignment.
#include "baton/tensor/convert.hpp"

#include <cmath>
#include <cstring>
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

}  // namespace baton
