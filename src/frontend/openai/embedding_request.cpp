#include "frontend/openai/embedding_request.hpp"

#include "frontend/openai/generation_fields.hpp"

namespace baton::frontend {
namespace {

std::vector<EmbeddingInput> parse_inputs(JsonFields& fields, std::int32_t vocab) {
  std::vector<PromptInput> prompts = parse_prompts(fields, "input", vocab);
  if (fields.error()) return {};
  const Json& input = *fields.find("input");
  const bool several = input.is_array() && !input.front().is_number();
  std::vector<EmbeddingInput> out;
  out.reserve(prompts.size());
  for (PromptInput& prompt : prompts) {
    const std::string name = several ? at("input", out.size()) : "input";
    const auto* text = std::get_if<std::string>(&prompt);
    if (text != nullptr && text->empty()) fields.fail(name, "Invalid '" + name + "': empty string.");
    out.push_back({name, std::move(prompt)});
  }
  return out;
}

EmbeddingFormat parse_format(JsonFields& fields, const ServedModel& model) {
  EmbeddingFormat format;
  std::string encoding = "float";
  fields.text("encoding_format", encoding);
  if (encoding != "float" && encoding != "base64")
    fields.fail("encoding_format", "Invalid value for 'encoding_format': expected \"float\" or \"base64\".");
  format.base64 = encoding == "base64";
  std::int32_t dimensions = 0;
  if (fields.integer("dimensions", dimensions, 1, model.hidden)) format.dimensions = dimensions;
  return format;
}

// -1 is vLLM's "as many as the model takes".
std::optional<std::int32_t> parse_truncation(JsonFields& fields, std::int32_t context) {
  constexpr const char* kField = "truncate_prompt_tokens";
  std::int32_t tokens = 0;
  if (!fields.integer(kField, tokens, -1, context)) return std::nullopt;
  if (tokens == 0)
    fields.fail(kField, "Invalid value for 'truncate_prompt_tokens': must be -1 or at least 1, got 0.");
  return tokens == -1 ? context : tokens;
}

}  // namespace

Result<EmbeddingRequest> parse_embedding_request(std::string_view body, const ServedModel& model) {
  auto object = parse_json_object(body);
  if (!object) return std::move(object).error();
  JsonFields fields(*object);
  EmbeddingRequest out;
  out.adapter = check_model(fields, model);
  if (!model.no_embeddings.empty()) fields.fail("model", model.no_embeddings, ErrorCode::unsupported);
  refuse_transfer_fields(fields);
  out.inputs = parse_inputs(fields, model.vocab);
  out.format = parse_format(fields, model);
  out.keep = parse_truncation(fields, model.context);
  fields.boolean("add_special_tokens", out.add_special_tokens);
  fields.text("cache_salt", out.cache_salt);
  fields.integer("priority", out.priority);
  std::string user;
  fields.text("user", user);
  if (fields.error()) return *fields.error();
  return out;
}

}  // namespace baton::frontend
