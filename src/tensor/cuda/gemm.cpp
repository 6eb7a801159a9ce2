// Calls into cuBLASLt. Descriptions of a call are built on the stack every time; that costs less than a look
// into a table of them would.
#include "tensor/cuda/gemm.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <string>

namespace baton {

namespace {

constexpr int kCandidates = 8;

Error cublas_error(cublasStatus_t status, const char* doing) {
  const ErrorCode code = status == CUBLAS_STATUS_NOT_SUPPORTED   ? ErrorCode::unsupported
                         : status == CUBLAS_STATUS_ALLOC_FAILED  ? ErrorCode::out_of_memory
                         : status == CUBLAS_STATUS_INVALID_VALUE ? ErrorCode::internal
                                                                 : ErrorCode::unavailable;
  return make_error(code, std::string(doing) + ": " + cublasLtGetStatusString(status));
}

Error cuda_error(cudaError_t error, const char* doing) {
  const ErrorCode code =
      error == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::unavailable;
  return make_error(code, std::string(doing) + ": " + cudaGetErrorString(error));
}

cudaDataType_t data_type(DType type) {
  return type == DType::f32 ? CUDA_R_32F : type == DType::f16 ? CUDA_R_16F : CUDA_R_16BF;
}

// The largest power of two up to 16 that divides all addresses and strides in bytes: sixteen is what the fast
// algorithms ask for.
std::int32_t alignment_of(const GemmCall& call) {
  const std::size_t operand = call.scaling == GemmScaling::none ? 2 : 1;
  const std::uintptr_t bits =
      reinterpret_cast<std::uintptr_t>(call.x) | reinterpret_cast<std::uintptr_t>(call.weight) |
      reinterpret_cast<std::uintptr_t>(call.y) | reinterpret_cast<std::uintptr_t>(call.bias) |
      (static_cast<std::size_t>(call.x_stride) * operand) | (static_cast<std::size_t>(call.in) * operand) |
      (static_cast<std::size_t>(call.y_stride) * size_of(call.result)) | 16U;
  return static_cast<std::int32_t>(std::uintptr_t{1} << std::countr_zero(bits));
}

class Events {
 public:
  Events() {
    error_ = cudaEventCreate(&start_);
    if (error_ == cudaSuccess) error_ = cudaEventCreate(&stop_);
  }
  ~Events() {
    if (start_ != nullptr) cudaEventDestroy(start_);
    if (stop_ != nullptr) cudaEventDestroy(stop_);
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  cudaError_t error() const { return error_; }
  cudaError_t start(cudaStream_t stream) { return cudaEventRecord(start_, stream); }
  cudaError_t stop(cudaStream_t stream, float& milliseconds) {
    cudaError_t error = cudaEventRecord(stop_, stream);
    if (error == cudaSuccess) error = cudaEventSynchronize(stop_);
    return error == cudaSuccess ? cudaEventElapsedTime(&milliseconds, start_, stop_) : error;
  }

 private:
  cudaEvent_t start_ = nullptr;
  cudaEvent_t stop_ = nullptr;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace

// The library thinks in columns: its D [out x rows] is our y, its A our weight transposed, its B our x. The
// opaque structures live here, so that describing a call allocates nothing.
struct CublasGemm::Problem {
  cublasLtMatmulDescOpaque_t product{};
  cublasLtMatrixLayoutOpaque_t weight{};
  cublasLtMatrixLayoutOpaque_t x{};
  cublasLtMatrixLayoutOpaque_t y{};
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;

  explicit Problem(const GemmCall& call) {
    const auto operand = call.scaling == GemmScaling::none ? data_type(call.type) : CUDA_R_8F_E4M3;
    const auto out = static_cast<std::uint64_t>(call.out);
    const auto in = static_cast<std::uint64_t>(call.in);
    const auto rows = static_cast<std::uint64_t>(call.rows);
    keep(cublasLtMatmulDescInit(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    keep(cublasLtMatrixLayoutInit(&weight, operand, in, out, call.in));
    keep(cublasLtMatrixLayoutInit(&x, operand, in, rows, call.x_stride));
    keep(cublasLtMatrixLayoutInit(&y, data_type(call.result), out, rows, call.y_stride));
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
    if (call.bias != nullptr) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<std::int32_t>(data_type(call.type)));
    }
    if (call.scaling == GemmScaling::none) return;
    set(CUBLASLT_MATMUL_DESC_FAST_ACCUM,
        std::int8_t{1});  // as served models do; the exact way takes up to twice as long
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, call.weight_scale);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, call.x_scale);
    if (call.scaling == GemmScaling::outer) {
      set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE,
          static_cast<std::int32_t>(CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F));
      set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE,
          static_cast<std::int32_t>(CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F));
    }
  }

  void keep(cublasStatus_t next) {
    if (status == CUBLAS_STATUS_SUCCESS) status = next;
  }
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    keep(cublasLtMatmulDescSetAttribute(&product, attribute, &value, sizeof(value)));
  }
};

Result<std::unique_ptr<CublasGemm>> CublasGemm::create(std::size_t workspace_bytes) {
  cublasLtHandle_t handle = nullptr;
  if (const auto status = cublasLtCreate(&handle); status != CUBLAS_STATUS_SUCCESS) {
    return cublas_error(status, "cublasLtCreate");
  }
  void* workspace = nullptr;
  if (workspace_bytes > 0) {
    if (const auto error = cudaMalloc(&workspace, workspace_bytes); error != cudaSuccess) {
      cublasLtDestroy(handle);
      return cuda_error(error, "the workspace of the matrix products");
    }
  }
  return std::unique_ptr<CublasGemm>(new CublasGemm(handle, workspace, workspace_bytes));
}

CublasGemm::~CublasGemm() {
  cudaFree(workspace_);
  cublasLtDestroy(handle_);
}

CublasGemm::Key CublasGemm::key_of(const GemmCall& call) {
  return Key{.out = call.out,
             .in = call.in,
             .rows = static_cast<std::int32_t>(std::bit_ceil(static_cast<std::uint32_t>(call.rows))),
             .alignment = alignment_of(call),
             .type = call.type,
             .result = call.result,
             .scaling = call.scaling,
             .bias = call.bias != nullptr};
}

Result<int> CublasGemm::candidates(const GemmCall& call, std::span<cublasLtMatmulHeuristicResult_t> found) {
  if (call.bias != nullptr && call.result != call.type)
    return make_error(ErrorCode::unsupported, "cuBLASLt adds a bias of the result's type only");
  Problem problem(call);
  cublasLtMatmulPreferenceOpaque_t preference{};
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    problem.keep(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)));
  };
  problem.keep(cublasLtMatmulPreferenceInit(&preference));
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(workspace_bytes_));
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    prefer(attribute, static_cast<std::uint32_t>(alignment_of(call)));
  }
  if (problem.status != CUBLAS_STATUS_SUCCESS)
    return cublas_error(problem.status, "describing a matrix product");
  int count = 0;
  const auto status = cublasLtMatmulAlgoGetHeuristic(handle_, &problem.product, &problem.weight, &problem.x,
                                                     &problem.y, &problem.y, &preference,
                                                     static_cast<int>(found.size()), found.data(), &count);
  if (status != CUBLAS_STATUS_SUCCESS) return cublas_error(status, "choosing a matrix product's algorithm");
  if (count == 0)
    return make_error(ErrorCode::unsupported, "cuBLASLt has no algorithm for this matrix product");
  return count;
}

Result<const cublasLtMatmulAlgo_t*> CublasGemm::algorithm(const GemmCall& call, const Key& key) {
  if (const auto found = pinned_.find(key); found != pinned_.end()) return &found->second;
  GemmCall largest = call;  // of its power of two
  largest.rows = key.rows < 0 ? -key.rows : key.rows;
  std::array<cublasLtMatmulHeuristicResult_t, 1> best{};
  const auto count = candidates(largest, best);
  if (!count) return count.error();
  return &pinned_.emplace(key, best[0].algo).first->second;
}

cublasStatus_t CublasGemm::run(const GemmCall& call, const cublasLtMatmulAlgo_t& algorithm,
                               cudaStream_t stream) {
  Problem problem(call);
  if (problem.status != CUBLAS_STATUS_SUCCESS) return problem.status;
  const float one = 1.0F;
  const float zero = 0.0F;
  return cublasLtMatmul(handle_, &problem.product, &one, call.weight, &problem.weight, call.x, &problem.x,
                        &zero, call.y, &problem.y, call.y, &problem.y, &algorithm, workspace_,
                        workspace_bytes_, stream);
}

bool CublasGemm::can(const GemmCall& call) {
  std::array<cublasLtMatmulHeuristicResult_t, 1> best{};
  return candidates(call, best).has_value();
}

Result<void> CublasGemm::product(const GemmCall& call, cudaStream_t stream) {
  if (call.rows <= 0 || call.out <= 0) return {};
  const Key shared = key_of(call);
  Key own = shared;  // few algorithms do for a power of two of rows and not for a number below it
  own.rows = -call.rows;
  auto status = CUBLAS_STATUS_NOT_SUPPORTED;
  if (!pinned_.contains(own)) {
    const auto choice = algorithm(call, shared);
    if (choice) status = run(call, **choice, stream);
  }
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
    const auto choice = algorithm(call, own);
    if (!choice) return choice.error();
    status = run(call, **choice, stream);
  }
  if (status != CUBLAS_STATUS_SUCCESS) return cublas_error(status, "a matrix product");
  return {};
}

// Microseconds of one call; negative where the algorithm does not do.
Result<float> CublasGemm::measure(std::span<const GemmCall> calls, const cublasLtMatmulAlgo_t& algorithm,
                                  cudaStream_t stream) {
  Events events;
  if (events.error() != cudaSuccess) return cuda_error(events.error(), "cudaEventCreate");
  if (run(calls[0], algorithm, stream) != CUBLAS_STATUS_SUCCESS) return -1.0F;
  const int rounds = std::max(1, 12 / static_cast<int>(calls.size()));
  float milliseconds = 0.0F;
  cudaError_t error = events.start(stream);
  for (int round = 0; round < rounds; ++round) {
    for (const GemmCall& call : calls) {
      if (run(call, algorithm, stream) != CUBLAS_STATUS_SUCCESS) return -1.0F;
    }
  }
  if (error == cudaSuccess) error = events.stop(stream, milliseconds);
  if (error != cudaSuccess) return cuda_error(error, "timing a matrix product");
  return milliseconds * 1000.0F / static_cast<float>(rounds * static_cast<int>(calls.size()));
}

Result<void> CublasGemm::tune(std::span<const GemmCall> calls, cudaStream_t stream) {
  if (calls.empty() || calls[0].rows <= 0) return {};
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
  const auto count = candidates(calls[0], found);
  if (!count) return count.error();
  int best = -1;
  float best_us = 0.0F;
  for (int i = 0; i < *count; ++i) {
    const auto us = measure(calls, found[static_cast<std::size_t>(i)].algo, stream);
    if (!us) return us.error();
    if (*us >= 0.0F && (best < 0 || *us < best_us)) {
      best = i;
      best_us = *us;
    }
  }
  if (best < 0) return make_error(ErrorCode::unsupported, "no algorithm for this matrix product runs");
  pinned_.insert_or_assign(key_of(calls[0]), found[static_cast<std::size_t>(best)].algo);
  return {};
}

}  // namespace baton
