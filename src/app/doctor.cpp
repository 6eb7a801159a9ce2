// baton doctor: what this machine has, what works, and what production would miss.
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <thread>

#include "app/command.hpp"
#include "app/system.hpp"
#include "baton/base/units.hpp"
#include "baton/tensor/ops.hpp"
#include "baton/transfer/ucx_transport.hpp"

namespace baton {
namespace {

class Report {
 public:
  void good(const std::string& what, const std::string& found) { line("ok  ", what, found); }
  void missing(const std::string& what, const std::string& found) {
    line("miss", what, found);
    ++missing_;
  }
  void note(const std::string& what, const std::string& found) { line("    ", what, found); }
  int missing() const { return missing_; }

 private:
  static void line(const char* mark, const std::string& what, const std::string& found) {
    std::printf("  %s  %-16s %s\n", mark, what.c_str(), found.c_str());
  }
  int missing_ = 0;
};

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

void check_cpu(Report& report) {
  report.note("CPU", cpu_name() + ", " + std::to_string(std::thread::hardware_concurrency()) + " cores");
  auto ops = make_ops(OpsOptions{});
  if (!ops)
    report.missing("kernels", ops.error().message);
  else if ((*ops)->numerics_id().find("portable") != std::string::npos)
    report.missing("kernels", (*ops)->numerics_id() + ": no AVX2, the engine will be slow");
  else
    report.good("kernels", (*ops)->numerics_id());
  const MemoryInfo memory = memory_info();
  report.note("memory", format_size(memory.available) + " of " + format_size(memory.total) + " available");
}

void check_gpu(Report& report) {
  const auto gpus = list_gpus();
  if (gpus) {
    for (const GpuInfo& gpu : *gpus)
      report.good("GPU", gpu.name + ", " + format_size(gpu.memory_bytes) + ", compute capability " +
                             std::to_string(gpu.compute_capability / 10) + "." +
                             std::to_string(gpu.compute_capability % 10));
  } else if (!std::filesystem::exists("/dev/nvidiactl")) {
    report.note("GPU", "none (no NVIDIA driver); the CPU engine is used");
  } else {
    report.missing("GPU", "an NVIDIA driver is here, but: " + gpus.error().message);
  }
}

void check_ucx(Report& report) {
  report.note("UCX", ucx_version());
  auto resources = list_ucx_resources();
  if (!resources) {
    report.missing("transports", resources.error().message);
    return;
  }
  std::set<std::string> names;
  bool rdma = false, tcp = false, cuda = false;
  for (const UcxResource& resource : *resources) {
    names.insert(resource.transport + (resource.device.empty() ? "" : ":" + resource.device));
    rdma = rdma || resource.transport.starts_with("rc") || resource.transport.starts_with("dc");
    tcp = tcp || resource.transport == "tcp";
    cuda = cuda || resource.transport == "cuda_copy";
  }
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  report.note("transports", all);
  if (rdma)
    report.good("RDMA", "rc/dc transports are available");
  else
    report.missing("RDMA",
                   "no rc or dc device: KV blocks travel over tcp; production wants InfiniBand or RoCE "
                   "(configs/production-rdma.toml)");
  if (!tcp) report.missing("tcp", "UCX needs it for wire-up");
  if (const auto gpus = list_gpus(); gpus) {
    if (rdma && cuda)
      report.good("GPUDirect",
                  "UCX has CUDA and an RDMA device: KV blocks can move without copies in host memory (the "
                  "log of serve says whether they do)");
    else
      report.note("GPUDirect", std::string(cuda ? "no RDMA device" : "this UCX was built without CUDA") +
                                   ": KV blocks travel through host memory");
  }
}

void check_limits(Report& report) {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  const bool locked = limit.rlim_cur == RLIM_INFINITY;
  if (locked)
    report.good("memlock", "unlimited");
  else
    report.missing(
        "memlock",
        format_size(limit.rlim_cur) +
            ": RDMA registers the whole KV pool; set LimitMEMLOCK=infinity or ulimit -l unlimited");
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= 16384)
    report.good("open files", std::to_string(limit.rlim_cur));
  else
    report.missing("open files",
                   std::to_string(limit.rlim_cur) + ": one connection takes one; ulimit -n 65536");
  std::ifstream in("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string mode;
  std::getline(in, mode);
  if (mode.find("[always]") != std::string::npos || mode.find("[madvise]") != std::string::npos)
    report.good("huge pages", mode);
  else
    report.missing("huge pages",
                   (mode.empty() ? "not available" : mode) +
                       std::string(": echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"));
}

void check_ports(Report& report) {
  for (const std::uint16_t port : {8000, 7000}) {
    if (auto free = port_is_free(port); free)
      report.good("port " + std::to_string(port), "free");
    else
      report.missing("port " + std::to_string(port), free.error().message);
  }
}

int run() {
  Report report;
  std::cout << "baton " << version_text() << " doctor\n" << std::flush;
  check_cpu(report);
  check_gpu(report);
  check_ucx(report);
  check_limits(report);
  check_ports(report);
  const std::filesystem::path demo = find_demo_model();
  if (demo.empty())
    report.missing("demo model", "not found beside the binary");
  else
    report.good("demo model", demo.string());
  if (report.missing() == 0)
    std::printf("Nothing is missing for production.\n");
  else
    std::printf("%d things are missing for production; `baton serve` works without them.\n",
                report.missing());
  return 0;
}

}  // namespace

void add_doctor(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand(
      "doctor", "Check CPU, GPU, UCX, limits and ports; say what is missing for production");
  command->callback([&chosen] { chosen.run = run; });
}

}  // namespace baton
