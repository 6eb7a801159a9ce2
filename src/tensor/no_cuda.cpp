// A build without CUDA.
#include "backend_cuda.hpp"
#include "baton/tensor/device_copier.hpp"

namespace baton {
namespace {

Error no_cuda() { return make_error(ErrorCode::unsupported, "this build has no CUDA backend", "device"); }

}  // namespace

Result<std::unique_ptr<Ops>> make_cuda_ops(const OpsOptions&) { return no_cuda(); }
Result<std::unique_ptr<OpsGroup>> make_cuda_group(const OpsOptions&, std::int32_t) { return no_cuda(); }
Result<std::byte*> allocate_on_gpu(Device, std::size_t) { return no_cuda(); }
Result<void> copy_on_gpu(Device, std::byte*, const std::byte*, std::size_t) { return no_cuda(); }
void release_on_gpu(Device, std::byte*) {}
Result<std::unique_ptr<DeviceCopier>> make_device_copier(Device) { return no_cuda(); }
Result<std::unique_ptr<DeviceCopier>> make_group_copier(const KvView&, Device, std::int32_t) {
  return no_cuda();
}
Result<GpuMemory> gpu_memory(Device) { return no_cuda(); }
Result<std::vector<GpuInfo>> list_gpus() { return no_cuda(); }

}  // namespace baton
