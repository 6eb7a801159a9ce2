// Where a model directory keeps its chat template, and the ChatTemplate that renders it.
#include "baton/text/chat_template.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "text/jinja/evaluator.hpp"
#include "text/jinja/parser.hpp"
#include "text/utf8.hpp"

namespace baton {
namespace {

namespace jinja = text::jinja;
using nlohmann::ordered_json;

Result<jinja::Dict> to_dict(const ordered_json& json, const char* what) {
  const auto value = jinja::from_json(json);
  if (!value) return make_error(ErrorCode::too_large, std::string(what) + " are nested too deep");
  if (value->is_none()) return jinja::Dict{};
  if (value->as_dict() == nullptr)
    return make_error(ErrorCode::invalid_argument, std::string(what) + " must be an object");
  return *value->as_dict();
}

class JinjaTemplate final : public ChatTemplate {
 public:
  JinjaTemplate(std::string source, jinja::Block block, jinja::Dict globals)
      : source_(std::move(source)), block_(std::move(block)), globals_(std::move(globals)) {}

  Result<std::string> render(const ordered_json& variables) const override {
    const Result<jinja::Dict> values = to_dict(variables, "the chat template's variables");
    if (!values) return values.error();
    return jinja::Evaluator(*values, globals_).render(block_);
  }

  std::string_view source() const override { return source_; }

 private:
  std::string source_;
  jinja::Block block_;
  jinja::Dict globals_;
};

Result<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file) return make_error(ErrorCode::io, "cannot read " + path.string());
  return content.str();
}

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// "bos_token" and its like: strings, or added tokens written out as objects.
ordered_json special_tokens(const ordered_json& config) {
  ordered_json tokens = ordered_json::object();
  if (!config.is_object()) return tokens;
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token")) continue;
    if (value.is_string()) tokens[name] = value;
    if (value.is_object() && value.contains("content") && value["content"].is_string())
      tokens[name] = value["content"];
  }
  return tokens;
}

// The config's "chat_template": text, or [{"name": "default", "template": text}, ...]. Null where there is
// none.
const std::string* find_source(const ordered_json& config) {
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (!config.is_object() || found == config.end()) return nullptr;
  if (found->is_string()) return found->get_ptr<const std::string*>();
  if (!found->is_array()) return nullptr;
  const std::string* only = nullptr;
  for (const auto& entry : *found) {
    if (!entry.is_object() || !entry.contains("template") || !entry["template"].is_string()) continue;
    only = entry["template"].get_ptr<const std::string*>();
    if (entry.contains("name") && entry["name"] == "default") return only;
  }
  return found->size() == 1 ? only : nullptr;
}

}  // namespace

Result<std::unique_ptr<ChatTemplate>> parse_chat_template(std::string_view source,
                                                          const ordered_json& globals) {
  Result<jinja::Block> block = jinja::parse_template(text::to_valid_utf8(source));
  if (!block) return block.error();
  Result<jinja::Dict> values = to_dict(globals, "the chat template's globals");
  if (!values) return values.error();
  return std::unique_ptr<ChatTemplate>(
      std::make_unique<JinjaTemplate>(std::string(source), std::move(*block), std::move(*values)));
}

Result<std::unique_ptr<ChatTemplate>> load_chat_template(const std::filesystem::path& directory) {
  const std::filesystem::path config_path = directory / "tokenizer_config.json";
  ordered_json config;
  if (is_there(config_path)) {
    const Result<std::string> text = read_file(config_path);
    if (!text) return text.error();
    config = ordered_json::parse(*text, nullptr, false);
    if (config.is_discarded())
      return make_error(ErrorCode::corrupt, config_path.string() + " is not valid JSON");
  }
  const std::filesystem::path jinja_path = directory / "chat_template.jinja";
  if (is_there(jinja_path)) {
    const Result<std::string> source = read_file(jinja_path);
    if (!source) return source.error();
    return parse_chat_template(*source, special_tokens(config));
  }
  const std::string* source = find_source(config);
  if (source == nullptr)
    return make_error(ErrorCode::not_found, directory.string() + " has no chat template");
  return parse_chat_template(*source, special_tokens(config));
}

}  // namespace baton
