#include "frontend/openai/response.hpp"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

namespace baton::frontend {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

// OpenAI's floor for "very unlikely"; JSON has no infinity.
double finite_logprob(float value) { return value > -9999.0F ? value : -9999.0; }

Json bytes_json(const std::string& bytes) {
  Json out = Json::array();
  for (const char c : bytes) out.push_back(static_cast<unsigned char>(c));
  return out;
}

Json chat_candidate(const LogprobCandidate& candidate) {
  return {{"token", candidate.token},
          {"logprob", finite_logprob(candidate.logprob)},
          {"bytes", bytes_json(candidate.bytes)}};
}

Json chat_logprobs(const std::vector<LogprobEntry>& entries) {
  Json content = Json::array();
  for (const LogprobEntry& entry : entries) {
    Json item = chat_candidate(entry.chosen);
    item["top_logprobs"] = Json::array();
    for (const LogprobCandidate& candidate : entry.top) {
      item["top_logprobs"].push_back(chat_candidate(candidate));
    }
    content.push_back(std::move(item));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json completion_logprobs(const std::vector<LogprobEntry>& entries) {
  Json out = {{"tokens", Json::array()},
              {"token_logprobs", Json::array()},
              {"top_logprobs", Json::array()},
              {"text_offset", Json::array()}};
  for (const LogprobEntry& entry : entries) {
    out["tokens"].push_back(entry.chosen.token);
    out["token_logprobs"].push_back(finite_logprob(entry.chosen.logprob));
    Json top = Json::object();
    for (const LogprobCandidate& candidate : entry.top) {
      top[candidate.token] = finite_logprob(candidate.logprob);
    }
    top[entry.chosen.token] = finite_logprob(entry.chosen.logprob);
    out["top_logprobs"].push_back(std::move(top));
    out["text_offset"].push_back(entry.text_offset);
  }
  return out;
}

Json logprobs_json(const ResponseHead& head, const ChoiceText& choice) {
  if (!head.logprobs) return nullptr;
  return head.chat ? chat_logprobs(choice.logprobs) : completion_logprobs(choice.logprobs);
}

Json reason_json(std::string_view reason) { return reason.empty() ? Json(nullptr) : Json(reason); }

Json usage_json(const Usage& usage) {
  Json out = {{"prompt_tokens", usage.prompt_tokens},
              {"completion_tokens", usage.completion_tokens},
              {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
              {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
  if (usage.reasoning_tokens)
    out["completion_tokens_details"] = {{"reasoning_tokens", *usage.reasoning_tokens}};
  return out;
}

Json handoff_json(const HandoffInfo& handoff) {
  const auto name = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  return {{"prefill_node", name(handoff.prefill_node)},
          {"decode_node", name(handoff.decode_node)},
          {"kv_blocks", handoff.blocks_moved},
          {"kv_blocks_held", handoff.blocks_held},
          {"kv_bytes", handoff.bytes},
          {"transport", name(handoff.transport)},
          {"transfer_ms", handoff.milliseconds},
          {"recomputed", handoff.recomputed}};
}

Json envelope(const ResponseHead& head, bool chunk) {
  // Text completions use one object name for both forms; chat does not.
  const char* object = !head.chat ? "text_completion" : chunk ? "chat.completion.chunk" : "chat.completion";
  return {{"id", head.id},
          {"object", object},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", "baton-" BATON_VERSION}};
}

std::string frame(const ResponseHead& head, Json body) {
  if (head.include_usage && !body.contains("usage")) body["usage"] = nullptr;
  return "data: " + dump(body) + "\n\n";
}

std::string choice_frame(const ResponseHead& head, Json choice, const std::optional<HandoffInfo>& handoff) {
  Json body = envelope(head, true);
  body["choices"] = Json::array({std::move(choice)});
  if (handoff) body["baton"] = handoff_json(*handoff);
  return frame(head, std::move(body));
}

// Both names that clients know reasoning under: vLLM's and SGLang's, and the newer one.
void add_reasoning(const ChoiceText& choice, Json& message) {
  if (choice.reasoning.empty()) return;
  message["reasoning_content"] = choice.reasoning;
  message["reasoning"] = choice.reasoning;
}

// A client puts pieces together by their index: only the first has what comes once.
Json calls_delta(const std::vector<ToolCallPiece>& calls) {
  Json out = Json::array();
  for (const ToolCallPiece& call : calls) {
    Json item = {{"index", call.index}};
    Json function = Json::object();
    if (!call.id.empty()) {
      item["id"] = call.id;
      item["type"] = "function";
      function["name"] = call.name;
    }
    function["arguments"] = call.arguments;
    item["function"] = std::move(function);
    out.push_back(std::move(item));
  }
  return out;
}

Json delta_json(const ChoiceText& piece) {
  Json delta = Json::object();
  add_reasoning(piece, delta);
  if (!piece.calls.empty()) delta["tool_calls"] = calls_delta(piece.calls);
  const bool last = !piece.finish_reason.empty();
  if (!piece.text.empty() || (delta.empty() && !last)) delta["content"] = piece.text;
  return delta;
}

Json message_json(const ChoiceText& choice) {
  Json message = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
  if (choice.text.empty() && !(choice.calls.empty() && choice.reasoning.empty()))
    message["content"] = nullptr;
  add_reasoning(choice, message);
  for (const ToolCallPiece& call : choice.calls)
    message["tool_calls"].push_back({{"id", call.id},
                                     {"type", "function"},
                                     {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  return message;
}

}  // namespace

void append(ChoiceText& choice, ChoiceText part) {
  choice.text += part.text;
  choice.reasoning += part.reasoning;
  std::move(part.logprobs.begin(), part.logprobs.end(), std::back_inserter(choice.logprobs));
  for (ToolCallPiece& call : part.calls) {
    if (call.index < choice.calls.size()) {
      choice.calls[call.index].arguments += call.arguments;
    } else {
      choice.calls.push_back(std::move(call));
    }
  }
  if (!part.finish_reason.empty()) choice.finish_reason = part.finish_reason;
}

std::string role_frame(const ResponseHead& head, std::uint32_t index) {
  return choice_frame(head,
                      {{"index", index},
                       {"delta", {{"role", "assistant"}, {"content", ""}}},
                       {"logprobs", nullptr},
                       {"finish_reason", nullptr}},
                      std::nullopt);
}

std::string text_frame(const ResponseHead& head, const ChoiceText& piece,
                       const std::optional<HandoffInfo>& handoff) {
  Json choice = {{"index", piece.index}};
  if (!head.chat) {
    choice["text"] = piece.text;
  } else {
    choice["delta"] = delta_json(piece);
  }
  const bool bare_end = !piece.finish_reason.empty() && piece.logprobs.empty();
  choice["logprobs"] = bare_end ? Json(nullptr) : logprobs_json(head, piece);
  choice["finish_reason"] = reason_json(piece.finish_reason);
  return choice_frame(head, std::move(choice), handoff);
}

std::string usage_frame(const ResponseHead& head, const Usage& usage) {
  Json body = envelope(head, true);
  body["choices"] = Json::array();
  body["usage"] = usage_json(usage);
  return frame(head, std::move(body));
}

std::string error_frame(const std::string& error_body) { return "data: " + error_body + "\n\n"; }

std::string unary_body_of(const ResponseHead& head, std::span<const ChoiceText> choices, const Usage& usage,
                          const std::optional<HandoffInfo>& handoff) {
  Json body = envelope(head, false);
  body["choices"] = Json::array();
  for (const ChoiceText& choice : choices) {
    Json item = {{"index", choice.index}};
    if (head.chat) {
      item["message"] = message_json(choice);
    } else {
      item["text"] = choice.text;
    }
    item["logprobs"] = logprobs_json(head, choice);
    item["finish_reason"] = reason_json(choice.finish_reason);
    body["choices"].push_back(std::move(item));
  }
  body["usage"] = usage_json(usage);
  if (handoff) body["baton"] = handoff_json(*handoff);
  return dump(body);
}

}  // namespace baton::frontend
