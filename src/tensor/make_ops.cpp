// make_ops, make_ops_group: choose the backend and, on the host, the instruction set.
#if BATON_X86
#include <cpuid.h>
#endif

#include <string>
#include <thread>

#include "backend_cuda.hpp"
#include "baton/tensor/group.hpp"
#include "baton/tensor/ops.hpp"
#include "cpu_exchange.hpp"
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

// A number of at least 1.
Result<int> choose_threads(int wanted) {
  if (wanted < 0 || wanted > kMaxThreads)
    return make_error(
        ErrorCode::invalid_argument,
        "threads must be between 0 and " + std::to_string(kMaxThreads) + ", not " + std::to_string(wanted),
        "threads");
  if (wanted > 0) return wanted;
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

// One rank: no group at all.
class LoneGroup final : public OpsGroup {
 public:
  explicit LoneGroup(std::unique_ptr<Ops> ops) : ops_(std::move(ops)) {}
  std::int32_t width() const override { return 1; }
  Ops& rank(std::int32_t) override { return *ops_; }
  void interrupt() noexcept override {}
  void rejoin() noexcept override {}

 private:
  std::unique_ptr<Ops> ops_;
};

class CpuGroup final : public OpsGroup {
 public:
  CpuGroup(const kernels::Kernels& kernels, int threads, std::int32_t width) : exchange_(width) {
    for (std::int32_t rank = 0; rank < width; ++rank) {
      const int share = static_cast<int>(share_of(std::max(threads, width), {rank, width}).count);
      ranks_.push_back(std::make_unique<CpuOps>(kernels, share, GroupPlace{rank, width}, exchange_));
    }
  }
  std::int32_t width() const override { return static_cast<std::int32_t>(ranks_.size()); }
  Ops& rank(std::int32_t index) override { return *ranks_[static_cast<std::size_t>(index)]; }
  void interrupt() noexcept override { exchange_.interrupt(); }
  void rejoin() noexcept override { exchange_.rejoin(); }

 private:
  CpuExchange exchange_;
  std::vector<std::unique_ptr<CpuOps>> ranks_;
};

}  // namespace

Result<std::unique_ptr<Ops>> make_ops(const OpsOptions& options) {
  if (options.device.kind == DeviceKind::cuda) return make_cuda_ops(options);
  const auto threads = choose_threads(options.threads);
  if (!threads) return threads.error();
  auto kernels = choose_kernels(options.isa);
  if (!kernels) return kernels.error();
  return std::unique_ptr<Ops>(std::make_unique<CpuOps>(**kernels, *threads));
}

Result<std::unique_ptr<OpsGroup>> make_ops_group(const OpsOptions& options, std::int32_t width) {
  if (width < 1 || width > kMostRanks)
    return make_error(
        ErrorCode::invalid_argument,
        "a group has 1 to " + std::to_string(kMostRanks) + " ranks, not " + std::to_string(width), "width");
  if (width == 1) {
    auto alone = make_ops(options);
    if (!alone) return std::move(alone).error();
    return std::unique_ptr<OpsGroup>(std::make_unique<LoneGroup>(*std::move(alone)));
  }
  if (options.device.kind == DeviceKind::cuda) return make_cuda_group(options, width);
  const auto threads = choose_threads(options.threads);
  if (!threads) return threads.error();
  auto kernels = choose_kernels(options.isa);
  if (!kernels) return kernels.error();
  return std::unique_ptr<OpsGroup>(std::make_unique<CpuGroup>(**kernels, *threads, width));
}

}  // namespace baton
