// Random operands that the host can compute again element by element: what lies at an index is a hash of it.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/convert.cuh"

namespace baton::cuda::test {

// A test has nothing left to say after a failed call.
inline void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// Device memory of a test, every byte 0xff: NaN in every type.
class Memory {
 public:
  explicit Memory(std::size_t bytes) : bytes_(bytes) {
    require(cudaMalloc(&data_, bytes > 0 ? bytes : 1), "cudaMalloc");
    poison();
  }
  ~Memory() { cudaFree(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void poison() {
    require(cudaMemset(data_, 0xff, bytes_), "cudaMemset");
    require(cudaDeviceSynchronize(), "cudaMemset");
  }
  template <class T = void>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_;
};

__host__ __device__ inline std::uint32_t hash(std::uint32_t seed, std::uint64_t index) {
  std::uint64_t z = index + 0x9e3779b97f4a7c15ULL * (seed + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 16);
}

// In [-amplitude, amplitude), never zero before rounding.
__host__ __device__ inline float random_float(std::uint32_t seed, std::uint64_t index, float amplitude) {
  const auto bits = static_cast<std::int32_t>(hash(seed, index));
  return (static_cast<float>(bits >> 8) + 0.5F) * (amplitude / 8388608.0F);
}

template <class T>
struct Random {
  __host__ __device__ static T at(std::uint32_t seed, std::uint64_t row, std::uint64_t index,
                                  float amplitude) {
    static_cast<void>(row);
    return T(random_float(seed, index, amplitude));
  }
};
// Every code but NaN; every fifth row has subnormal numbers only, which others would hide.
template <>
struct Random<e4m3> {
  __host__ __device__ static e4m3 at(std::uint32_t seed, std::uint64_t row, std::uint64_t index, float) {
    auto code = static_cast<std::uint8_t>(hash(seed, index));
    if ((code & 0x7f) == 0x7f) code ^= 1;
    if (row % 5 == 3) code &= 0x87;
    e4m3 value;
    value.__x = code;
    return value;
  }
};

// [rows, cols] at `stride`; what lies between the rows stays as it is.
template <class T>
__global__ void fill_kernel(T* to, std::int64_t rows, std::int64_t cols, std::int64_t stride,
                            std::uint32_t seed, float amplitude) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < rows * cols;
       i += step) {
    to[i / cols * stride + i % cols] = Random<T>::at(seed, i / cols, i, amplitude);
  }
}

template <class T>
void fill(void* to, std::int64_t rows, std::int64_t cols, std::int64_t stride, std::uint32_t seed,
          float amplitude) {
  fill_kernel<<<1024, 256>>>(static_cast<T*>(to), rows, cols, stride, seed, amplitude);
  require(cudaDeviceSynchronize(), "fill");
}

}  // namespace baton::cuda::test
