#include "frontend/openai/harmony_variables.hpp"

namespace baton::frontend {
namespace {

// Empty where it is no text.
std::string text_of(const Json& message, const char* name) {
  const auto found = message.find(name);
  return found != message.end() && found->is_string() ? found->get<std::string>() : std::string();
}

void make_assistant(Json& message) {
  std::string thinking = text_of(message, "thinking");
  if (thinking.empty()) thinking = text_of(message, "reasoning_content");
  if (message["content"].is_null()) message.erase("content");
  if (message.contains("tool_calls") && message["tool_calls"].empty()) message.erase("tool_calls");
  // What the template shows of either before a call is reasoning.
  const std::string content = text_of(message, "content");
  if (message.contains("tool_calls") && !thinking.empty() && !content.empty()) {
    thinking += "\n" + content;
    message.erase("content");
  }
  message.erase("thinking");
  if (!thinking.empty()) message["thinking"] = thinking;
}

}  // namespace

void make_harmony_variables(Json& variables) {
  for (Json& message : variables["messages"]) {
    if (message["role"] == "assistant") make_assistant(message);
  }
  if (!variables.contains("tools")) return;
  for (Json& tool : variables["tools"]) {
    Json& function = tool["function"];
    if (!function.contains("description") || function["description"].is_null()) function["description"] = "";
  }
}

}  // namespace baton::frontend
