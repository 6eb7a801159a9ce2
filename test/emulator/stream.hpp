// A stream runs what it is given at once, or, while it records, keeps it.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <vector>

struct CUstream_st {
  int device = 0;
  bool capturing = false;
  std::vector<std::function<cudaError_t()>> captured;

  static cudaError_t submit(CUstream_st* stream, std::function<cudaError_t()> work) {
    if (stream == nullptr || !stream->capturing) return work();
    stream->captured.push_back(std::move(work));
    return cudaSuccess;
  }
};
