#include "frontend/openai/completion_request.hpp"

namespace baton::frontend {
namespace {

std::string at(const std::string& name, std::size_t index) {
  return name + "[" + std::to_string(index) + "]";
}

// Enough for every real batch; each prompt is a request of its own at the engine.
constexpr std::size_t kMaxPrompts = 2048;

std::vector<TokenId> parse_ids(JsonFields& fields, const std::string& name, const Json& array,
                               std::int32_t vocab) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (std::size_t i = 0; i < array.size() && !fields.error(); ++i) {
    if (const auto id = parse_token_id(fields, at(name, i), array[i], vocab)) ids.push_back(*id);
  }
  return ids;
}

// A string, an array of strings, an array of ids, or an array of id arrays.
std::vector<PromptInput> parse_prompt(JsonFields& fields, std::int32_t vocab) {
  std::vector<PromptInput> out;
  const Json* prompt = fields.find("prompt");
  if (prompt == nullptr) {
    fields.fail("prompt", "Missing required parameter: 'prompt'.");
    return out;
  }
  if (prompt->is_string()) return {prompt->get<std::string>()};
  if (!prompt->is_array()) {
    fields.fail_type("prompt", "a string, an array of strings or an array of token ids", *prompt);
    return out;
  }
  if (prompt->empty()) {
    fields.fail("prompt", "Invalid 'prompt': empty array.");
    return out;
  }
  if (prompt->front().is_number()) {
    out.emplace_back(parse_ids(fields, "prompt", *prompt, vocab));
    return out;
  }
  if (prompt->size() > kMaxPrompts) {
    fields.fail("prompt", "Invalid 'prompt': more than " + std::to_string(kMaxPrompts) + " prompts.");
    return out;
  }
  for (std::size_t i = 0; i < prompt->size() && !fields.error(); ++i) {
    const Json& item = (*prompt)[i];
    const std::string name = at("prompt", i);
    if (item.is_string()) {
      out.emplace_back(item.get<std::string>());
    } else if (!item.is_array()) {
      fields.fail_type(name, "a string or an array of token ids", item);
    } else if (item.empty()) {
      fields.fail(name, "Invalid '" + name + "': empty array.");
    } else {
      out.emplace_back(parse_ids(fields, name, item, vocab));
    }
  }
  return out;
}

void refuse_unsupported(JsonFields& fields, const CompletionRequest& request) {
  std::string suffix;
  if (fields.text("suffix", suffix) && !suffix.empty()) {
    fields.fail("suffix", "'suffix' (fill in the middle) is not supported.", ErrorCode::unsupported);
  }
  std::int32_t best_of = request.fields.n;
  if (fields.integer("best_of", best_of) && best_of != request.fields.n) {
    fields.fail("best_of", "'best_of' other than 'n' is not supported.", ErrorCode::unsupported);
  }
  if (request.echo && request.fields.logprobs) {
    fields.fail("echo", "'echo' together with 'logprobs' is not supported: prompts have no logprobs here.",
                ErrorCode::unsupported);
  }
}

}  // namespace

Result<CompletionRequest> parse_completion_request(std::string_view body, const ServedModel& model) {
  auto object = parse_json_object(body);
  if (!object) return std::move(object).error();
  JsonFields fields(*object);
  CompletionRequest out;
  check_model(fields, model);
  out.prompts = parse_prompt(fields, model.vocab);
  out.fields = parse_generation_fields(fields, model);
  fields.boolean("echo", out.echo);
  fields.boolean("add_special_tokens", out.add_special_tokens);
  if (fields.integer("logprobs", out.fields.sampling.logprobs, 0, kMaxLogprobs)) out.fields.logprobs = true;
  refuse_unsupported(fields, out);
  if (fields.error()) return *fields.error();
  return out;
}

}  // namespace baton::frontend
