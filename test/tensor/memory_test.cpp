// Buffer, Workspace, and the KV layout's arithmetic.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <set>
#include <vector>

#include "baton/tensor/buffer.hpp"
#include "baton/tensor/tensor.hpp"
#include "support/catch.hpp"
#include "tensor/workspace.hpp"

namespace baton::test {

TEST_CASE("a buffer is zeroed, aligned and owned") {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{1000}, (std::size_t{1} << 20) - 1,
                                  std::size_t{1} << 20, (std::size_t{5} << 20) + 17}) {
    for (const bool huge : {false, true}) {
      auto buffer = Buffer::allocate({}, bytes, {.huge_pages = huge});
      REQUIRE(buffer.has_value());
      CHECK(buffer->size() == bytes);
      CHECK(reinterpret_cast<std::uintptr_t>(buffer->data()) % 64 == 0);
      CHECK(
          std::all_of(buffer->data(), buffer->data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
      std::memset(buffer->data(), 0xAB, bytes);
      Buffer moved = *std::move(buffer);
      CHECK(moved.size() == bytes);
      CHECK(buffer->size() == 0);
      CHECK(buffer->data() == nullptr);
    }
  }
  auto empty = Buffer::allocate({}, 0);
  REQUIRE(empty.has_value());
  CHECK(empty->size() == 0);
}

TEST_CASE("a buffer that cannot be had is an error") {
  for (const std::size_t bytes : {SIZE_MAX, SIZE_MAX / 2, std::size_t{1} << 46}) {
    const auto buffer = Buffer::allocate({}, bytes);
    REQUIRE(!buffer);
    CHECK(buffer.error().code == ErrorCode::out_of_memory);
  }
  const auto device = Buffer::allocate({DeviceKind::cuda, 0}, 64);
  if (!device) CHECK(device.error().code == ErrorCode::unsupported);
}

TEST_CASE("a workspace keeps pointers valid, and its memory for the next step") {
  Workspace workspace;
  const std::size_t start = workspace.mark();
  auto* first = static_cast<std::uint8_t*>(workspace.allocate(100));
  std::memset(first, 1, 100);
  const std::size_t mark = workspace.mark();
  std::set<void*> seen;
  for (int i = 0; i < 50; ++i) {
    auto* part = static_cast<std::uint8_t*>(workspace.allocate(300'000));
    CHECK(reinterpret_cast<std::uintptr_t>(part) % 64 == 0);
    CHECK(seen.insert(part).second);
    std::memset(part, 2, 300'000);
  }
  workspace.allocate(10'000'000);
  CHECK(std::all_of(first, first + 100, [](std::uint8_t b) { return b == 1; }));
  const std::size_t held = workspace.capacity();
  workspace.release(mark);
  auto* again = static_cast<std::uint8_t*>(workspace.allocate(64));
  CHECK(again == first + 128);
  workspace.release(start);
  CHECK(workspace.allocate(64) == first);
  for (int i = 0; i < 40; ++i) workspace.allocate(250'000);
  CHECK(workspace.capacity() == held);
}

TEST_CASE("the KV layout: sizes, id, and where a piece lies") {
  const KvLayout layout{.dtype = DType::bf16, .layers = 22, .kv_heads = 4, .head_dim = 64, .block_size = 16};
  CHECK(layout.id() == "bl2ht/bf16/l22/h4/d64/b16");
  CHECK(layout.bytes_per_token() == 22 * 2 * 4 * 64 * 2);
  KvLayout other = layout;
  other.dtype = DType::f16;
  CHECK(other.id() != layout.id());
  std::vector<std::byte> base(3 * layout.block_bytes());
  const KvView view{.base = base.data(), .layout = layout, .blocks = 3};
  CHECK(view.piece(0, 0, 0, 1) - view.base == static_cast<std::ptrdiff_t>(layout.head_bytes()));
  CHECK(view.piece(0, 0, 1, 0) - view.base == static_cast<std::ptrdiff_t>(4 * layout.head_bytes()));
  CHECK(view.piece(0, 1, 0, 0) - view.base == static_cast<std::ptrdiff_t>(layout.layer_bytes()));
  CHECK(view.piece(2, 21, 1, 3) + layout.head_bytes() == view.block(3));
}

TEST_CASE("groups of KV blocks: what a row sees, what a sequence has at most, and the layout's id") {
  KvLayout layout{.dtype = DType::bf16, .layers = 5, .kv_heads = 4, .head_dim = 64, .block_size = 16};
  layout.groups = {.full = 1, .windowed = 6, .window = 1024};
  CHECK(layout.id() == "bl2ht/bf16/l5/h4/d64/b16/g1+6w1024");
  CHECK(layout.bytes_per_token() == 7 * 5 * 2 * 4 * 64 * 2);
  layout.groups = {.full = 2};
  CHECK(layout.id() == "bl2ht/bf16/l5/h4/d64/b16/g2+0");

  for (const KvGroups groups : {KvGroups{}, KvGroups{0, 1, 1}, KvGroups{1, 2, 7}, KvGroups{2, 3, 16}}) {
    for (const std::int32_t size : {1, 4, 16}) {
      std::int64_t most = 0;
      for (std::int32_t tokens = 1; tokens < 90; ++tokens) {
        // Whatever it has computed so far, in a step of up to 9 rows.
        for (std::int32_t computed = 0; computed < tokens; ++computed) {
          const std::int32_t end = std::min(computed + 9, tokens);
          std::int64_t here = 0;
          for (std::int32_t block = 0; block * size < end; ++block) {
            const bool seen = groups.windowed > 0 && (block + 1) * size > computed + 1 - groups.window;
            here += groups.full + (seen ? groups.windowed : 0);
            if (groups.windowed > 0) CHECK(seen == (block >= groups.first_seen_block(computed, size)));
          }
          most = std::max(most, here);
        }
        CHECK(most <= groups.most_blocks(tokens, 9, size));
        CHECK(groups.most_blocks(tokens, 9, size) <= most + groups.windowed);
      }
      for (const std::int64_t blocks : {5, 20, 33, 100}) {
        const std::int64_t longest = groups.longest_text(blocks, 9, size);
        CHECK(groups.most_blocks(longest, std::min<std::int64_t>(longest, 9), size) <= blocks);
        if (groups.full > 0) CHECK(groups.most_blocks(longest + 1, 9, size) > blocks);
      }
    }
  }
  CHECK(KvGroups{}.longest_text(10, 512, 16) == 160);
  CHECK(KvGroups{0, 1, 64}.longest_text(1000, 64, 16) > 1'000'000);  // never fills it
  CHECK(KvGroups{}.tokens_in(10, 500, 16) >= 156);
  CHECK(KvGroups{1, 1, 64}.tokens_in(1000, 1600, 16) == 1000 * 1600 / 105);
}

TEST_CASE("element types have sizes and names") {
  CHECK(size_of(DType::f32) == 4);
  CHECK(size_of(DType::bf16) == 2);
  CHECK(to_string(DType::f32) == "f32");
  CHECK(to_string(DType::f16) == "f16");
  CHECK(to_string(DType::bf16) == "bf16");
  CHECK(to_string(DType::i32) == "i32");
}

}  // namespace baton::test
