// baton_gpu_tests: the kernels' own tests, the Ops contract and whole models on one GPU. Needs no Catch2.
//
//   baton_gpu_tests [part of a test's name ...]        all, or of the others those
//   baton_gpu_tests kernels [name of a kernel's tests ...]
// Exit 77 where there is no GPU.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "baton/tensor/ops.hpp"
#include "kernel_tests.hpp"
#include "support/bare_catch.hpp"

int main(int argc, char** argv) {
  const std::vector<std::string> names(argv + 1, argv + argc);
  if (const auto gpus = baton::list_gpus(); !gpus) {
    std::printf("BATON-SKIPPED[gpu] the GPU tests: %s\n", gpus.error().message.c_str());
    return 77;
  }
  int failed = 0;
  for (std::size_t i = 1; i < names.size() && names[0] == "kernels"; ++i) {
    const auto tests = baton::gpu::kernel_tests();
    if (std::any_of(tests.begin(), tests.end(), [&](const auto& test) { return names[i] == test.first; }))
      continue;
    std::printf("FAILED there are no kernel tests called '%s'\n", names[i].c_str());
    ++failed;
  }
  if (names.empty() || names[0] == "kernels") {
    for (const auto& [name, test] : baton::gpu::kernel_tests()) {
      if (names.size() > 1 && std::find(names.begin() + 1, names.end(), name) == names.end()) continue;
      const bool passed = test();
      std::printf("%s %s kernels\n", passed ? "passed" : "FAILED", name);
      std::fflush(stdout);
      failed += passed ? 0 : 1;
    }
  }
  if (names.empty() || names[0] != "kernels") failed += baton::test::bare::run_bare_tests(names);
  return failed == 0 ? 0 : 1;
}
