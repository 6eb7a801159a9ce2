// make_ops: chooses the backend and, on the host, the instruction set.
#if BATON_X86
#include <cpuid.h>
#endif

#include <string>
#include <thread>

#include "backend_cuda.hpp"
#include "baton/tensor/ops.hpp"
#include "cpu_ops.hpp"

namespace baton {
namespace {

constexpr int kMaxThreads = 1024;

#if BATON_X86
// By CPUID: clang 14's __builtin_cpu_supports does not know it.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

Result<const kernels::Kernels*> choose_kernels(const std::string& isa) {
  if (isa == "portable") return &kernels::portable_kernels();
#if BATON_X86
  if (isa == "auto" || isa == "avx512") {
    if (has_avx512()) return &kernels::avx512_kernels();
  }
  if (isa == "auto" || isa == "avx2") {
    if (has_avx2()) return &kernels::avx2_kernels();
  }
#endif
  if (isa == "auto") return &kernels::portable_kernels();
  if (isa == "avx2" || isa == "avx512") {
    return make_error(ErrorCode::unsupported, "this machine has no " + isa, "isa");
  }
  return make_error(ErrorCode::invalid_argument,
                    "'" + isa + "' is no instruction set; known are auto, portable, avx2 and avx512", "isa");
}

}  // namespace

Result<std::unique_ptr<Ops>> make_ops(const OpsOptions& options) {
  if (options.device.kind == DeviceKind::cuda) return make_cuda_ops(options);
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return make_error(ErrorCode::invalid_argument,
                      "threads must be between 0 and " + std::to_string(kMaxThreads) + ", not " +
                          std::to_string(options.threads),
                      "threads");
  }
  auto kernels = choose_kernels(options.isa);
  if (!kernels) return kernels.error();
  const int threads = options.threads > 0
                          ? options.threads
                          : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  return std::unique_ptr<Ops>(std::make_unique<CpuOps>(**kernels, threads));
}

}  // namespace baton
