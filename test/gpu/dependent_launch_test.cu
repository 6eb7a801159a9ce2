// Products that start before the kernel ahead has ended: they wait for what it writes.
#include <cstdio>
#include <vector>

#include "kernel_tests.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/matmul.hpp"
#include "matmul_random.cuh"

namespace baton::cuda::test {
namespace {

// Writes x late, so that a product which does not wait reads what was there before.
__global__ void late_copy(bf16* to, const bf16* from, int count) {
  let_next_start();
  wait_for_previous();
  const long long start = clock64();
  while (clock64() - start < 40'000) {
  }
  for (int i = static_cast<int>(threadIdx.x + blockIdx.x * blockDim.x); i < count;
       i += static_cast<int>(gridDim.x * blockDim.x)) {
    to[i] = from[i];
  }
}

// late copy -> product -> product, many times without a pause, against the same one at a time.
bool dependent_launch_test(cudaError_t (*product)(const MatmulArguments&, cudaStream_t)) {
  constexpr int kRows = 16, kWidth = 2048, kTurns = 24;
  Memory sources(kTurns * kRows * kWidth * 2), x(kRows * kWidth * 2), middle(kRows * kWidth * 2);
  Memory weights(2ULL * kWidth * kWidth * 2), results(kTurns * kRows * kWidth * 2),
      wanted(kTurns * kRows * kWidth * 2);
  fill<bf16>(sources.as(), kTurns * kRows, kWidth, kWidth, 5, 1.0F);
  fill<bf16>(weights.as(), 2 * kWidth, kWidth, kWidth, 6, 0.06F);
  cudaStream_t stream = nullptr;  // launches that start early have no meaning on the legacy stream
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  for (const bool pause : {true, false}) {
    const auto rest = [&] {
      if (pause) require(cudaStreamSynchronize(stream), "a step");
    };
    for (int turn = 0; turn < kTurns; ++turn) {
      const std::int64_t offset = static_cast<std::int64_t>(turn) * kRows * kWidth;
      require(launch(late_copy, dim3(8), dim3(256), 0, stream, x.as<bf16>(),
                     sources.as<const bf16>() + offset, kRows * kWidth),
              "late_copy");
      rest();
      MatmulArguments a;
      a.x = x.as(), a.weight = weights.as(), a.y = middle.as();
      a.x_stride = a.y_stride = kWidth;
      a.rows = kRows, a.out = kWidth, a.in = kWidth;
      require(product(a, stream), "the first product");
      rest();
      a.x = middle.as(), a.weight = weights.as<bf16>() + kWidth * kWidth;
      a.y = (pause ? wanted : results).as<bf16>() + offset;
      require(product(a, stream), "the second product");
      rest();
    }
    require(cudaStreamSynchronize(stream), "the steps");
  }
  require(cudaStreamDestroy(stream), "cudaStreamDestroy");
  const auto to_host = [](const Memory& memory) {
    std::vector<unsigned char> host(memory.bytes());
    require(cudaMemcpy(host.data(), memory.as(), host.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return host;
  };
  const bool good = to_host(results) == to_host(wanted);
  std::printf("%s products that start early wait for their tokens\n", good ? "ok  " : "FAIL");
  return good;
}

}  // namespace

bool dependent_launch_tests() {
  MatmulArguments smallest;
  smallest.rows = smallest.out = 1;
  smallest.in = 64;
  const bool good = dependent_launch_test(matmul_skinny);
  return (!warpgroup_takes(smallest) || dependent_launch_test(matmul_warpgroup)) && good;
}

}  // namespace baton::cuda::test
