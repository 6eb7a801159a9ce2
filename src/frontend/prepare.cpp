#include "frontend/prepare.hpp"

#include <algorithm>

#include "frontend/access.hpp"
#include "frontend/http_writer.hpp"
#include "frontend/openai/chat_request.hpp"
#include "frontend/openai/completion_request.hpp"
#include "frontend/openai/embedding_request.hpp"

namespace baton::frontend {
namespace {

// The template has written the special tokens that the model wants; the tokenizer adds none.
constexpr EncodeOptions kTemplateEncoding{.add_special_tokens = false};

std::int32_t token_count(const std::vector<TokenId>& ids) {
  constexpr std::size_t most = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(std::min(ids.size(), most));
}

Result<std::string> render(const Json& variables, const FrontendServices& services) {
  if (services.chat_template == nullptr) {
    return make_error(ErrorCode::unsupported,
                      "This model has no chat template: use /v1/completions, or /tokenize with a 'prompt'.",
                      "messages");
  }
  auto text = services.chat_template->render(variables);
  if (!text && text.error().field.empty()) text.error().field = "messages";
  return text;
}

Result<PreparedPrompt> fit(std::vector<TokenId> ids, const GenerationFields& fields,
                           std::optional<std::int32_t> fallback, const FrontendServices& services) {
  auto tokens = resolve_max_tokens(fields, token_count(ids), fallback, services.model.context);
  if (!tokens) return std::move(tokens).error();
  PreparedPrompt prompt;
  prompt.ids = std::move(ids);
  prompt.max_tokens = *tokens;
  return prompt;
}

// Names the field where resolve_max_tokens could not know it.
Error prompt_error(Error error, const std::string& field) {
  if (error.field.empty()) error.field = field;
  return error;
}

Result<std::vector<TokenId>> embedding_ids(EmbeddingInput& input, const EmbeddingRequest& request,
                                           const FrontendServices& services) {
  const auto* text = std::get_if<std::string>(&input.what);
  std::vector<TokenId> ids = text != nullptr ? services.tokenizer.encode(*text, {request.add_special_tokens})
                                             : std::move(std::get<std::vector<TokenId>>(input.what));
  if (ids.empty())
    return make_error(ErrorCode::invalid_argument, "Invalid '" + input.name + "': it has no tokens.",
                      input.name);
  if (request.keep && token_count(ids) > *request.keep) ids.erase(ids.begin(), ids.end() - *request.keep);
  if (token_count(ids) > services.model.context)
    return make_error(ErrorCode::too_large,
                      "This model's maximum context length is " + std::to_string(services.model.context) +
                          " tokens. However, '" + input.name + "' has " + std::to_string(ids.size()) +
                          " tokens.",
                      input.name);
  return ids;
}

bool forces_calls(const ToolChoice& choice) {
  return choice.kind == ToolChoice::Kind::required || choice.kind == ToolChoice::Kind::named;
}

// Calls are looked for where the client can mean them: a bound answer has none, whatever it looks like.
AnswerRules answer_rules(const ChatRequest& request, std::string_view prompt, const ServedModel& model) {
  AnswerRules rules;
  rules.format = model.answer;
  const bool bound =
      request.fields.format.kind != OutputFormat::Kind::any && !forces_calls(request.tool_choice);
  if (bound || request.tool_choice.kind == ToolChoice::Kind::none) rules.format.calls = CallFormat::none;
  if (needs_types(rules.format.calls))
    rules.types = ParameterTypes(request.template_variables.at("tools"));  // there: calls are wanted
  rules.inside_reasoning = opens_reasoning(rules.format.reasoning, prompt);
  rules.show_reasoning = request.include_reasoning;
  rules.several_calls = request.parallel_tool_calls;
  return rules;
}

// Forced calls go before a format: they are what the answer is.
void note_binding(ChatRequest& request, PreparedRequest& out) {
  out.bound_by = request.fields.format.field;
  if (!forces_calls(request.tool_choice)) return;
  const bool any = request.tool_choice.kind == ToolChoice::Kind::required;
  out.bound_by = "tool_choice";
  out.forced = {.tools = std::move(request.template_variables["tools"]),
                .function = any ? std::string() : request.tool_choice.function,
                .several = any && request.parallel_tool_calls};
}

HttpReply json_reply(const Json& body) {
  HttpReply reply;
  reply.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return reply;
}

HttpReply failure(const Error& error) { return error_reply(api_error(error)); }

}  // namespace

Result<PreparedRequest> prepare_chat(std::string_view body, const std::string& tenant,
                                     const FrontendServices& services) {
  auto parsed = parse_chat_request(body, services.model);
  if (!parsed) return std::move(parsed).error();
  auto text = render(parsed->template_variables, services);
  if (!text) return std::move(text).error();
  PreparedRequest out;
  out.chat = true;
  out.answer = answer_rules(*parsed, *text, services.model);
  note_binding(*parsed, out);
  out.fields = std::move(parsed->fields);
  out.tenant = tenant;
  out.cache_salt = isolation_salt(tenant, out.fields.cache_salt);
  auto prompt = fit(services.tokenizer.encode(*text, kTemplateEncoding), out.fields, std::nullopt, services);
  if (!prompt) return prompt_error(std::move(prompt).error(), "messages");
  if (prompt->ids.empty()) {
    return make_error(ErrorCode::invalid_argument, "The chat template gave an empty prompt.", "messages");
  }
  out.prompts.push_back(std::move(*prompt));
  return out;
}

Result<PreparedRequest> prepare_completion(std::string_view body, const std::string& tenant,
                                           const FrontendServices& services) {
  constexpr std::int32_t kDefaultTokens = 16;
  auto parsed = parse_completion_request(body, services.model);
  if (!parsed) return std::move(parsed).error();
  PreparedRequest out;
  out.chat = false;
  out.fields = std::move(parsed->fields);
  out.bound_by = out.fields.format.field;
  out.tenant = tenant;
  out.cache_salt = isolation_salt(tenant, out.fields.cache_salt);
  for (PromptInput& input : parsed->prompts) {
    const auto* text = std::get_if<std::string>(&input);
    std::vector<TokenId> ids = text != nullptr
                                   ? services.tokenizer.encode(*text, {parsed->add_special_tokens})
                                   : std::move(std::get<std::vector<TokenId>>(input));
    if (ids.empty()) {
      return make_error(ErrorCode::invalid_argument, "Invalid 'prompt': it has no tokens.", "prompt");
    }
    auto prompt = fit(std::move(ids), out.fields, kDefaultTokens, services);
    if (!prompt) return prompt_error(std::move(prompt).error(), "prompt");
    if (parsed->echo) prompt->echo = text != nullptr ? *text : services.tokenizer.decode(prompt->ids, true);
    out.prompts.push_back(std::move(*prompt));
  }
  return out;
}

Result<PreparedEmbeddings> prepare_embeddings(std::string_view body, const std::string& tenant,
                                              const FrontendServices& services) {
  auto parsed = parse_embedding_request(body, services.model);
  if (!parsed) return std::move(parsed).error();
  PreparedEmbeddings out;
  out.model = parsed->adapter ? parsed->adapter->name : services.model.names.front();
  if (parsed->adapter) out.adapter = parsed->adapter->fingerprint;
  out.tenant = tenant;
  out.cache_salt = isolation_salt(tenant, parsed->cache_salt);
  out.priority = parsed->priority;
  out.format = parsed->format;
  out.inputs.reserve(parsed->inputs.size());
  for (EmbeddingInput& input : parsed->inputs) {
    auto ids = embedding_ids(input, *parsed, services);
    if (!ids) return std::move(ids).error();
    out.inputs.push_back({std::move(input.name), *std::move(ids)});
  }
  return out;
}

HttpReply answer_tokenize(std::string_view body, const FrontendServices& services) {
  auto object = parse_json_object(body);
  if (!object) return failure(object.error());
  JsonFields fields(*object);
  check_model(fields, services.model);
  const bool chat = fields.has("messages");
  bool add_special_tokens = !chat;
  bool with_strings = false;
  std::string text;
  Json variables;
  fields.boolean("add_special_tokens", add_special_tokens);
  fields.boolean("return_token_strs", with_strings);
  if (chat) {
    variables = parse_template_variables(fields, services.model);
  } else if (!fields.text("prompt", text)) {
    fields.fail("prompt", "Missing required parameter: 'prompt' or 'messages'.");
  }
  if (fields.error()) return failure(*fields.error());
  if (chat) {
    auto rendered = render(variables, services);
    if (!rendered) return failure(rendered.error());
    text = std::move(*rendered);
  }
  const std::vector<TokenId> ids = services.tokenizer.encode(text, {add_special_tokens});
  Json out = {{"count", ids.size()}, {"max_model_len", services.model.context}, {"tokens", ids}};
  out["token_strs"] = nullptr;
  if (with_strings) {
    out["token_strs"] = Json::array();
    for (const TokenId id : ids) out["token_strs"].push_back(std::string(services.tokenizer.id_to_token(id)));
  }
  return json_reply(out);
}

HttpReply answer_explain(std::string_view body, const std::string& tenant, const FrontendServices& services) {
  const auto object = parse_json_object(body);
  if (!object) return failure(object.error());
  JsonFields fields(*object);
  std::string as = tenant;
  fields.text("tenant", as);
  if (fields.error()) return failure(*fields.error());
  const auto prepared = object->contains("messages") ? prepare_chat(body, as, services)
                                                     : prepare_completion(body, as, services);
  if (!prepared) return failure(prepared.error());
  if (!services.explain) return error_reply(http_error(404, "This server routes nothing."));
  Request request;
  request.prompt = prepared->prompts.front().ids;
  request.stop.max_tokens = prepared->prompts.front().max_tokens;
  request.adapter = prepared->adapter();
  request.cache_salt = prepared->cache_salt;
  const auto explained = services.explain(request);
  if (!explained) return failure(explained.error());
  HttpReply reply;
  reply.body = explained->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return reply;
}

HttpReply answer_role(const std::string& node, std::string_view body, const FrontendServices& services) {
  const auto object = parse_json_object(body);
  if (!object) return failure(object.error());
  JsonFields fields(*object);
  std::string name;
  fields.text("role", name);
  if (fields.error()) return failure(*fields.error());
  const auto role = parse_role(name);
  if (!role)
    return failure(make_error(ErrorCode::invalid_argument,
                              "Invalid 'role': expected \"mixed\", \"prefill\" or \"decode\".", "role"));
  if (!services.set_role) return error_reply(http_error(404, "This server has no engines to give roles to."));
  const auto previous = services.set_role(node, *role);
  if (!previous) return failure(previous.error());
  return json_reply({{"node", node},
                     {"role", std::string(to_string(*role))},
                     {"previous", std::string(to_string(*previous))}});
}

HttpReply answer_detokenize(std::string_view body, const FrontendServices& services) {
  auto object = parse_json_object(body);
  if (!object) return failure(object.error());
  JsonFields fields(*object);
  check_model(fields, services.model);
  std::vector<TokenId> ids;
  const Json* tokens = fields.find("tokens");
  if (tokens == nullptr) {
    fields.fail("tokens", "Missing required parameter: 'tokens'.");
  } else if (!tokens->is_array()) {
    fields.fail_type("tokens", "an array of token ids", *tokens);
  } else {
    for (std::size_t i = 0; i < tokens->size() && !fields.error(); ++i) {
      const std::string name = "tokens[" + std::to_string(i) + "]";
      if (const auto id = parse_token_id(fields, name, (*tokens)[i], services.model.vocab))
        ids.push_back(*id);
    }
  }
  if (fields.error()) return failure(*fields.error());
  return json_reply({{"prompt", services.tokenizer.decode(ids, false)}});
}

}  // namespace baton::frontend
