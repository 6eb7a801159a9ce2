// Random bf16 numbers, counter-based: element i depends on i and the seed alone.
#include <cstdint>

#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/launch.cuh"
#include "random_model.hpp"

namespace baton::gpu {
namespace {

__device__ std::uint32_t scramble(std::uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ x >> 16;
}

__global__ void fill(cuda::bf16* data, std::int64_t count, float width, std::uint32_t seed) {
  cuda::wait_for_previous();
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    const std::uint32_t bits = scramble(static_cast<std::uint32_t>(i) + seed * 0x9e3779b9U);
    data[i] = __float2bfloat16_rn((static_cast<float>(bits >> 8) * 0x1p-23F - 1.0F) * width);
  }
}

// Without the top bit of the exponent: no NaN, and sizes below two.
__global__ void fill_e4m3(std::uint32_t* data, std::int64_t words, std::uint32_t seed) {
  cuda::wait_for_previous();
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < words;
       i += std::int64_t{gridDim.x} * blockDim.x)
    data[i] = scramble(static_cast<std::uint32_t>(i) + seed * 0x9e3779b9U) & 0xBFBFBFBFU;
}

}  // namespace

cudaError_t fill_random_e4m3(void* data, std::int64_t bytes, std::uint32_t seed, cudaStream_t stream) {
  return cuda::launch(fill_e4m3, dim3(1056), dim3(256), 0, stream, static_cast<std::uint32_t*>(data),
                      bytes / 4, seed);
}

cudaError_t fill_random(void* data, std::int64_t count, float width, std::uint32_t seed,
                        cudaStream_t stream) {
  return cuda::launch(fill, dim3(1056), dim3(256), 0, stream, static_cast<cuda::bf16*>(data), count, width,
                      seed);
}

}  // namespace baton::gpu
