#include "frontend/openai/embedding_response.hpp"

#include <bit>
#include <charconv>
#include <cmath>

#include "baton/base/base64.hpp"
#include "frontend/openai/json_fields.hpp"

namespace baton::frontend {
namespace {

bool normalise(std::span<float> values) {
  double squares = 0;
  for (const float value : values) squares += double{value} * double{value};
  if (!std::isfinite(squares)) return false;
  if (squares == 0) return true;
  const double length = std::sqrt(squares);
  for (float& value : values) value = static_cast<float>(double{value} / length);
  return true;
}

std::string numbers(std::span<const float> values) {
  constexpr std::size_t kLongest = 16;  // "-1.17549435e-38," and nothing shorter says the same
  std::string out(values.size() * kLongest + 2, '\0');
  char* at = out.data();
  *at++ = '[';
  for (const float value : values) {
    if (at[-1] != '[') *at++ = ',';
    at = std::to_chars(at, out.data() + out.size(), value).ptr;
  }
  *at++ = ']';
  out.resize(static_cast<std::size_t>(at - out.data()));
  return out;
}

std::string base64(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little);
  const auto bytes = std::as_bytes(values);
  return '"' + encode_base64({reinterpret_cast<const char*>(bytes.data()), bytes.size()}) + '"';
}

}  // namespace

Result<std::string> embedding_json(std::vector<float> values, const EmbeddingFormat& format) {
  const auto wanted = static_cast<std::size_t>(format.dimensions.value_or(1));
  if (values.size() < wanted)
    return make_error(ErrorCode::internal, "The engine made an embedding of " +
                                               std::to_string(values.size()) + " dimensions instead of " +
                                               std::to_string(wanted) + " or more.");
  if (format.dimensions) values.resize(wanted);
  if (!normalise(values))
    return make_error(ErrorCode::internal, "The model computed an embedding that is not finite.");
  return format.base64 ? base64(values) : numbers(values);
}

std::string embeddings_body(std::string_view model, std::span<const std::string> embeddings,
                            std::uint64_t prompt_tokens) {
  constexpr std::size_t kAround = 64;  // bytes of what stands around each
  std::size_t size = 256 + model.size();
  for (const std::string& embedding : embeddings) size += embedding.size() + kAround;
  std::string out;
  out.reserve(size);
  out = R"({"object":"list","data":[)";
  for (std::size_t i = 0; i < embeddings.size(); ++i) {
    if (i > 0) out += ',';
    out += R"({"object":"embedding","index":)" + std::to_string(i) + R"(,"embedding":)";
    out += embeddings[i];
    out += '}';
  }
  const std::string tokens = std::to_string(prompt_tokens);
  out += R"(],"model":)" + Json(model).dump(-1, ' ', false, Json::error_handler_t::replace);
  out += R"(,"usage":{"prompt_tokens":)" + tokens + R"(,"total_tokens":)" + tokens + "}}";
  return out;
}

}  // namespace baton::frontend
