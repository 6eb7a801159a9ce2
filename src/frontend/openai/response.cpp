#include "frontend/openai/response.hpp"

#include <algorithm>
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
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
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

}  // namespace

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
    choice["delta"] = Json::object();
    if (piece.finish_reason.empty() || !piece.text.empty()) choice["delta"]["content"] = piece.text;
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
      item["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
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
