// Attention on the device, of every shape, element and kernel.
#include <cuda_runtime.h>

#include <cmath>
#include <string>
#include <vector>

#include "attention_cases.hpp"
#include "kernel_tests.hpp"

namespace baton::gpu {

namespace {

using cuda::Element;
using cuda::PrefillVersion;

std::vector<PrefillVersion> tensor_core_versions() {
  int major = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  if (major == 9) return {PrefillVersion::mma, PrefillVersion::resident};
  return {PrefillVersion::mma};
}

// From nothing to everything, and what takes its share.
std::vector<float> some_sinks(int heads) {
  constexpr float kSome[] = {6, -3, 40, -200, INFINITY, 8, -INFINITY, 2};
  std::vector<float> sinks;
  for (int head = 0; head < heads; ++head) sinks.push_back(kSome[head % 8]);
  return sinks;
}

}  // namespace

bool attention_tests() {
  constexpr Element f32 = Element::f32, f16 = Element::f16, bf16 = Element::bf16, e4m3 = Element::e4m3;
  const std::vector<int> edges = {0, 1, 14, 15, 16, 17, 63, 64, 254, 255, 256, 257, 271, 511, 512, 777, 1023};
  unsigned seed = 1;
  for (const Element cache : {bf16, e4m3})
    for (const int group : {1, 3, 4, 7, 8})
      test_decode({bf16, cache, 2 * group, 2, 128, 16}, edges, true, ++seed);
  report("decode bf16 and e4m3, groups");
  for (const Element cache : {f16, e4m3}) {
    test_decode({f16, cache, 8, 2, 128, 64}, edges, false, ++seed);
    test_decode({f16, cache, 8, 2, 64, 16}, edges, true, ++seed);
    test_decode({f16, cache, 8, 2, 96, 32}, edges, true, ++seed);
    test_decode({f16, cache, 8, 2, 256, 16}, edges, false, ++seed);
    test_decode({f16, cache, 32, 2, 64, 512}, edges, true, ++seed);
    test_decode({f16, cache, 24, 2, 128, 16}, edges, true, ++seed);
  }
  report("decode f16 and e4m3, head dims");
  std::vector<int> many;
  for (int i = 0; i < 80; ++i) many.push_back((i * 197 + 13) % 600);
  test_decode({bf16, bf16, 32, 8, 64, 16}, many, true, ++seed);
  test_decode({bf16, e4m3, 32, 8, 64, 16}, many, false, ++seed);
  test_decode({bf16, bf16, 4, 1, 128, 16}, {5000, 4096}, true, ++seed);
  report("decode many rows, long rows");
  for (const Element cache : {f32, f16, bf16, e4m3}) {
    test_decode({f32, cache, 6, 2, 48, 16}, {0, 130, 255, 256, 600}, true, ++seed);
  }
  for (const int dim : {4, 8, 24, 100}) test_decode({f32, f32, 4, 4, dim, 8}, {0, 7, 300}, false, ++seed);
  test_decode({bf16, bf16, 4, 2, 100, 8}, {0, 7, 300}, true, ++seed);
  report("decode generic");

  for (const PrefillVersion version : tensor_core_versions()) {
    const auto report_here = [&](const char* element) {
      report((std::string("prefill ") + name(version) + " " + element).c_str());
    };
    test_prefill({bf16, bf16, 4, 2, 128, 16}, version, true, ++seed);
    test_prefill({bf16, bf16, 3, 1, 128, 128}, version, false, ++seed);
    test_prefill({bf16, bf16, 4, 1, 64, 16}, version, true, ++seed);
    test_prefill({bf16, bf16, 2, 2, 128, 512}, version, true, ++seed);
    report_here("bf16");
    test_prefill({f16, f16, 4, 2, 128, 64}, version, false, ++seed);
    test_prefill({f16, f16, 7, 1, 64, 32}, version, true, ++seed);
    report_here("f16");
    test_prefill({bf16, e4m3, 4, 2, 128, 16}, version, true, ++seed);
    test_prefill({f16, e4m3, 4, 2, 128, 64}, version, false, ++seed);
    test_prefill({bf16, e4m3, 3, 1, 64, 16}, version, true, ++seed);
    report_here("e4m3");
    if (version != PrefillVersion::resident) continue;
    // More units of work than multiprocessors.
    test_prefill({bf16, bf16, 48, 8, 128, 16}, version, true, ++seed);
    test_prefill({bf16, e4m3, 48, 8, 128, 16}, version, true, ++seed);
    test_prefill({f16, f16, 40, 8, 64, 16}, version, false, ++seed);
    report_here("many heads");
  }
  test_prefill({f32, f32, 4, 2, 24, 8}, PrefillVersion::best, true, ++seed);
  test_prefill({f32, e4m3, 4, 2, 64, 16}, PrefillVersion::best, false, ++seed);
  test_prefill({bf16, bf16, 2, 1, 128, 16}, PrefillVersion::generic, true, ++seed);
  report("prefill generic");
  return attention_failures() == 0;
}

bool attention_window_tests() {
  constexpr Element f32 = Element::f32, f16 = Element::f16, bf16 = Element::bf16, e4m3 = Element::e4m3;
  const std::vector<int> edges = {0, 1, 15, 16, 17, 99, 100, 255, 256, 257, 271, 511, 512, 777, 1023, 1300};
  struct Shape {
    Element element, cache;
    int head_dim, block_size;
  };
  constexpr Shape kDecode[] = {{bf16, bf16, 128, 16}, {f16, e4m3, 64, 512}, {bf16, bf16, 256, 16},
                               {bf16, e4m3, 128, 32}, {f16, f16, 64, 16},   {bf16, e4m3, 96, 16},
                               {f16, f16, 96, 64},    {f16, e4m3, 256, 16}, {f32, bf16, 48, 8}};
  constexpr Shape kPrefill[] = {{bf16, bf16, 128, 16},
                                {f16, e4m3, 64, 32},
                                {f16, f16, 64, 512},
                                {bf16, e4m3, 128, 16},
                                {f16, f16, 128, 64}};
  unsigned seed = 1000;
  int turn = 0;
  const auto setup_of = [&](const Shape& shape, int window) {
    const int group = ++turn % (shape.head_dim == 256 ? 8 : 16) + 1;
    AttentionSetup setup{shape.element, shape.cache, 2 * group, 2, shape.head_dim, shape.block_size, window};
    if (turn % 2 == 0) setup.sinks = some_sinks(2 * group);
    return setup;
  };
  for (const int window : {1, 2, 15, 16, 17, 100, 256, 257, 1000})
    for (const Shape& shape : kDecode) test_decode(setup_of(shape, window), edges, turn % 3 == 0, ++seed);
  report("decode windows");
  std::vector<int> many;
  for (int i = 0; i < 80; ++i) many.push_back((i * 197 + 13) % 600);
  test_decode({bf16, bf16, 32, 8, 64, 16, 100}, many, true, ++seed);
  test_decode({bf16, bf16, 4, 1, 128, 16, 1000, some_sinks(4)}, {5000, 4096, 4351, 4352}, true, ++seed);
  for (const int dim : {4, 24, 100}) test_decode({f32, f32, 4, 4, dim, 8, 9}, {0, 7, 300}, false, ++seed);
  report("decode windows of many and long rows");

  for (const PrefillVersion version : tensor_core_versions()) {
    for (const int window : {1, 2, 15, 16, 17, 100, 128, 256, 257, 1000}) {
      AttentionSetup setup = setup_of(kPrefill[static_cast<std::size_t>(turn) % 5], window);
      if (setup.query_heads > 8) setup.query_heads = 6;
      setup.sinks.resize(setup.sinks.empty() ? 0 : static_cast<std::size_t>(setup.query_heads));
      test_prefill(setup, version, turn % 3 == 0, ++seed);
    }
    report((std::string("prefill windows ") + name(version)).c_str());
  }
  // More units of work than multiprocessors.
  test_prefill({bf16, bf16, 48, 8, 128, 16, 200, some_sinks(48)}, PrefillVersion::best, true, ++seed);
  test_prefill({f32, f32, 4, 2, 24, 8, 17, some_sinks(4)}, PrefillVersion::best, true, ++seed);
  test_prefill({bf16, bf16, 2, 1, 128, 16, 257}, PrefillVersion::generic, true, ++seed);
  report("prefill windows, many heads and generic");
  return attention_failures() == 0;
}

bool attention_sink_tests() {
  constexpr Element f32 = Element::f32, f16 = Element::f16, bf16 = Element::bf16, e4m3 = Element::e4m3;
  unsigned seed = 2000;
  const std::vector<AttentionSetup> setups = {{bf16, bf16, 16, 2, 128, 16}, {f16, e4m3, 8, 1, 64, 16},
                                              {f16, f16, 24, 2, 64, 32},    {bf16, e4m3, 8, 2, 128, 16},
                                              {bf16, bf16, 8, 1, 256, 16},  {f32, f32, 8, 2, 24, 8}};
  for (AttentionSetup setup : setups) {
    setup.sinks = some_sinks(setup.query_heads);
    test_decode(setup, {0, 15, 200, 255, 256, 511, 1023, 2000}, true, ++seed);
  }
  report("decode sinks");
  for (const PrefillVersion version : tensor_core_versions())
    for (std::size_t i = 0; i < 4; ++i) {
      AttentionSetup setup = setups[i];
      setup.query_heads = 8 / setup.kv_heads * setup.kv_heads;
      setup.sinks = some_sinks(8);
      test_prefill(setup, version, false, ++seed);
    }
  report("prefill sinks");
  for (const AttentionSetup& setup : setups) {
    AttentionSetup wide = setup, bare = setup;
    wide.window = 601;  // all that the rows have before them
    bare.sinks.assign(static_cast<std::size_t>(setup.query_heads), -INFINITY);
    test_equal(setup, wide, ++seed);
    test_equal(setup, bare, ++seed);
  }
  report("what hides nothing and takes nothing");
  return attention_failures() == 0;
}

}  // namespace baton::gpu
