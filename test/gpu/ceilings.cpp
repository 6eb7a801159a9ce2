#include "ceilings.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "random_model.hpp"
#include "tensor/cuda/gemm.hpp"
#include "tensor/cuda/runtime.hpp"

namespace baton::gpu {

double median_seconds(cudaStream_t stream, int rounds, const std::function<void()>& call) {
  cudaEvent_t begin = nullptr, end = nullptr;
  require(cudaEventCreate(&begin), "event");
  require(cudaEventCreate(&end), "event");
  call();  // loads what has to be loaded
  std::vector<float> milliseconds;
  for (int i = 0; i < rounds; ++i) {
    require(cudaEventRecord(begin, stream), "event");
    call();
    require(cudaEventRecord(end, stream), "event");
    require(cudaEventSynchronize(end), "timing");
    float elapsed = 0;
    require(cudaEventElapsedTime(&elapsed, begin, end), "timing");
    milliseconds.push_back(elapsed);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(milliseconds.begin(), milliseconds.end());
  return static_cast<double>(milliseconds[milliseconds.size() / 2]) / 1e3;
}

Ceilings measure_ceilings(cudaStream_t stream) {
  Ceilings found;
  cudaDeviceProp properties{};
  require(cudaGetDeviceProperties(&properties, 0), "properties");
  found.gpu = properties.name;
  constexpr std::size_t kCopy = std::size_t{4} << 30;
  constexpr std::int32_t kSide = 8192;
  auto from = Buffer::allocate({DeviceKind::cuda, 0}, kCopy),
       to = Buffer::allocate({DeviceKind::cuda, 0}, kCopy);
  auto gemm = CublasGemm::create();
  if (!from || !to || !gemm) {
    std::fprintf(stderr, "no memory for the ceilings\n");
    std::exit(1);
  }
  require(fill_random(from->data(), kCopy / 2, 1.0F, 1, stream), "fill");
  const double copy = median_seconds(stream, 15, [&] {
    require(cudaMemcpyAsync(to->data(), from->data(), kCopy, cudaMemcpyDeviceToDevice, stream), "copy");
  });
  found.copy_bytes = 2.0 * static_cast<double>(kCopy) / copy;
  GemmCall call;
  call.x = from->data();
  call.weight = from->data() + (std::size_t{1} << 30);
  call.y = to->data();
  call.x_stride = call.y_stride = kSide;
  call.rows = call.out = call.in = kSide;
  const double product = median_seconds(stream, 15, [&] {
    if (auto done = (*gemm)->product(call, stream); !done) throw DeviceFailure(done.error().message);
  });
  found.bf16_flops = 2.0 * kSide * kSide * kSide / product;
  return found;
}

}  // namespace baton::gpu
