#include "frontend/openai/prompt_input.hpp"

namespace baton::frontend {
namespace {

std::vector<TokenId> parse_ids(JsonFields& fields, const std::string& name, const Json& array,
                               std::int32_t vocab) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (std::size_t i = 0; i < array.size() && !fields.error(); ++i) {
    if (const auto id = parse_token_id(fields, at(name, i), array[i], vocab)) ids.push_back(*id);
  }
  return ids;
}

PromptInput parse_item(JsonFields& fields, const std::string& name, const Json& item, std::int32_t vocab) {
  if (item.is_string()) return item.get<std::string>();
  if (!item.is_array()) {
    fields.fail_type(name, "a string or an array of token ids", item);
    return {};
  }
  if (item.empty()) fields.fail(name, "Invalid '" + name + "': empty array.");
  return parse_ids(fields, name, item, vocab);
}

}  // namespace

std::string at(const std::string& name, std::size_t index) {
  return name + "[" + std::to_string(index) + "]";
}

std::vector<PromptInput> parse_prompts(JsonFields& fields, const char* name, std::int32_t vocab) {
  const std::string quoted = "'" + std::string(name) + "'";
  const Json* prompt = fields.find(name);
  if (prompt == nullptr) {
    fields.fail(name, "Missing required parameter: " + quoted + ".");
    return {};
  }
  if (prompt->is_string()) return {prompt->get<std::string>()};
  if (!prompt->is_array()) {
    fields.fail_type(name, "a string, an array of strings or an array of token ids", *prompt);
    return {};
  }
  if (prompt->empty()) {
    fields.fail(name, "Invalid " + quoted + ": empty array.");
    return {};
  }
  if (prompt->front().is_number()) return {parse_ids(fields, name, *prompt, vocab)};
  if (prompt->size() > kMaxPrompts) {
    fields.fail(name, "Invalid " + quoted + ": expected at most " + std::to_string(kMaxPrompts) +
                          " items, got " + std::to_string(prompt->size()) + ".");
    return {};
  }
  std::vector<PromptInput> out;
  for (std::size_t i = 0; i < prompt->size() && !fields.error(); ++i)
    out.push_back(parse_item(fields, at(name, i), (*prompt)[i], vocab));
  return out;
}

std::optional<TokenId> parse_token_id(JsonFields& fields, const std::string& name, const Json& value,
                                      std::int32_t vocab) {
  const auto id = value.is_number() ? as_int64(value) : std::nullopt;
  if (!value.is_number()) {
    fields.fail_type(name, "a token id", value);
    return std::nullopt;
  }
  if (!id || *id < 0 || *id >= vocab) {
    fields.fail(name, "Invalid value for '" + fields.path(name) + "': must be a token id below " +
                          std::to_string(vocab) + ", got " + value.dump() + ".");
    return std::nullopt;
  }
  return static_cast<TokenId>(*id);
}

}  // namespace baton::frontend
