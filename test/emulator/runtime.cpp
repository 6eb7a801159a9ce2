// The CUDA runtime's functions that Baton calls, over the emulated machine. Streams run at once and in order;
// a captured graph is a list of what was asked for. A fault stays, as it does on a GPU.
#include <cuda.h>
#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "emulator.hpp"
#include "machine.hpp"
#include "memory.hpp"
#include "stream.hpp"
#include "tensor_map.hpp"

using namespace baton::emulator;

struct CUevent_st {
  std::chrono::steady_clock::time_point when;
};
struct CUmemPoolHandle_st {
  int device;
  std::uint32_t peers;  // as allocate() takes them
};
struct CUgraph_st {
  std::vector<std::function<cudaError_t()>> nodes;
};
struct CUgraphExec_st {
  std::vector<std::function<cudaError_t()>> nodes;
};

namespace {

constexpr std::size_t kMostShared = 227 << 10;  // of a block
constexpr std::size_t kMemory = std::size_t{4} << 30;
constexpr int kMultiprocessors = 132;  // an H200: grids and splits follow from it

// BATON_EMULATOR_GPUS: how many there are, one without it.
int device_count() {
  static const int count = [] {
    const char* text = std::getenv("BATON_EMULATOR_GPUS");
    return text == nullptr ? 1 : std::atoi(text);
  }();
  return count;
}
thread_local int current_device = 0;

// BATON_EMULATOR_FAIL_FILE: while a file of this name is there, the next kernel takes it away and fails.
bool made_to_fail() {
  static const char* const file = std::getenv("BATON_EMULATOR_FAIL_FILE");
  return file != nullptr && std::remove(file) == 0;
}

std::recursive_mutex& device_mutex() {
  static auto* mutex = new std::recursive_mutex;
  return *mutex;
}

thread_local cudaError_t last_error = cudaSuccess;
cudaError_t sticky_error = cudaSuccess;
std::string last_fault;

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}
cudaError_t healthy() { return report(sticky_error); }

// The host has waited for all that it asked for.
cudaError_t finished() {
  end_round();
  return healthy();
}

// --- Modules and kernels
// ---------------------------------------------------------------------------------------

struct LoadedModule {
  std::string text;
  std::unique_ptr<ptx::Module> parsed;
};

struct Kernel {
  LoadedModule* module = nullptr;
  std::string name;
  std::unique_ptr<Program> program;
  std::map<int, std::size_t> largest_shared;  // by GPU, where it was raised
  std::size_t largest(int device) const {
    const auto found = largest_shared.find(device);
    return found == largest_shared.end() ? std::size_t{48} << 10 : found->second;
  }
};

std::map<const void*, Kernel>& kernels() {
  static auto* all = new std::map<const void*, Kernel>;
  return *all;
}

// A fat binary as nvcc --no-compress writes it: a header, then entries of PTX (kind 1) or machine code (kind
// 2).
std::string ptx_of(const void* wrapper) {
  struct Wrapper {
    std::uint32_t magic, version;
    const std::byte* data;
  };
  const std::byte* at = static_cast<const Wrapper*>(wrapper)->data;
  const auto read = [&](std::size_t offset, auto value) {
    std::memcpy(&value, at + offset, sizeof(value));
    return value;
  };
  const std::byte* end = at + read(6, std::uint16_t{}) + read(8, std::uint64_t{});
  at += read(6, std::uint16_t{});
  while (at < end) {
    const auto kind = read(0, std::uint16_t{});
    const auto header = read(4, std::uint32_t{});
    const auto bytes = read(8, std::uint64_t{});
    if (kind == 1) return {reinterpret_cast<const char*>(at + header), bytes};
    at += header + bytes;
  }
  return {};
}

const Program& program_of(Kernel& kernel) {
  if (kernel.program != nullptr) return *kernel.program;
  LoadedModule& module = *kernel.module;
  if (module.parsed == nullptr) {
    if (module.text.empty()) throw std::runtime_error("this build has no uncompressed PTX of " + kernel.name);
    module.text.resize(std::strlen(module.text.c_str()));  // padded with zeros
    module.parsed = std::make_unique<ptx::Module>(ptx::parse(module.text));
  }
  const ptx::Function* function = module.parsed->find(kernel.name);
  if (function == nullptr) throw std::runtime_error("no kernel " + kernel.name);
  kernel.program = std::make_unique<Program>(decode(*module.parsed, *function));
  return *kernel.program;
}

cudaError_t perform(const Launch& launch) {
  if (sticky_error != cudaSuccess) return report(sticky_error);
  try {
    if (made_to_fail()) throw Fault("a failure that was asked for");
    const auto start = std::chrono::steady_clock::now();
    run(launch);
    if (std::getenv("BATON_EMULATOR_TRACE") != nullptr) {
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      std::fprintf(stderr, "emulator: %8.3f ms %s\n", took.count() * 1e3, launch.program->name.c_str());
    }
  } catch (const Fault& fault) {
    std::fprintf(stderr, "emulator: %s\n", fault.what());
    const std::lock_guard lock(device_mutex());
    last_fault = fault.what();
    sticky_error = cudaErrorIllegalAddress;
  }
  return report(sticky_error);
}

cudaError_t launch_kernel(const void* function, Dimensions grid, Dimensions block, Dimensions cluster,
                          bool dependent, void** arguments, std::size_t shared, cudaStream_t stream) {
  std::unique_lock lock(device_mutex());
  const auto found = kernels().find(function);
  if (found == kernels().end()) return report(cudaErrorInvalidDeviceFunction);
  if (stream != nullptr && stream->device != current_device) return report(cudaErrorInvalidResourceHandle);
  Launch launch;
  try {
    launch.program = &program_of(found->second);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "emulator: %s\n", error.what());
    return report(cudaErrorNoKernelImageForDevice);
  }
  if (grid.count() == 0 || block.count() == 0 || block.count() > 1024 ||
      shared > found->second.largest(current_device) || grid.y > 65535 || grid.z > 65535 ||
      shared + launch.program->shared_bytes > kMostShared)
    return report(cudaErrorInvalidConfiguration);
  launch.device = current_device;
  launch.grid = grid;
  launch.block = block;
  launch.cluster = cluster;
  launch.dependent = dependent;
  launch.dynamic_shared_bytes = shared;
  launch.parameters.resize(launch.program->parameter_bytes + 128);
  // Tensor maps among them are looked for at multiples of 64.
  for (std::size_t i = 0; i < launch.program->parameters.size(); ++i) {
    const Parameter& parameter = launch.program->parameters[i];
    std::memcpy(launch.parameters.data() + parameter.offset, arguments[i], parameter.bytes);
  }
  lock.unlock();  // kernels of several streams and GPUs run side by side
  auto kept = std::make_shared<Launch>(std::move(launch));
  return CUstream_st::submit(stream, [kept] { return perform(*kept); });
}

Dimensions dimensions(dim3 from) { return {from.x, from.y, from.z}; }

struct Configuration {
  dim3 grid, block;
  std::size_t shared;
  cudaStream_t stream;
};
thread_local std::vector<Configuration> configurations;

// Pageable host memory may be on either side, device memory must be inside of what was allocated.
cudaError_t copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (sticky_error != cudaSuccess) return report(sticky_error);
  Range range;
  const auto is_device = [&](const void* data) {
    return bytes == 0 || find_range(reinterpret_cast<std::uint64_t>(data), bytes, range);
  };
  if ((kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) && !is_device(to))
    return report(cudaErrorInvalidValue);
  if ((kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice) && !is_device(from))
    return report(cudaErrorInvalidValue);
  // Wherever a pointer lies in an allocation, all of it must.
  for (const void* data : {static_cast<const void*>(to), from})
    if (find_range(reinterpret_cast<std::uint64_t>(data), 1, range) && !is_device(data))
      return report(cudaErrorInvalidValue);
  std::memmove(to, from, bytes);
  return cudaSuccess;
}

CUresult encode_tiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data,
                      const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                      const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                      CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  TensorMap made;
  const bool known = type == CU_TENSOR_MAP_DATA_TYPE_UINT16 || type == CU_TENSOR_MAP_DATA_TYPE_UINT8;
  if (!known || rank == 0 || rank > 4 || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE ||
      (swizzle != CU_TENSOR_MAP_SWIZZLE_128B && swizzle != CU_TENSOR_MAP_SWIZZLE_NONE) ||
      reinterpret_cast<std::uint64_t>(data) % 16 != 0)
    return CUDA_ERROR_INVALID_VALUE;
  made.rank = rank;
  made.base = reinterpret_cast<std::uint64_t>(data);
  made.element = type == CU_TENSOR_MAP_DATA_TYPE_UINT16 ? 2 : 1;
  made.swizzle_128 = swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  for (std::uint32_t d = 0; d < rank; ++d) {
    made.sizes[d] = sizes[d];
    made.box[d] = box[d];
    made.strides[d] = d == 0 ? made.element : strides[d - 1];
    if (box[d] == 0 || box[d] > 256 || steps[d] != 1 || sizes[d] == 0 || (d > 0 && strides[d - 1] % 16 != 0))
      return CUDA_ERROR_INVALID_VALUE;
  }
  if (made.swizzle_128 && box[0] * made.element > 128) return CUDA_ERROR_INVALID_VALUE;
  std::memset(map, 0, sizeof(*map));
  std::memcpy(map, &made, sizeof(made));
  return CUDA_SUCCESS;
}

}  // namespace

std::string baton::emulator::take_fault() {
  const std::lock_guard lock(device_mutex());
  sticky_error = last_error = cudaSuccess;
  return std::exchange(last_fault, {});
}

extern "C" {

// --- What nvcc's stubs call
// ------------------------------------------------------------------------------------

void** __cudaRegisterFatBinary(void* wrapper) {
  auto* module = new LoadedModule;
  module->text = ptx_of(wrapper);
  return reinterpret_cast<void**>(module);
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 1; }
void __cudaRegisterFunction(void** module, const char* host, char*, const char* name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  Kernel& kernel = kernels()[host];
  kernel.module = reinterpret_cast<LoadedModule*>(module);
  kernel.name = name;
}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, CUstream_st* stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  const Configuration top = configurations.back();
  configurations.pop_back();
  *grid = top.grid;
  *block = top.block;
  *shared = top.shared;
  *static_cast<cudaStream_t*>(stream) = top.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared,
                               cudaStream_t stream) {
  return launch_kernel(kernel, dimensions(grid), dimensions(block), {}, false, arguments, shared, stream);
}

// --- Launching
// -------------------------------------------------------------------------------------------------

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                             cudaStream_t stream) {
  return launch_kernel(function, dimensions(grid), dimensions(block), {}, false, arguments, shared, stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  Dimensions cluster;
  bool dependent = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config->attrs[i];
    if (attribute.id == cudaLaunchAttributeClusterDimension)
      cluster = {attribute.val.clusterDim.x, attribute.val.clusterDim.y, attribute.val.clusterDim.z};
    if (attribute.id == cudaLaunchAttributeProgrammaticStreamSerialization)
      dependent = attribute.val.programmaticStreamSerializationAllowed != 0;
  }
  return launch_kernel(function, dimensions(config->gridDim), dimensions(config->blockDim), cluster,
                       dependent, arguments, config->dynamicSmemBytes, config->stream);
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const std::lock_guard lock(device_mutex());
  const auto found = kernels().find(function);
  if (found == kernels().end()) return report(cudaErrorInvalidDeviceFunction);
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    if (value < 0 || static_cast<std::size_t>(value) > kMostShared) return report(cudaErrorInvalidValue);
    found->second.largest_shared[current_device] = static_cast<std::size_t>(value);
  }
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
  *blocks = 1;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t,
                                                                   unsigned) {
  *blocks = 1;
  return cudaSuccess;
}

// --- The device
// ------------------------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device_count();
  return *count > 0 ? cudaSuccess : report(cudaErrorNoDevice);
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) return report(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated GPU");
  properties->totalGlobalMem = kMemory;
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = kMultiprocessors;
  properties->l2CacheSize = 50 << 20;
  properties->warpSize = kLanes;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = kMultiprocessors;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 227 << 10;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = 228 << 10;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 << 20;
      break;
    default:
      std::fprintf(stderr, "emulator: an attribute of the device that it does not know: %d\n", attribute);
      return report(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  const bool known = std::strcmp(name, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&encode_tiled) : nullptr;
  if (found != nullptr) *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return known ? cudaSuccess : report(cudaErrorSymbolNotFound);
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int other) {
  *can = device != other && std::getenv("BATON_EMULATOR_NO_PEERS") == nullptr ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return finished(); }
cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = sticky_error;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorIllegalAddress:
      return "a fault on the emulated GPU";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration of a launch";
    case cudaErrorNoKernelImageForDevice:
      return "a kernel that the emulated GPU cannot run";
    default:
      return "an error of the emulated GPU";
  }
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaSuccess ? "cudaSuccess" : "cudaErrorEmulated";
}

// --- Memory
// ----------------------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** data, size_t bytes) {
  *data = nullptr;
  if (sticky_error != cudaSuccess) return report(sticky_error);
  if (bytes == 0) return cudaSuccess;
  if (allocated_bytes(current_device) + bytes > kMemory) return report(cudaErrorMemoryAllocation);
  *data = allocate(bytes, current_device);
  return *data != nullptr ? cudaSuccess : report(cudaErrorMemoryAllocation);
}
// Memory that some other GPUs reach comes from a pool that says which.
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties) {
  *pool = new CUmemPoolHandle_st{properties->location.id, 0};
  return healthy();
}
cudaError_t cudaMemPoolSetAccess(cudaMemPool_t pool, const cudaMemAccessDesc* others, size_t count) {
  for (size_t i = 0; i < count; ++i) pool->peers |= 1U << others[i].location.id;
  return healthy();
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  delete pool;
  return healthy();
}
cudaError_t cudaMallocFromPoolAsync(void** data, size_t bytes, cudaMemPool_t pool, cudaStream_t) {
  *data = sticky_error == cudaSuccess ? allocate(bytes, pool->device, pool->peers) : nullptr;
  return healthy();
}
cudaError_t cudaFreeAsync(void* data, cudaStream_t) { return cudaFree(data); }
cudaError_t cudaMallocHost(void** data, size_t bytes) {
  *data = bytes == 0 || sticky_error != cudaSuccess ? nullptr : allocate(bytes, kOnHost);
  return healthy();
}
cudaError_t cudaFree(void* data) {
  if (data != nullptr && !release(data)) return report(cudaErrorInvalidValue);
  return healthy();
}
cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = kMemory;
  *free = kMemory - std::min(kMemory, allocated_bytes(current_device));
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  end_round();
  return copy(to, from, bytes, kind);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return CUstream_st::submit(stream, [=] { return copy(to, from, bytes, kind); });
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return CUstream_st::submit(stream, [=] {
    cudaError_t error = cudaSuccess;
    for (size_t row = 0; row < height && error == cudaSuccess; ++row)
      error = copy(static_cast<std::byte*>(to) + row * to_pitch,
                   static_cast<const std::byte*>(from) + row * from_pitch, width, kind);
    return error;
  });
}
cudaError_t cudaMemset(void* data, int value, size_t bytes) {
  Range range;
  if (bytes != 0 && !find_range(reinterpret_cast<std::uint64_t>(data), bytes, range))
    return report(cudaErrorInvalidValue);
  std::memset(data, value, bytes);
  return healthy();
}
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  return CUstream_st::submit(stream, [=] { return cudaMemset(data, value, bytes); });
}

// --- Streams, events, graphs
// -----------------------------------------------------------------------------------

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CUstream_st{current_device, false, {}};
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return finished(); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return healthy(); }
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->capturing = true;
  stream->captured.clear();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  stream->capturing = false;
  *graph = new CUgraph_st{std::move(stream->captured)};
  stream->captured.clear();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  for (const auto& node : executable->nodes) {
    if (const cudaError_t error = node(); error != cudaSuccess) return report(error);
  }
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return CUstream_st::submit(stream, [event] {
    event->when = std::chrono::steady_clock::now();
    return healthy();
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return finished(); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  *milliseconds = std::chrono::duration<float, std::milli>(stop->when - start->when).count();
  return healthy();
}

}  // extern "C"
