// The functions of cuBLASLt that Baton calls: one algorithm, plain sums. Which calls it takes is what the
// library's documentation says: e4m3 operands with all sizes and addresses at multiples of 16, biases of the
// result's type.
#include <cublasLt.h>

#include <bit>
#include <cstdio>
#include <cstring>
#include <vector>

#include "memory.hpp"
#include "numbers.hpp"
#include "stream.hpp"

using namespace baton::emulator;

namespace {

struct Layout {
  cudaDataType type;
  std::uint64_t rows, cols;
  std::int64_t stride;
};
static_assert(sizeof(Layout) <= sizeof(cublasLtMatrixLayoutOpaque_t));

struct Product {
  std::int32_t transpose_a = 0, transpose_b = 0;
  std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  std::int32_t bias_type = -1;
  const void* bias = nullptr;
  const float* a_scale = nullptr;
  const float* b_scale = nullptr;
  std::int32_t a_mode = 0, b_mode = 0;
  std::int8_t fast = 0;
};
static_assert(sizeof(Product) <= sizeof(cublasLtMatmulDescOpaque_t));

template <class T>
T view(const void* opaque) {
  T made;
  std::memcpy(static_cast<void*>(&made), opaque, sizeof(made));
  return made;
}

std::size_t element_bytes(cudaDataType type) {
  return type == CUDA_R_32F ? 4 : type == CUDA_R_8F_E4M3 ? 1 : 2;
}

float read(const void* data, std::size_t index, cudaDataType type) {
  if (type == CUDA_R_32F) return static_cast<const float*>(data)[index];
  if (type == CUDA_R_8F_E4M3) return E4m3::widen(static_cast<const std::uint8_t*>(data)[index]);
  const std::uint16_t bits = static_cast<const std::uint16_t*>(data)[index];
  return type == CUDA_R_16F ? Half16::widen(bits) : std::bit_cast<float>(std::uint32_t{bits} << 16);
}

void write(void* data, std::size_t index, cudaDataType type, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<std::uint16_t*>(data)[index] =
        type == CUDA_R_16F ? Half16::round(value) : Brain16::round(value);
  }
}

bool inside(const void* data, std::size_t elements, cudaDataType type) {
  Range range;
  return find_range(reinterpret_cast<std::uint64_t>(data), elements * element_bytes(type), range);
}

bool outer_scaled(const Product& product) {
  return product.a_mode == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
}

bool supported(const Product& product, const Layout& a, const Layout& b, const Layout& d) {
  if (product.transpose_a != CUBLAS_OP_T || product.transpose_b != CUBLAS_OP_N || a.rows != b.rows)
    return false;
  if (a.type != b.type || a.cols != d.rows || b.cols != d.cols) return false;
  if (product.bias != nullptr && product.bias_type != d.type) return false;
  if (a.type != CUDA_R_8F_E4M3) return d.type == a.type || d.type == CUDA_R_32F;
  const bool outer = outer_scaled(product);
  return (product.a_mode == product.b_mode) && (!outer || d.type == CUDA_R_16BF || d.type == CUDA_R_16F) &&
         a.rows % 16 == 0 && a.cols % 16 == 0 && a.stride % 16 == 0 && b.stride % 16 == 0 &&
         d.stride * static_cast<std::int64_t>(element_bytes(d.type)) % 16 == 0;
}

// D [rows][cols] by columns = A^T B: column j of D is row j of our y.
cudaError_t multiply(const Product& product, const Layout& a, const Layout& b, const Layout& d,
                     const void* a_data, const void* b_data, void* d_data) {
  if (!inside(a_data, static_cast<std::size_t>(a.stride) * (a.cols - 1) + a.rows, a.type) ||
      !inside(b_data, static_cast<std::size_t>(b.stride) * (b.cols - 1) + b.rows, b.type) ||
      !inside(d_data, static_cast<std::size_t>(d.stride) * (d.cols - 1) + d.rows, d.type) ||
      (product.a_scale != nullptr &&
       !inside(product.a_scale, outer_scaled(product) ? d.rows : 1, CUDA_R_32F)) ||
      (product.b_scale != nullptr &&
       !inside(product.b_scale, outer_scaled(product) ? d.cols : 1, CUDA_R_32F)) ||
      (product.bias != nullptr && !inside(product.bias, d.rows, d.type))) {
    std::fprintf(stderr, "emulator: a product of cuBLASLt reaches beyond its memory\n");
    return cudaErrorIllegalAddress;
  }
  std::vector<float> weights(a.rows * a.cols);
  for (std::size_t row = 0; row < a.cols; ++row) {
    for (std::size_t k = 0; k < a.rows; ++k)
      weights[row * a.rows + k] = read(a_data, row * static_cast<std::size_t>(a.stride) + k, a.type);
  }
  std::vector<float> x(b.rows);
  const bool outer = outer_scaled(product);
  for (std::size_t column = 0; column < d.cols; ++column) {
    for (std::size_t k = 0; k < b.rows; ++k)
      x[k] = read(b_data, column * static_cast<std::size_t>(b.stride) + k, b.type);
    for (std::size_t row = 0; row < d.rows; ++row) {
      const float* weight = weights.data() + row * a.rows;
      float sum = 0;
      for (std::size_t k = 0; k < a.rows; ++k) sum += weight[k] * x[k];
      if (product.a_scale != nullptr) sum *= product.a_scale[outer ? row : 0];
      if (product.b_scale != nullptr) sum *= product.b_scale[outer ? column : 0];
      if (product.bias != nullptr) sum += read(product.bias, row, d.type);
      write(d_data, column * static_cast<std::size_t>(d.stride) + row, d.type, sum);
    }
  }
  return cudaSuccess;
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(new int(0));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete reinterpret_cast<int*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "a status of the emulated cuBLASLt";
}
cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t, cudaDataType type,
                                                 uint64_t rows, uint64_t cols, int64_t stride) {
  const Layout made{type, rows, cols, stride};
  *layout = {};
  std::memcpy(layout, &made, sizeof(made));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t product, size_t, cublasComputeType_t,
                                               cudaDataType_t) {
  const Product made;
  *product = {};
  std::memcpy(static_cast<void*>(product), &made, sizeof(made));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
  auto made = view<Product>(product);
  const auto take = [&](auto& field) {
    if (bytes != sizeof(field)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(static_cast<void*>(&field), value, bytes);
    std::memcpy(static_cast<void*>(product), &made, sizeof(made));
    return CUBLAS_STATUS_SUCCESS;
  };
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(made.transpose_a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(made.transpose_b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(made.epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(made.bias);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return take(made.bias_type);
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM:
      return take(made.fast);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
      return take(made.a_scale);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
      return take(made.b_scale);
    case CUBLASLT_MATMUL_DESC_A_SCALE_MODE:
      return take(made.a_mode);
    case CUBLASLT_MATMUL_DESC_B_SCALE_MODE:
      return take(made.b_mode);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}
cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t, const void*,
                                                    size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t* found, int* count) {
  *count = supported(view<Product>(product), view<Layout>(a), view<Layout>(b), view<Layout>(d)) ? 1 : 0;
  if (*count == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  found[0] = {};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void*, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void*, const void*, cublasLtMatrixLayout_t, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t*, void*, size_t,
                              cudaStream_t stream) {
  const auto described = view<Product>(product);
  const auto first = view<Layout>(a_layout), second = view<Layout>(b_layout), result = view<Layout>(d_layout);
  if (!supported(described, first, second, result)) return CUBLAS_STATUS_NOT_SUPPORTED;
  const cudaError_t error =
      CUstream_st::submit(stream, [=] { return multiply(described, first, second, result, a, b, d); });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
