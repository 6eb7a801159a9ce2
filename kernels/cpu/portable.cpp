// The portable table. Compiled for the baseline of the architecture.
#include "kernels/cpu/vector_portable.hpp"
// The vector type comes first: everything below is built on it.
#include "kernels/cpu/table.hpp"

namespace baton::kernels {

const Kernels& portable_kernels() {
  static constexpr Kernels kTable = make_table("portable");
  return kTable;
}

}  // namespace baton::kernels
