// matmul_main [copy GB/s, matrix TFLOP/s]: tests the matrix products and times them against the two ceilings,
// which it measures where they are not given.
#include <algorithm>
#include <string_view>

#include "matmul_random.cuh"
#include "tensor/cuda/gemm.hpp"

namespace baton::cuda::test {

bool matmul_tests();
void matmul_bench(double copy_gbps, double matrix_tflops);

namespace {

// Milliseconds of `call`, the best of five.
template <class Call>
double best_of_five(Call call) {
  cudaEvent_t start = nullptr, stop = nullptr;
  require(cudaEventCreate(&start), "cudaEventCreate");
  require(cudaEventCreate(&stop), "cudaEventCreate");
  float best = 1e30F;
  for (int i = 0; i < 6; ++i) {
    float milliseconds = 0;
    require(cudaEventRecord(start), "cudaEventRecord");
    call();
    require(cudaEventRecord(stop), "cudaEventRecord");
    require(cudaEventSynchronize(stop), "cudaEventSynchronize");
    require(cudaEventElapsedTime(&milliseconds, start, stop), "cudaEventElapsedTime");
    if (i > 0) best = std::min(best, milliseconds);
  }
  cudaEventDestroy(start), cudaEventDestroy(stop);
  return best;
}

// Read and written bytes.
double copy_gbps() {
  constexpr std::size_t kBytes = std::size_t{2} << 30;
  const Memory from(kBytes), to(kBytes);
  const double milliseconds = best_of_five([&] {
    require(cudaMemcpyAsync(to.as(), from.as(), kBytes, cudaMemcpyDeviceToDevice), "cudaMemcpyAsync");
  });
  return 2.0 * kBytes / milliseconds / 1e6;
}

double matrix_tflops() {
  constexpr int kSize = 8192;
  const Memory x(std::size_t{2} * kSize * kSize), weight(std::size_t{2} * kSize * kSize);
  const Memory y(std::size_t{2} * kSize * kSize);
  fill<bf16>(x.as(), kSize, kSize, kSize, 1, 1.0F);
  fill<bf16>(weight.as(), kSize, kSize, kSize, 2, 1.0F);
  auto gemm = CublasGemm::create();
  GemmCall call;
  call.x = x.as(), call.weight = weight.as(), call.y = y.as();
  call.x_stride = call.y_stride = kSize;
  call.rows = call.out = call.in = kSize;
  if (!gemm || !(*gemm)->tune({&call, 1}, nullptr)) return 0;
  const double milliseconds = best_of_five([&] {
    if (!(*gemm)->product(call, nullptr)) std::printf("a product of 8192^3 failed\n");
  });
  return 2.0 * kSize * kSize * kSize / milliseconds / 1e9;
}

}  // namespace
}  // namespace baton::cuda::test

int main(int count, char** arguments) {
  using namespace baton::cuda::test;
  cudaDeviceProp device{};
  require(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  const double copy = count > 2 ? std::atof(arguments[1]) : copy_gbps();
  const double rate = count > 2 ? std::atof(arguments[2]) : matrix_tflops();
  std::printf("%s, %d SMs: copies %.0f GB/s, multiplies %.0f TFLOP/s, cuBLASLt %zu\n", device.name,
              device.multiProcessorCount, copy, rate, cublasLtGetVersion());
  std::fflush(stdout);
  const bool good = matmul_tests();
  std::fflush(stdout);
  matmul_bench(copy, rate);
  std::printf("%s\n", good ? "all tests passed" : "TESTS FAILED");
  return good ? 0 : 1;
}
