// Arrays on the device for tests of kernels: made from host memory or poisoned (every byte 0xff: NaN in any
// float element, so that what a kernel forgot to write shows), and a count of failed expectations.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace baton::gpu {

inline void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// Waits for the kernels, so that a failure is reported beside what caused it.
inline void require_done(cudaError_t error, const char* what) {
  require(error, what);
  require(cudaDeviceSynchronize(), what);
}

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) : count_(count) {
    require(cudaMalloc(&data_, count * sizeof(T) + 16), "cudaMalloc");
    poison();
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { assign(values); }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  std::size_t size() const { return count_; }
  void poison() { require(cudaMemset(data_, 0xff, count_ * sizeof(T)), "cudaMemset"); }
  void zero() { require(cudaMemset(data_, 0, count_ * sizeof(T)), "cudaMemset"); }
  void assign(const std::vector<T>& values) {
    require(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "to device");
  }
  std::vector<T> values() const {
    std::vector<T> host(count_);
    require(cudaMemcpy(host.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "to host");
    return host;
  }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

class Expectations {
 public:
  explicit Expectations(const char* suite) : suite_(suite) {}
  template <class... Arguments>
  void expect(bool holds, const char* format, Arguments... arguments) {
    ++checked_;
    if (holds) return;
    if (++failed_ > 20) return;
    std::printf("%s: ", suite_);
    std::printf(format, arguments...);
    std::printf("\n");
  }
  bool report() const {
    std::printf("%s: %ld checks, %ld failed\n", suite_, checked_, failed_);
    return failed_ == 0;
  }

 private:
  const char* suite_;
  long checked_ = 0;
  long failed_ = 0;
};

}  // namespace baton::gpu
