// Cases of attention on the device, against sums in double on the CPU. Each prints what fails.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/attention.hpp"

namespace baton::gpu {

struct AttentionSetup {
  cuda::Element element;
  cuda::Element cache;
  int query_heads;
  int kv_heads;
  int head_dim;
  int block_size;
  int window = cuda::kNoWindow;
  std::vector<float> sinks = {};  // [query_heads], or none

  std::string text() const;
};

// One row per position, all in one step; then some of them alone, which must not change a bit.
void test_decode(const AttentionSetup& setup, const std::vector<int>& positions, bool block_major,
                 unsigned seed);
// A ragged batch, and the longest of its sequences again in three chunks, which must not change a bit.
void test_prefill(const AttentionSetup& setup, cuda::PrefillVersion version, bool block_major, unsigned seed);
// Two setups that differ in windows and sinks alone, and must not in a bit of what either entry gives.
void test_equal(const AttentionSetup& one, const AttentionSetup& other, unsigned seed);

const char* name(cuda::PrefillVersion version);
// Prints whether anything has failed since the last report.
void report(const char* what);
int attention_failures();

}  // namespace baton::gpu
