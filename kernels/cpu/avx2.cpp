// The avx2 table. Compiled with -mavx2 -mfma -mf16c; runs only where cpuid says so.
#include "kernels/cpu/vector_avx2.hpp"
// The vector type comes first: everything below is built on it.
#include "kernels/cpu/table.hpp"

namespace baton::kernels {

const Kernels& avx2_kernels() {
  static constexpr Kernels kTable = make_table("avx2");
  return kTable;
}

}  // namespace baton::kernels
