#include "experts.hpp"

#include <vector>

#include "kernels/cuda/moe.hpp"
#include "ops.hpp"
#include "runtime.hpp"
#include "tensor/experts.hpp"
#include "views.hpp"

namespace baton {

static_assert(kMostExperts <= cuda::kMaxExperts && kMostExpertsPerToken <= cuda::kMaxChoices);

Result<std::shared_ptr<const CudaExperts>> pack_experts_on_gpu(Device device,
                                                               std::span<const ExpertView> experts,
                                                               DType compute) {
  if (auto checked = check_experts(experts); !checked) return std::move(checked).error();
  std::vector<WeightView> gate_up, down;
  for (const ExpertView& expert : experts) {
    gate_up.push_back(expert.gate);
    gate_up.push_back(expert.up);
    down.push_back(expert.down);
  }
  auto body = std::make_shared<CudaExperts>();
  body->in = experts[0].gate.in;
  body->ffn = experts[0].gate.out;
  body->count = static_cast<std::int32_t>(experts.size());
  auto wide = pack_on_gpu(device, gate_up, compute, Codes::keep);
  if (!wide) return std::move(wide).error();
  body->gate_up = *std::move(wide);
  auto narrow = pack_on_gpu(device, down, compute, Codes::keep);
  if (!narrow) return std::move(narrow).error();
  body->down = *std::move(narrow);
  return std::shared_ptr<const CudaExperts>(std::move(body));
}

Tensor CudaOps::mixture(const Tensor& x, const Linear& router, const Experts& experts,
                        const ExpertChoice& choice, Activation activation) {
  assert(dynamic_cast<const CudaExperts*>(&experts.body()) != nullptr);
  const auto& body = static_cast<const CudaExperts&>(experts.body());
  const Tensor y = allocate(x.rows, body.in, x.dtype);
  if (x.rows == 0) return y;
  const std::size_t mark = workspace_.mark();
  const Tensor scores = product(x, matrix_of(router), DType::f32);  // [rows, experts]
  const std::int64_t entries = x.rows * choice.per_token;
  const auto integers = [&](std::int64_t count) {
    return static_cast<std::int32_t*>(allocate(1, count, DType::i32).data);
  };

  cuda::MoeRoute route;
  route.logits = rows_of(scores);
  route.choices = choice.per_token;
  route.renormalise = choice.renormalise;
  if (choice.scores == ExpertChoice::Scores::sigmoid) route.scores = cuda::MoeScores::sigmoid;
  if (choice.bias) route.bias = vector_of(*choice.bias).data();
  route.groups = choice.groups;
  route.kept_groups = choice.kept_groups;
  route.factor = choice.factor;
  route.experts = integers(entries);
  route.weights = static_cast<float*>(allocate(1, entries, DType::f32).data);
  require(cuda::moe_route(route, stream_), "moe_route");

  cuda::MoePermute permute;
  permute.experts = route.experts;
  permute.entries = static_cast<std::int32_t>(entries);
  permute.expert_count = body.count;
  permute.offsets = integers(body.count + 1);
  permute.entry_of = integers(entries);
  permute.slot_of = integers(entries);
  require(cuda::moe_permute(permute, stream_), "moe_permute");

  const auto multiply = [&](const Tensor& from, bool gather, const CudaMatrix& weight, std::int64_t out) {
    const Tensor slots = allocate(entries, out, x.dtype);
    cuda::MoeMatmul product;
    product.x = rows_of(from);
    product.offsets = permute.offsets;
    product.entry_of = gather ? permute.entry_of : nullptr;
    product.choices = choice.per_token;
    product.entries = permute.entries;
    product.expert_count = body.count;
    product.weight = weight.weight.data();
    product.weight_type = weight.element;
    product.scale = weight.scale_data();
    product.bias = weight.bias_data();
    product.y = rows_of(slots);
    require(cuda::moe_matmul(product, stream_), "moe_matmul");
    return slots;
  };
  const Tensor hidden =
      gate_mul(multiply(x, true, *body.gate_up, 2 * body.ffn), activation);  // [entries, ffn]
  const Tensor outputs = multiply(hidden, false, *body.down, body.in);       // [entries, in]

  cuda::MoeCombine combine;
  combine.x = rows_of(outputs);
  combine.slot_of = permute.slot_of;
  combine.weights = route.weights;
  combine.choices = choice.per_token;
  combine.y = rows_of(y);
  require(cuda::moe_combine(combine, stream_), "moe_combine");
  workspace_.release(mark);
  return y;
}

}  // namespace baton
