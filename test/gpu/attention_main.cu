// attention_main [copy_gbps matrix_tflops]: the tests of attention, then its timings.
#include <cstdio>
#include <cstdlib>

#include "test/gpu/attention.hpp"

int main(int count, char** arguments) {
  const bool right = attention_tests();
  std::printf("attention: %s\n", right ? "all right" : "WRONG");
  std::fflush(stdout);
  attention_bench(count > 1 ? std::atof(arguments[1]) : 0, count > 2 ? std::atof(arguments[2]) : 790);
  return right ? 0 : 1;
}
