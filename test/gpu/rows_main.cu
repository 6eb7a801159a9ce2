// rows_main [tests|bench]: the tests and the timings of the operations over rows, sampling, digests and
// experts, without the rest of Baton.
#include <algorithm>
#include <cstring>

#include "device_array.hpp"

namespace baton::gpu {

bool rows_tests();
bool sample_tests();
bool digest_tests();
bool moe_tests();
void rows_bench(double copy_gbps);

namespace {

// Of a copy within the device, read and written bytes counted.
double measure_copy() {
  constexpr std::size_t kBytes = std::size_t{1} << 29;
  const DeviceArray<std::byte> from(kBytes), to(kBytes);
  cudaEvent_t start = nullptr, stop = nullptr;
  require(cudaEventCreate(&start), "event");
  require(cudaEventCreate(&stop), "event");
  float best = 1e30F;
  for (int i = 0; i < 4; ++i) {
    float milliseconds = 0;
    require(cudaEventRecord(start), "record");
    require(cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyDeviceToDevice), "copy");
    require(cudaEventRecord(stop), "record");
    require(cudaEventSynchronize(stop), "copy");
    require(cudaEventElapsedTime(&milliseconds, start, stop), "time");
    best = std::min(best, milliseconds);
  }
  return 2.0 * kBytes / static_cast<double>(best) * 1e-6;
}

}  // namespace
}  // namespace baton::gpu

int main(int argc, char** argv) {
  using namespace baton::gpu;
  bool passed = true;
  if (argc < 2 || std::strcmp(argv[1], "tests") == 0)
    for (const auto test : {rows_tests, digest_tests, moe_tests, sample_tests}) {
      passed = test() && passed;
      std::fflush(stdout);
    }
  if (argc < 2 || std::strcmp(argv[1], "bench") == 0) {
    const double copy = measure_copy();
    std::printf("a copy: %.0f GB/s\n", copy);
    rows_bench(copy);
  }
  std::printf("%s\n", passed ? "all passed" : "FAILED");
  return passed ? 0 : 1;
}
