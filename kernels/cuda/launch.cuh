// Launching with programmatic dependent launch: a kernel may start while the one before it drains, and waits
// with wait_for_previous() before it touches anything that an earlier kernel wrote, or writes anything that
// an earlier one reads. So every kernel launched here calls wait_for_previous() in every thread that touches
// memory; what it may do before that is read weights, which nothing writes.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <utility>

namespace baton::cuda {

__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// From here on the next kernel may be scheduled; its wait_for_previous() still waits for the end of this one.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Before sm_90 the attribute is not known: there the launch is an ordinary one.
inline bool has_dependent_launch() {
  static const bool known = [] {
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
           major >= 9;
  }();
  return known;
}

// The number of multiprocessors of an sm_90 device, 0 of another.
inline int hopper_multiprocessors() {
  static const int known = [] {
    int device = 0, major = 0, count = 0;
    const bool told =
        cudaGetDevice(&device) == cudaSuccess &&
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
        cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) == cudaSuccess;
    return told && major == 9 ? count : 0;
  }();
  return known;
}

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                   cudaStream_t stream, Arguments&&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = has_dependent_launch() ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...);
}

// What is asked or set once for each device: a kernel's attributes and occupancy belong to one of them.
class OncePerDevice {
 public:
  template <class Make>
  int get(Make make) {
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess || device >= kMost) return make();
    std::atomic<int>& known = known_[device];
    int value = known.load(std::memory_order_relaxed);
    if (value == kUnknown) known.store(value = make() + 1, std::memory_order_relaxed);
    return value - 1;
  }

 private:
  static constexpr int kMost = 32;
  static constexpr int kUnknown = 0;
  std::atomic<int> known_[kMost] = {};  // the value plus one
};

// A block gets more than 48 KiB of shared memory, on the current device, only after this.
template <class Kernel>
cudaError_t allow_shared(Kernel* kernel, std::size_t bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

}  // namespace baton::cuda
