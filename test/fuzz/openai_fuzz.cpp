// Request bodies through the OpenAI parsers. What is accepted must lie within the documented ranges; what
// is refused must make a valid error body. The first byte picks the endpoint.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "frontend/errors.hpp"
#include "frontend/openai/chat_request.hpp"
#include "frontend/openai/completion_request.hpp"
#include "frontend/openai/embedding_request.hpp"

namespace {

using namespace baton;
using namespace baton::frontend;

constexpr std::int32_t kVocab = 1000;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

void check_error(const Error& error) {
  const ApiError shown = api_error(error);
  require(shown.status == 400 || shown.status == 404);
  require(Json::accept(error_body(shown)));
}

void check_fields(const GenerationFields& fields) {
  const SamplingParams& s = fields.sampling;
  require(s.temperature >= 0 && s.temperature <= 2 && s.top_p > 0 && s.top_p <= 1);
  require(s.min_p >= 0 && s.min_p <= 1 && s.top_k >= 0 && s.repetition_penalty > 0);
  require(fields.n >= 1 && fields.n <= kMaxChoices && s.logprobs >= -1 && s.logprobs <= kMaxLogprobs);
  require(fields.stop.size() <= static_cast<std::size_t>(kMaxStopStrings) && fields.min_tokens >= 0);
  require(!fields.max_tokens || *fields.max_tokens >= 1);
  for (const auto& [id, bias] : s.logit_bias) require(id >= 0 && id < kVocab && bias >= -100 && bias <= 100);
  for (const TokenId id : fields.stop_token_ids) require(id >= 0 && id < kVocab);
  const auto tokens = resolve_max_tokens(fields, 10, 16, 100);
  if (tokens) require(*tokens >= 1 && *tokens <= 90);
}

void check_chat(std::string_view body, const ServedModel& model) {
  const auto chat = parse_chat_request(body, model);
  if (!chat) return check_error(chat.error());
  check_fields(chat->fields);
  const bool harmony = model.answer.reasoning == ReasoningFormat::harmony;
  for (const Json& message : chat->template_variables["messages"]) {
    const auto content = message.find("content");
    require(content == message.end() ? harmony : content->is_string() || (content->is_null() && !harmony));
  }
}

void check_completion(std::string_view body, const ServedModel& model) {
  const auto completion = parse_completion_request(body, model);
  if (!completion) return check_error(completion.error());
  check_fields(completion->fields);
  require(!completion->prompts.empty());
  for (const PromptInput& prompt : completion->prompts) {
    const auto* ids = std::get_if<std::vector<TokenId>>(&prompt);
    if (ids != nullptr) require(!ids->empty());
  }
}

void check_embeddings(std::string_view body, const ServedModel& model) {
  const auto embeddings = parse_embedding_request(body, model);
  if (!embeddings) return check_error(embeddings.error());
  require(!embeddings->inputs.empty() && embeddings->inputs.size() <= kMaxPrompts);
  for (const EmbeddingInput& input : embeddings->inputs) {
    require(std::visit([](const auto& what) { return !what.empty(); }, input.what));
    require(input.name.starts_with("input"));
  }
  const auto [base64, dimensions] = embeddings->format;
  require(!dimensions || (*dimensions >= 1 && *dimensions <= model.hidden));
  require(!embeddings->keep || (*embeddings->keep >= 1 && *embeddings->keep <= model.context));
  std::vector<float> values;  // whatever the body's bytes make
  for (const char byte : body) values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(byte) << 23));
  const auto shown = embedding_json(std::move(values), embeddings->format);
  if (shown) require(Json::accept(embeddings_body(body, {{*shown, *shown}}, body.size())));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  ServedModel model;
  model.names = {"demo"};
  model.context = 100;
  model.vocab = kVocab;
  model.hidden = 8;
  if (data[0] >= 128) model.answer.reasoning = ReasoningFormat::harmony;
  switch (data[0] % 3) {
    case 0:
      check_chat(body, model);
      break;
    case 1:
      check_completion(body, model);
      break;
    default:
      check_embeddings(body, model);
  }
  return 0;
}
