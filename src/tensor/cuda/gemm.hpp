// CublasGemm: the matrix products of prefill, by cuBLASLt: y[rows, out] = x[rows, in] W^T (+ bias), W [out,
// in], f16 or bf16 with f32 accumulation, or e4m3 times e4m3.
//
// An algorithm is chosen once per weight shape, types and power of two of rows, and used from then on: by the
// library's heuristic, or by tune(), which measures. Only reductions of one fixed order are allowed, so the
// same call gives the same bits again; two numbers of rows may differ. One thread and one stream at a time:
// the workspace is shared. After construction nothing but the host's table of algorithms grows.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>

#include "baton/base/result.hpp"
#include "baton/tensor/dtype.hpp"

namespace baton {

// How e4m3 operands are scaled; `none` means that x and weight are of `type`.
enum class GemmScaling : std::uint8_t {
  none,
  tensor,  // x_scale[1], weight_scale[1]
  outer,   // x_scale[rows], weight_scale[out]
};

struct GemmCall {
  const void* x = nullptr;  // [rows, in]
  std::int64_t x_stride = 0;
  const void* weight = nullptr;  // [out, in], contiguous
  const void* bias = nullptr;    // [out], of `type`, or none
  void* y = nullptr;             // [rows, out]
  std::int64_t y_stride = 0;
  std::int32_t rows = 0;
  std::int32_t out = 0;
  std::int32_t in = 0;
  DType type = DType::bf16;    // f16 or bf16: of x and weight without scaling, of the bias
  DType result = DType::bf16;  // `type`, or f32
  GemmScaling scaling = GemmScaling::none;
  const float* x_scale = nullptr;
  const float* weight_scale = nullptr;
};

class CublasGemm {
 public:
  static constexpr std::size_t kDefaultWorkspace = std::size_t{64} << 20;

  // On the current device. unavailable or out_of_memory.
  static Result<std::unique_ptr<CublasGemm>> create(std::size_t workspace_bytes = kDefaultWorkspace);
  ~CublasGemm();
  CublasGemm(const CublasGemm&) = delete;
  CublasGemm& operator=(const CublasGemm&) = delete;

  // Whether the library has an algorithm for such a call, as far as it tells; reads none of its operands.
  bool can(const GemmCall& call);

  // Asynchronous. unsupported where the library has no algorithm: e4m3 on a device or in a shape without it.
  Result<void> product(const GemmCall& call, cudaStream_t stream);

  // Runs the heuristic's best eight on `calls`, which differ in their buffers only, and pins the fastest.
  // Enough of them that the weights do not stay in L2 make the choice one for weights read from memory. Waits
  // for the stream.
  Result<void> tune(std::span<const GemmCall> calls, cudaStream_t stream);

 private:
  // What a choice depends on.
  struct Key {
    std::int32_t out = 0;
    std::int32_t in = 0;
    std::int32_t rows = 0;       // rounded up to a power of two; or exact and negative, see product()
    std::int32_t alignment = 0;  // bytes, of all operands
    DType type = DType::bf16;
    DType result = DType::bf16;
    GemmScaling scaling = GemmScaling::none;
    bool bias = false;
    auto operator<=>(const Key&) const = default;
  };
  struct Problem;  // the library's descriptions of a call

  CublasGemm(cublasLtHandle_t handle, void* workspace, std::size_t workspace_bytes)
      : handle_(handle), workspace_(workspace), workspace_bytes_(workspace_bytes) {}

  static Key key_of(const GemmCall& call);
  Result<int> candidates(const GemmCall& call, std::span<cublasLtMatmulHeuristicResult_t> found);
  Result<const cublasLtMatmulAlgo_t*> algorithm(const GemmCall& call, const Key& key);
  cublasStatus_t run(const GemmCall& call, const cublasLtMatmulAlgo_t& algorithm, cudaStream_t stream);
  Result<float> measure(std::span<const GemmCall> calls, const cublasLtMatmulAlgo_t& algorithm,
                        cudaStream_t stream);

  cublasLtHandle_t handle_;
  void* workspace_;
  std::size_t workspace_bytes_;
  std::map<Key, cublasLtMatmulAlgo_t> pinned_;
};

}  // namespace baton
