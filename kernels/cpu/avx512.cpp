// The avx512 table. Compiled with AVX-512 flags; runs only where cpuid says so.
#include "kernels/cpu/vector_avx512.hpp"
// The vector type comes first: everything below is built on it.
#include "kernels/cpu/table.hpp"

namespace baton::kernels {

const Kernels& avx512_kernels() {
  static constexpr Kernels kTable = make_table("avx512");
  return kTable;
}

}  // namespace baton::kernels
