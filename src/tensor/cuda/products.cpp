// Which kernel makes a product. Few rows stream the weight; many are the library's. Only the streaming ones
// are row-invariant (docs/cuda.md): where that is asked for, they serve any number of rows, 64 at a time.
//
// Weights that stay e4m3 are widened as they are streamed. The library multiplies them with rows rounded to
// e4m3 as well, which a checkpoint must have been made for and the library must have for device and shape;
// elsewhere the weights have been expanded when they were packed.
#include "adapters.hpp"
#include "kernels/cuda/matmul.hpp"
#include "kernels/cuda/quantize.hpp"
#include "ops.hpp"
#include "runtime.hpp"
#include "views.hpp"

namespace baton {
namespace {

constexpr std::int64_t kLibraryOutputs = 65536;  // a vocabulary: the library streams that much better
constexpr std::int64_t kSkinnyRows = 8;
constexpr std::int64_t kSkinnyCodeRows = 16;  // of e4m3 weights
constexpr std::int64_t kWarpgroupRows = 32;   // on sm_90; with more the library is as fast
constexpr std::int64_t kManyOutputs = 16384;  // from here on one or two rows go faster as dot products

cuda::MatmulArguments arguments_of(const Tensor& x, const CudaMatrix& weight, const Tensor& y,
                                   cuda::Gate gate) {
  cuda::MatmulArguments args;
  args.x = x.data;
  args.x_stride = x.stride;
  args.weight = weight.weight.data();
  args.scale = weight.scale_data();
  args.bias = weight.bias_data();
  args.y = y.data;
  args.y_stride = y.stride;
  args.rows = static_cast<std::int32_t>(x.rows);
  args.out = static_cast<std::int32_t>(weight.out);
  args.in = static_cast<std::int32_t>(weight.in);
  args.activation = element_on_gpu(x.dtype);
  args.weight_type = weight.element;
  args.result = element_on_gpu(y.dtype);
  args.gate = gate;
  return args;
}

// What a call of the library has of the weight.
GemmCall call_of(const CudaMatrix& weight) {
  GemmCall call;
  call.weight = weight.weight.data();
  call.bias = weight.bias_data();
  call.out = static_cast<std::int32_t>(weight.out);
  call.in = static_cast<std::int32_t>(weight.in);
  if (weight.element == cuda::Element::e4m3) {
    call.weight_scale = weight.scale_data();
    call.scaling = GemmScaling::outer;
  }
  return call;
}

// To ask the library by: any aligned address stands for the operands.
GemmCall code_probe(std::int64_t out, std::int64_t in, bool bias, std::int64_t rows, DType type) {
  alignas(16) static std::byte operand[16] = {};
  GemmCall call;
  call.x = call.weight = call.y = operand;
  call.x_scale = call.weight_scale = reinterpret_cast<const float*>(operand);
  call.bias = bias ? operand : nullptr;
  call.rows = static_cast<std::int32_t>(rows);
  call.out = static_cast<std::int32_t>(out);
  call.in = static_cast<std::int32_t>(in);
  call.x_stride = in;
  call.y_stride = out;
  call.type = call.result = type;
  call.scaling = GemmScaling::outer;
  return call;
}

std::tuple<std::int64_t, std::int64_t, bool, std::int64_t> code_key(const CudaMatrix& weight,
                                                                    std::int64_t rows) {
  return {weight.out, weight.in, weight.bias_data() != nullptr, rows};
}

}  // namespace

Codes CudaOps::codes_of(std::span<const WeightView> weights) const {
  if (activations_ == DType::f32 || deterministic_) return Codes::keep;
  if (!fp8_products_ || weights.empty() || weights[0].dtype != DType::e4m3) return Codes::expand;
  std::int64_t out = 0;
  for (const WeightView& view : weights) out += view.out;
  for (const std::int64_t rows : {32, 1024})
    if (!gemm_->can(code_probe(out, weights[0].in, weights[0].bias != nullptr, rows, activations_)))
      return Codes::expand;
  return Codes::keep;
}

// Whether the product that reads these rows would round them to e4m3, so that whoever makes them may as well.
bool CudaOps::takes_codes(const Linear* next, std::int64_t rows) {
  if (!rounds_rows_ || next == nullptr || rows <= kSkinnyCodeRows) return false;
  if (adapters_of(*next, rows)) return false;  // they are multiplied with what rows are before
  const CudaMatrix& weight = matrix_of(*next);
  if (weight.element != cuda::Element::e4m3 || weight.in % 16 != 0) return false;
  const auto [known, fresh] = code_products_.try_emplace(code_key(weight, rows), false);
  if (fresh)
    known->second =
        gemm_->can(code_probe(weight.out, weight.in, weight.bias_data() != nullptr, rows, activations_));
  return known->second;
}

// False where the library has no algorithm. Rows that are codes already come from takes_codes().
bool CudaOps::library_product(const Tensor& x, const CudaMatrix& weight, const Tensor& y) {
  GemmCall call = call_of(weight);
  call.x = x.data;
  call.x_stride = x.stride;
  call.y = y.data;
  call.y_stride = y.stride;
  call.rows = static_cast<std::int32_t>(x.rows);
  call.type = activations_;
  call.result = y.dtype;
  const std::size_t mark = workspace_.mark();
  if (x.dtype == DType::e4m3) {
    call.x_scale = scales_of(x);
  } else if (weight.element == cuda::Element::e4m3) {
    const Tensor codes = allocate_codes(x.rows, x.cols);
    cuda::QuantizeArguments rounding;
    rounding.x = x.data;
    rounding.type = element_on_gpu(x.dtype);
    rounding.x_stride = x.stride;
    rounding.rows = call.rows;
    rounding.cols = call.in;
    rounding.q = codes.data;
    rounding.q_stride = codes.stride;
    rounding.scale = scales_of(codes);
    require(cuda::quantize_rows(rounding, stream_), "quantize_rows");
    call.x = codes.data;
    call.x_stride = codes.stride;
    call.x_scale = scales_of(codes);
  }
  const auto done = gemm_->product(call, stream_);
  workspace_.release(mark);
  if (!done && done.error().code != ErrorCode::unsupported) throw DeviceFailure(done.error().message);
  return done.has_value();
}

Tensor CudaOps::product(const Tensor& x, const CudaMatrix& weight, DType result, cuda::Gate gate) {
  const bool gated = gate != cuda::Gate::none;
  const Tensor y = allocate(x.rows, gated ? weight.out / 2 : weight.out, result);
  if (x.rows == 0) return y;
  if (x.dtype == DType::e4m3) {
    if (library_product(x, weight, y)) return y;
    code_products_[code_key(weight, x.rows)] = false;  // the next step goes another way
    throw DeviceFailure("cuBLASLt refuses a product that it said it had");
  }
  const cuda::MatmulArguments args = arguments_of(x, weight, y, gate);
  const bool codes = weight.element == cuda::Element::e4m3;
  const bool few = codes ? x.rows <= kSkinnyCodeRows : x.rows <= kSkinnyRows && weight.out < kLibraryOutputs;
  if (x.dtype == DType::f32 || !cuda::skinny_takes(args)) {
    require(cuda::matmul_generic(args, stream_), "matmul");
  } else if (!deterministic_ && x.rows > kSkinnyRows && x.rows <= kWarpgroupRows &&
             cuda::warpgroup_takes(args)) {
    require(cuda::matmul_warpgroup(args, stream_), "matmul");
  } else if (!deterministic_ && cuda::few_takes(args) && weight.out >= kManyOutputs) {
    require(cuda::matmul_few(args, stream_), "matmul");
  } else if (gated || deterministic_ || few || (weight.bias_data() && result != x.dtype) ||
             !library_product(x, weight, y)) {
    require(cuda::matmul_skinny(args, stream_), "matmul");
  }
  return y;
}

// As Batch::adapters_of() tells, on the device: the adapter of each row of a tensor with that many. Null: the
// product of these rows is the weight's alone.
const std::int32_t* CudaOps::adapters_of(const Linear& weight, std::int64_t rows) const {
  const auto count = static_cast<std::size_t>(rows);
  if (!weight.adapters() || batch_adapters_.empty()) return nullptr;
  if (count == batch_adapters_.size()) return step_->adapters();
  return count == batch_logit_adapters_.size() ? step_->logit_adapters() : nullptr;
}

// Which rows have one is the device's to know: this is launched for all.
void CudaOps::add_adapters(const Tensor& x, const Linear& weight, const Tensor& y) {
  const std::int32_t* const of_row = adapters_of(weight, x.rows);
  if (!of_row) return;
  const auto& packed = static_cast<const CudaAdapters&>(*weight.adapters());
  const cuda::AdapterRows adapters{packed.entries(), of_row, packed.most_rank, packed.element};
  const std::size_t mark = workspace_.mark();
  auto* const inner = static_cast<float*>(allocate(x.rows, packed.most_rank, DType::f32).data);
  require(cuda::adapter_shrink(rows_of(x), adapters, inner, stream_), "adapter_shrink");
  require(cuda::adapter_expand(inner, adapters, rows_of(y), stream_), "adapter_expand");
  workspace_.release(mark);
}

Tensor CudaOps::matmul(const Tensor& x, const Linear& weight) {
  const Tensor y = product(x, matrix_of(weight), activations_);
  add_adapters(x, weight, y);
  return y;
}

Tensor CudaOps::logits(const Tensor& x, const Linear& weight) {
  const Tensor y = product(x, matrix_of(weight), DType::f32);
  add_adapters(x, weight, y);
  return y;
}

// Adapters add to gates and ups before those are multiplied. Where a row must not show what others are in its
// step, they are then never multiplied within the product.
Tensor CudaOps::gated_matmul(const Tensor& x, const Linear& gate_up, Activation activation,
                             const Linear* next) {
  const CudaMatrix& weight = matrix_of(gate_up);
  const std::int64_t most = weight.element == cuda::Element::e4m3 ? kSkinnyCodeRows
                            : gpu_.compute_capability == 90       ? kWarpgroupRows
                                                                  : kSkinnyRows;
  const bool adapted =
      deterministic_ ? gate_up.adapters() != nullptr : adapters_of(gate_up, x.rows) != nullptr;
  if (x.dtype != DType::f32 && !adapted && (deterministic_ || x.rows <= most))
    return product(x, weight, activations_, gate_of(activation));
  const Tensor both = matmul(x, gate_up);
  if (!takes_codes(next, x.rows)) return gate_mul(both, activation);
  const Tensor codes = allocate_codes(x.rows, weight.out / 2);
  require(cuda::gate_mul(gate_of(activation), rows_of(both), rows_of(codes), scales_of(codes), stream_),
          "gate_mul");
  return codes;
}

}  // namespace baton
