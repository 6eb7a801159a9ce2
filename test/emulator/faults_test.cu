// The emulated GPU finds what goes wrong: kernels with one mistake each, and without it.
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "emulator.hpp"
#include "kernels/cuda/arrival.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

using baton::cuda::wait_for_previous;
using baton::emulator::take_fault;

int failed = 0;

void expect(bool holds, const char* what, const std::string& fault = {}) {
  std::printf("%s %s\n", holds ? "passed" : "FAILED", what);
  if (!holds && !fault.empty()) std::printf("%s\n", fault.c_str());
  failed += holds ? 0 : 1;
}

// What a kernel leaves in `count` numbers, and its fault.
template <class Launch>
std::vector<int> values_after(int count, std::string& fault, Launch&& launch) {
  int* data = nullptr;
  cudaMalloc(&data, count * sizeof(int));
  launch(data);
  cudaDeviceSynchronize();
  fault = take_fault();
  std::vector<int> values(count);
  cudaMemcpy(values.data(), data, count * sizeof(int), cudaMemcpyDeviceToHost);
  cudaFree(data);
  return values;
}

// The kernels are compiled for older GPUs, too, and run for sm_90 alone.
__device__ void wait_for_phase(std::uint32_t barrier) {
#if __CUDA_ARCH__ >= 900
  baton::cuda::arrival::wait(barrier, 0);
#endif
}

template <bool kBarrier>
__global__ void reverse(int* to) {
  __shared__ int numbers[256];
  const int at = static_cast<int>(threadIdx.x);
  numbers[at] = at;
  if (kBarrier) __syncthreads();
  to[at] = numbers[255 - at];
}

// The second round writes what others may still read.
template <bool kSecondBarrier>
__global__ void twice(int* to) {
  __shared__ int number;
  for (int round = 0; round < 2; ++round) {
    if (threadIdx.x == 0) number = round + 1;
    __syncthreads();
    to[threadIdx.x] = number;
    if (kSecondBarrier) __syncthreads();
  }
}

template <bool kWait>
__global__ void copy_ahead(int* to, const int* from) {
  __shared__ alignas(16) int numbers[128];
  const auto place = static_cast<std::uint32_t>(__cvta_generic_to_shared(numbers + threadIdx.x * 4));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(from + threadIdx.x * 4)
               : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
  if (kWait) asm volatile("cp.async.wait_group 0;" ::: "memory");
  to[threadIdx.x] = numbers[threadIdx.x * 4];
}

__global__ void store_at(int* to, long long offset) {
  *reinterpret_cast<int*>(reinterpret_cast<char*>(to) + offset) = 1;
}

__global__ void beyond_shared(int* to, int index) {
  __shared__ int numbers[32];
  numbers[threadIdx.x] = 1;
  __syncwarp();
  to[0] = numbers[index];
}

// 64 threads are there, the barrier waits for `expected`.
__global__ void named_barrier(int expected) { asm volatile("bar.sync 1, %0;" ::"r"(expected)); }

template <bool kInOrder, bool kBegun = true>
__global__ void count_arrivals(int* to) {
  __shared__ std::uint64_t barrier;
  volatile __shared__ int number;
  const auto place = static_cast<std::uint32_t>(__cvta_generic_to_shared(&barrier));
  if (threadIdx.x == 0) asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(place) : "memory");
  if (kBegun) __syncthreads();
  if (threadIdx.x == 32) {
    number = 7;
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(place) : "memory");
  }
  if (threadIdx.x < 32) {
    if (kInOrder) wait_for_phase(place);
    to[threadIdx.x] = number;
  }
}

__global__ void never_arrives() {
  __shared__ std::uint64_t barrier;
  const auto place = static_cast<std::uint32_t>(__cvta_generic_to_shared(&barrier));
  asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(place) : "memory");
  wait_for_phase(place);
}

// The second copy may come while others still read the first.
template <bool kReadBefore>
__global__ void copy_over(int* to, const int* from) {
  __shared__ alignas(16) int numbers[256];
  const auto place = static_cast<std::uint32_t>(__cvta_generic_to_shared(numbers + threadIdx.x * 4));
  const auto fetch = [&] {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(from + threadIdx.x * 4)
                 : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  fetch();
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  __syncthreads();
  to[threadIdx.x] = numbers[(threadIdx.x ^ 32) * 4];
  if (kReadBefore) __syncthreads();
  fetch();
  __syncthreads();
  asm volatile("cp.async.wait_group 0;" ::: "memory");
}

template <bool kBarrier>
__global__ void count(int* to) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  atomicAdd(&sum, 1);
  if (kBarrier) __syncthreads();
  to[threadIdx.x] = *static_cast<volatile int*>(&sum);
}

// Launched so that it may start before the kernel ahead has ended.
template <bool kWait>
__global__ void copy_after(int* to, const int* from) {
  if (kWait) wait_for_previous();
  const int number = from[threadIdx.x];
  wait_for_previous();
  to[threadIdx.x] = number;
}

bool has(const std::string& fault, const char* words) { return fault.find(words) != std::string::npos; }

void shared_memory() {
  std::string fault;
  auto values = values_after(256, fault, [](int* to) { reverse<true><<<1, 256>>>(to); });
  expect(fault.empty() && values[0] == 255 && values[255] == 0, "numbers go through shared memory", fault);
  values_after(256, fault, [](int* to) { reverse<false><<<1, 256>>>(to); });
  expect(has(fault, "races with a"), "a missing barrier is a race", fault);
  values = values_after(64, fault, [](int* to) { twice<true><<<1, 64>>>(to); });
  expect(fault.empty() && values[63] == 2, "two rounds with two barriers", fault);
  values_after(64, fault, [](int* to) { twice<false><<<1, 64>>>(to); });
  expect(has(fault, "a write that races with a read"), "a write before others have read is a race", fault);
  values = values_after(64, fault, [](int* to) { count<true><<<1, 64>>>(to); });
  expect(fault.empty() && values[0] == 64, "atomics do not race with each other", fault);
  values_after(64, fault, [](int* to) { count<false><<<1, 64>>>(to); });
  expect(has(fault, "races with a"), "a read races with them", fault);
  values_after(1, fault, [](int* to) { beyond_shared<<<1, 32>>>(to, 31); });
  expect(fault.empty(), "the last number of shared memory", fault);
  values_after(1, fault, [](int* to) { beyond_shared<<<1, 32>>>(to, 32); });
  expect(has(fault, "shared address"), "a read beyond shared memory", fault);
}

void late_copies() {
  std::string fault;
  int* from = nullptr;
  cudaMalloc(&from, 256 * sizeof(int));
  std::vector<int> numbers(256);
  for (int i = 0; i < 256; ++i) numbers[i] = i;
  cudaMemcpy(from, numbers.data(), 256 * sizeof(int), cudaMemcpyHostToDevice);
  auto values = values_after(32, fault, [&](int* to) { copy_ahead<true><<<1, 32>>>(to, from); });
  expect(fault.empty() && values[31] == 124, "an asynchronous copy that is waited for", fault);
  values = values_after(32, fault, [&](int* to) { copy_ahead<false><<<1, 32>>>(to, from); });
  expect(values[31] != 124, "one that is not waited for has not happened", fault);
  values_after(64, fault, [&](int* to) { copy_over<true><<<1, 64>>>(to, from); });
  expect(fault.empty(), "one that comes when all have read", fault);
  values_after(64, fault, [&](int* to) { copy_over<false><<<1, 64>>>(to, from); });
  expect(has(fault, "races with a"), "one that may come before", fault);
  cudaFree(from);
}

void global_memory() {
  std::string fault;
  values_after(4, fault, [](int* to) { store_at<<<1, 1>>>(to, 12); });
  expect(fault.empty(), "the last number of an allocation", fault);
  values_after(4, fault, [](int* to) { store_at<<<1, 1>>>(to, 16); });
  expect(has(fault, "a write to global memory out of bounds"), "a write behind an allocation", fault);
  values_after(4, fault, [](int* to) { store_at<<<1, 1>>>(to, -4); });
  expect(has(fault, "a write to global memory out of bounds"), "a write before an allocation", fault);
  values_after(4, fault, [](int* to) { store_at<<<1, 1>>>(to, 2); });
  expect(has(fault, "not a multiple"), "an address that is not aligned", fault);
}

void meetings() {
  std::string fault;
  values_after(1, fault, [](int*) { named_barrier<<<1, 64>>>(64); });
  expect(fault.empty(), "a barrier for those that are there", fault);
  values_after(1, fault, [](int*) { named_barrier<<<1, 64>>>(96); });
  expect(has(fault, "deadlock"), "a barrier for more than are there", fault);
  auto values = values_after(32, fault, [](int* to) { count_arrivals<true><<<1, 64>>>(to); });
  expect(fault.empty() && values[0] == 7, "an mbarrier orders what came before the arrival", fault);
  values_after(32, fault, [](int* to) { count_arrivals<false><<<1, 64>>>(to); });
  expect(has(fault, "races with a"), "reading without the wait is a race", fault);
  values_after(32, fault, [](int* to) { count_arrivals<true, false><<<1, 64>>>(to); });
  expect(has(fault, "whose beginning races"), "an mbarrier that others use before they know it", fault);
  values_after(1, fault, [](int*) { never_arrives<<<1, 1>>>(); });
  expect(has(fault, "deadlock"), "an mbarrier at which nobody arrives", fault);
}

template <bool kWait>
std::string fault_of_dependent(bool wait_on_host) {
  std::string fault;
  values_after(256, fault, [&](int* to) {
    reverse<true><<<1, 256>>>(to);
    if (wait_on_host) cudaDeviceSynchronize();
    baton::cuda::launch(copy_after<kWait>, dim3(1), dim3(32), 0, nullptr, to + 32,
                        static_cast<const int*>(to));
  });
  return fault;
}

void dependent_launches() {
  expect(fault_of_dependent<true>(false).empty(), "a kernel that waits for the one ahead");
  expect(has(fault_of_dependent<false>(false), "before the kernel ahead has ended"),
         "one that reads before it waits");
  expect(fault_of_dependent<false>(true).empty(), "one that reads what was complete before");
}

void errors_stay() {
  std::string fault;
  int* data = nullptr;
  cudaMalloc(&data, sizeof(int));
  store_at<<<1, 1>>>(data, 64);
  expect(cudaDeviceSynchronize() == cudaErrorIllegalAddress, "a fault is an error");
  store_at<<<1, 1>>>(data, 0);
  expect(cudaDeviceSynchronize() == cudaErrorIllegalAddress, "which stays");
  take_fault();
  expect(cudaDeviceSynchronize() == cudaSuccess, "until the device is as new");
  cudaFree(data);
}

}  // namespace

int main() {
  shared_memory();
  late_copies();
  global_memory();
  meetings();
  dependent_launches();
  errors_stay();
  return failed == 0 ? 0 : 1;
}
