// The kernels' own tests, below Ops: raw arrays against references in double. Each prints what fails.
#pragma once

#include <cstdlib>
#include <utility>
#include <vector>

namespace baton::cuda::test {
// Without the largest shapes: where a GPU is emulated they take too long (BATON_SHORT_TESTS).
inline bool short_tests() { return std::getenv("BATON_SHORT_TESTS") != nullptr; }
bool matmul_tests();
bool dependent_launch_tests();
void matmul_bench(double copy_gbps, double matrix_tflops);
}  // namespace baton::cuda::test

namespace baton::gpu {

using cuda::test::dependent_launch_tests;
using cuda::test::matmul_bench;
using cuda::test::matmul_tests;
bool adapter_tests();
bool attention_tests();
bool attention_window_tests();
bool attention_sink_tests();
bool rows_tests();
bool sample_tests();
bool digest_tests();
bool moe_tests();
bool exchange_tests();

void attention_bench(double copy_gbps, double matrix_tflops);
void rows_bench(double copy_gbps);

inline std::vector<std::pair<const char*, bool (*)()>> kernel_tests() {
  return {{"adapter", adapter_tests},
          {"attention", attention_tests},
          {"windows", attention_window_tests},
          {"sinks", attention_sink_tests},
          {"matmul", matmul_tests},
          {"dependent launch", dependent_launch_tests},
          {"rows", rows_tests},
          {"sample", sample_tests},
          {"digest", digest_tests},
          {"moe", moe_tests},
          {"exchange", exchange_tests}};
}

}  // namespace baton::gpu
