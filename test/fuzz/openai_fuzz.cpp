// Request bodies through the OpenAI parsers. What is accepted must lie within the documented ranges; what
// is refused must make a valid error body. The first byte picks the endpoint.
#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "frontend/errors.hpp"
#include "frontend/openai/chat_request.hpp"
#include "frontend/openai/completion_request.hpp"

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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  ServedModel model;
  model.names = {"demo"};
  model.context = 100;
  model.vocab = kVocab;
  if (data[0] % 2 == 0) {
    const auto chat = parse_chat_request(body, model);
    if (!chat) {
      check_error(chat.error());
      return 0;
    }
    check_fields(chat->fields);
    for (const Json& message : chat->template_variables["messages"]) {
      require(message["content"].is_string() || message["content"].is_null());
    }
  } else {
    const auto completion = parse_completion_request(body, model);
    if (!completion) {
      check_error(completion.error());
      return 0;
    }
    check_fields(completion->fields);
    require(!completion->prompts.empty());
    for (const PromptInput& prompt : completion->prompts) {
      const auto* ids = std::get_if<std::vector<TokenId>>(&prompt);
      if (ids != nullptr) require(!ids->empty());
    }
  }
  return 0;
}
