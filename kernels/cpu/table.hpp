// The table of one instruction set: every kernel, as compiled in the including translation unit.
#pragma once

#include "kernels/cpu/add.hpp"
#include "kernels/cpu/attention.hpp"
#include "kernels/cpu/embed.hpp"
#include "kernels/cpu/gate_mul.hpp"
#include "kernels/cpu/gemm.hpp"
#include "kernels/cpu/pack.hpp"
#include "kernels/cpu/rms_norm.hpp"
#include "kernels/cpu/rope.hpp"
#include "kernels/cpu/store.hpp"

namespace baton::kernels {
inline namespace BATON_ISA {

constexpr Kernels make_table(const char* name) {
  return {
      .name = name,
      .group = kGroup,
      .direct_rows = kDirectRows,
      .tile_rows = kTileRows,
      .pack = pack,
      .embed = embed,
      .gemm_direct = gemm_direct,
      .gemm_block_floats = gemm_block_floats,
      .gemm_scratch_floats = gemm_scratch_floats,
      .gemm_block = gemm_block,
      .gemm_blocked = gemm_blocked,
      .rms_norm = rms_norm,
      .add = add,
      .gate_mul = gate_mul,
      .rope = rope,
      .store = store,
      .attention_partial_floats = attention_partial_floats,
      .attention_scratch_floats = attention_scratch_floats,
      .attention_split = attention_split,
      .attention_merge = attention_merge,
      .attention_finish = attention_finish,
  };
}

}  // namespace BATON_ISA
}  // namespace baton::kernels
