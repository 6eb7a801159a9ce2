// The CUDA runtime's errors, as Results where something can be reported, as DeviceFailure inside a step.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "baton/base/result.hpp"
#include "baton/tensor/ops.hpp"

namespace baton {

Error cuda_error(cudaError_t code, const std::string& what);

// Inside a step an Ops can only throw; the engine thread's root makes it the error of the step's requests.
inline void require(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw DeviceFailure(cuda_error(code, what).message);
}

// Makes `device` current in this thread while it lives.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
};

}  // namespace baton
