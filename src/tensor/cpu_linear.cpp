#include "cpu_linear.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace baton {
namespace {

// Products of sizes stay far from overflow below these.
constexpr std::int64_t kMostOutputs = std::int64_t{1} << 31;
constexpr std::int64_t kMostInputs = std::int64_t{1} << 27;

Result<void> check(const WeightView& view) {
  if (view.dtype == DType::i32) {
    return make_error(ErrorCode::unsupported, "a weight of element type i32 cannot be packed", "dtype");
  }
  if (view.data == nullptr) return make_error(ErrorCode::invalid_argument, "a weight has no data", "data");
  if (view.out <= 0 || view.in <= 0 || view.out > kMostOutputs || view.in > kMostInputs) {
    return make_error(ErrorCode::invalid_argument,
                      "a weight has the impossible shape [" + std::to_string(view.out) + ", " +
                          std::to_string(view.in) + "]",
                      "shape");
  }
  if (!has_its_scales(view))
    return make_error(ErrorCode::invalid_argument, "an e4m3 weight needs one scale, or one for each output",
                      "scales");
  return {};
}

Result<void> check(std::span<const WeightView> views) {
  if (views.empty()) return make_error(ErrorCode::invalid_argument, "there is no weight to pack", "weights");
  for (const WeightView& view : views) {
    if (auto checked = check(view); !checked) return checked;
    if (view.in != views[0].in) {
      return make_error(ErrorCode::invalid_argument,
                        "weights packed side by side have " + std::to_string(views[0].in) + " and " +
                            std::to_string(view.in) + " inputs",
                        "shape");
    }
    if (view.dtype != views[0].dtype) {
      return make_error(ErrorCode::invalid_argument,
                        "weights packed side by side have element types " +
                            std::string(to_string(views[0].dtype)) + " and " +
                            std::string(to_string(view.dtype)),
                        "dtype");
    }
  }
  return {};
}

std::span<const std::byte> codes_of(const WeightView& view) {
  return {static_cast<const std::byte*>(view.data), static_cast<std::size_t>(view.out * view.in)};
}

bool has_nan(std::span<const std::byte> codes) {
  std::byte found{};
  constexpr std::byte kMagnitude{0x7F};
  for (const std::byte code : codes) found |= std::byte{(code & kMagnitude) == kMagnitude};
  return found != std::byte{};
}

// One row of `count` values as f32. A [1, count] matrix packed by itself and read back as output 0 would do
// the same; this needs no detour through groups.
void widen(const void* from, std::int64_t count, kernels::Element type, const kernels::Kernels& kernels,
           float* to) {
  const std::size_t bytes = kernels::bytes_of(type);
  std::vector<std::byte> column(static_cast<std::size_t>(kernels.group) * bytes);
  for (std::int64_t i = 0; i < count; ++i) {
    std::memcpy(column.data(), static_cast<const std::byte*>(from) + static_cast<std::size_t>(i) * bytes,
                bytes);
    kernels.embed({.weight = column.data(), .type = type, .in = 1, .token = 0, .y = to + i});
  }
}

// Copies outputs [first, first + count) of the views, laid side by side, into one group.
void pack_group(std::span<const WeightView> views, std::int64_t group, PackedMatrix& body,
                const kernels::Kernels& kernels) {
  const std::size_t bytes = kernels::bytes_of(body.type);
  const std::int64_t first = group * body.group;
  const std::int64_t last = std::min(first + body.group, body.out);
  std::int64_t view_first = 0;
  for (const WeightView& view : views) {
    const std::int64_t from = std::max(first, view_first);
    const std::int64_t to = std::min(last, view_first + view.out);
    if (from < to) {
      kernels.pack(
          {.group = body.weight.data() + static_cast<std::size_t>(group * body.in * body.group) * bytes,
           .first_column = from - first,
           .columns = to - from,
           .rows = static_cast<const std::byte*>(view.data) +
                   static_cast<std::size_t>((from - view_first) * body.in) * bytes,
           .in = body.in,
           .type = body.type});
    }
    view_first += view.out;
  }
}

}  // namespace

kernels::Element element_of(DType dtype) {
  if (dtype == DType::bf16) return kernels::Element::bf16;
  if (dtype == DType::e4m3) return kernels::Element::e4m3;
  return dtype == DType::f16 ? kernels::Element::f16 : kernels::Element::f32;
}

Result<Linear> pack_matrix(std::span<const WeightView> views, const kernels::Kernels& kernels,
                           ThreadPool& pool) {
  if (auto checked = check(views); !checked) return checked.error();
  auto body = std::make_shared<PackedMatrix>();
  body->in = views[0].in;
  body->type = element_of(views[0].dtype);
  if (body->type == kernels::Element::e4m3 && std::ranges::none_of(views, has_nan, &codes_of))
    body->type = kernels::Element::e4m3_finite;
  body->group = kernels.group;
  bool biased = false;
  for (const WeightView& view : views) {
    body->out += view.out;
    biased = biased || view.bias != nullptr;
  }
  const std::int64_t groups = (body->out + body->group - 1) / body->group;
  const auto padded = static_cast<std::size_t>(groups * body->group);
  auto weight = Buffer::allocate(
      {}, padded * static_cast<std::size_t>(body->in) * kernels::bytes_of(body->type), {.huge_pages = true});
  if (!weight) return weight.error();
  body->weight = *std::move(weight);
  if (biased) {
    auto bias = Buffer::allocate({}, padded * sizeof(float));
    if (!bias) return bias.error();
    body->bias = *std::move(bias);
    float* to = reinterpret_cast<float*>(body->bias.data());
    for (const WeightView& view : views) {
      if (view.bias) widen(view.bias, view.out, element_of(view.bias_type()), kernels, to);
      to += view.out;
    }
  }
  if (kernels::bytes_of(body->type) == 1) {
    auto scale = Buffer::allocate({}, padded * sizeof(float));
    if (!scale) return scale.error();
    body->scale = *std::move(scale);
    float* to = reinterpret_cast<float*>(body->scale.data());
    for (const WeightView& view : views)
      for (std::int64_t output = 0; output < view.out; ++output) *to++ = view.scale_of(output);
  }
  pool.run(groups, [&](std::int64_t group, int) { pack_group(views, group, *body, kernels); });
  return Linear(std::move(body));
}

Result<Linear> pack_norm(const WeightView& view, const kernels::Kernels& kernels) {
  if (auto checked = check(view); !checked) return checked.error();
  if (view.out != 1 || view.dtype == DType::e4m3) {
    return make_error(ErrorCode::invalid_argument,
                      "a vector of f32, f16 or bf16 was expected, the shape is [" + std::to_string(view.out) +
                          ", " + std::to_string(view.in) + "]",
                      "shape");
  }
  auto body = std::make_shared<NormVector>();
  body->in = view.in;
  body->out = 1;
  auto values = Buffer::allocate({}, static_cast<std::size_t>(view.in) * sizeof(float));
  if (!values) return values.error();
  body->values = *std::move(values);
  widen(view.data, view.in, element_of(view.dtype), kernels, reinterpret_cast<float*>(body->values.data()));
  return Linear(std::move(body));
}

}  // namespace baton
