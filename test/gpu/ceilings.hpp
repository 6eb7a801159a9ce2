// What this GPU can do at most, measured in the same run as everything that is compared with it.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>

namespace baton::gpu {

struct Ceilings {
  std::string gpu;
  double copy_bytes = 0;  // per second, bytes read plus bytes written by a large copy
  double bf16_flops = 0;  // per second, of an 8192^3 product through cuBLASLt on random data
};

Ceilings measure_ceilings(cudaStream_t stream);

// Seconds of one call, the median of `rounds`, by events.
double median_seconds(cudaStream_t stream, int rounds, const std::function<void()>& call);

}  // namespace baton::gpu
