#include "frontend/openai/completion_request.hpp"

namespace baton::frontend {
namespace {

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
  out.prompts = parse_prompts(fields, "prompt", model.vocab);
  out.fields = parse_generation_fields(fields, model);
  fields.boolean("echo", out.echo);
  fields.boolean("add_special_tokens", out.add_special_tokens);
  if (fields.integer("logprobs", out.fields.sampling.logprobs, 0, kMaxLogprobs)) out.fields.logprobs = true;
  refuse_unsupported(fields, out);
  if (fields.error()) return *fields.error();
  return out;
}

}  // namespace baton::frontend
