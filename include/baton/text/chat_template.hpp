// A model's chat template: messages to prompt text, as Hugging Face's apply_chat_template renders it (Jinja
// with trim_blocks, lstrip_blocks and loop controls).
//
// Immutable after loading, safe to share between threads. Rendering is bounded in output size and steps: a
// hostile template or message gets an Error (invalid_argument with the template's own raise_exception text,
// or too_large), never a hang.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton {

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // `variables`: {"messages": [...], "add_generation_prompt": true, "tools": ..., ...}; bos_token, eos_token
  // and such come from the model directory and are added here.
  virtual Result<std::string> render(const nlohmann::ordered_json& variables) const = 0;
  // As the model's files have it; empty for what is no Jinja template.
  virtual std::string_view source() const { return {}; }
};

// chat_template.jinja, else tokenizer_config.json's "chat_template" (a string, or a list of {name, template}
// with "default"). not_found where the model has none.
Result<std::unique_ptr<ChatTemplate>> load_chat_template(const std::filesystem::path& directory);
Result<std::unique_ptr<ChatTemplate>> parse_chat_template(std::string_view source,
                                                          const nlohmann::ordered_json& globals);

}  // namespace baton
