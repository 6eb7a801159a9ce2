#include "runtime.hpp"

#include "baton/base/units.hpp"
#include "tensor/backend_cuda.hpp"

namespace baton {

Error cuda_error(cudaError_t code, const std::string& what) {
  const bool memory = code == cudaErrorMemoryAllocation;
  return make_error(memory ? ErrorCode::out_of_memory : ErrorCode::unavailable,
                    what + ": " + cudaGetErrorString(code) + " (" + cudaGetErrorName(code) + ")");
}

CurrentDevice::CurrentDevice(int index) {
  cudaGetDevice(&before_);
  cudaSetDevice(index);
}

CurrentDevice::~CurrentDevice() { cudaSetDevice(before_); }

// A driver that is absent or too old leaves the count unwritten.
Result<std::vector<GpuInfo>> list_gpus() {
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted == cudaErrorNoDevice || counted == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    return make_error(ErrorCode::unsupported,
                      counted == cudaErrorNoDevice
                          ? "this machine has no NVIDIA GPU that its driver shows"
                          : "this machine's NVIDIA driver is absent or older than this build's CUDA needs",
                      "device");
  }
  if (counted != cudaSuccess) return cuda_error(counted, "cannot list the GPUs");
  std::vector<GpuInfo> found;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (const cudaError_t read = cudaGetDeviceProperties(&properties, index); read != cudaSuccess)
      return cuda_error(read, "cannot read the properties of GPU " + std::to_string(index));
    found.push_back({.name = properties.name,
                     .memory_bytes = properties.totalGlobalMem,
                     .compute_capability = properties.major * 10 + properties.minor,
                     .multiprocessors = properties.multiProcessorCount});
  }
  return found;
}

Result<GpuMemory> gpu_memory(Device device) {
  const CurrentDevice current(device.index);
  std::size_t free = 0, total = 0;
  if (const cudaError_t read = cudaMemGetInfo(&free, &total); read != cudaSuccess)
    return cuda_error(read, "cannot read the memory of GPU " + std::to_string(device.index));
  return GpuMemory{free, total};
}

Result<std::byte*> allocate_on_gpu(Device device, std::size_t bytes) {
  const auto gpus = list_gpus();
  if (!gpus) return gpus.error();
  if (device.index < 0 || static_cast<std::size_t>(device.index) >= gpus->size())
    return make_error(ErrorCode::unsupported, "there is no GPU " + std::to_string(device.index), "device");
  const CurrentDevice current(device.index);
  void* data = nullptr;
  cudaError_t made = cudaMalloc(&data, bytes);
  if (made == cudaSuccess) made = cudaMemset(data, 0, bytes);
  if (made == cudaSuccess) made = cudaDeviceSynchronize();
  if (made == cudaSuccess) return static_cast<std::byte*>(data);
  cudaFree(data);
  cudaGetLastError();  // an allocation that failed is no lasting error
  return cuda_error(made, "the GPU has no " + format_size(bytes) + " of memory left");
}

Result<void> copy_on_gpu(Device device, std::byte* to, const std::byte* from, std::size_t bytes) {
  const CurrentDevice current(device.index);
  cudaError_t copied = cudaDeviceSynchronize();  // what writes `from`, or reads `to`, may be on any stream
  if (copied == cudaSuccess) copied = cudaMemcpy(to, from, bytes, cudaMemcpyDefault);
  if (copied == cudaSuccess) copied = cudaStreamSynchronize(nullptr);
  if (copied != cudaSuccess) return cuda_error(copied, "cannot copy between the GPU and the host");
  return {};
}

void release_on_gpu(Device device, std::byte* data) {
  const CurrentDevice current(device.index);
  cudaFree(data);
}

}  // namespace baton
