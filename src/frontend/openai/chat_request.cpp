#include "frontend/openai/chat_request.hpp"

#include <algorithm>
#include <array>

#include "frontend/openai/harmony_variables.hpp"

namespace baton::frontend {
namespace {

std::string at(std::string_view array, std::size_t index) {
  return std::string(array) + "[" + std::to_string(index) + "]";
}

// Text parts are joined by line breaks, as other servers of open models do.
Json flatten_content(JsonFields& message, const Json& content) {
  if (content.is_string()) return content;
  if (!content.is_array()) {
    message.fail_type("content", "a string or an array of text parts", content);
    return nullptr;
  }
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    const Json& part = content[i];
    const std::string name = at("content", i);
    if (!part.is_object()) {
      message.fail_type(name, "an object", part);
      return nullptr;
    }
    const auto type = part.find("type");
    if (type == part.end() || !type->is_string()) {
      message.fail(name + ".type", "Missing or invalid '" + message.path(name) + ".type'.");
      return nullptr;
    }
    if (*type != "text") {
      message.fail(name + ".type",
                   "Content of type '" + type->get<std::string>() + "' is not supported: only 'text' is.",
                   ErrorCode::unsupported);
      return nullptr;
    }
    const auto value = part.find("text");
    if (value == part.end() || !value->is_string()) {
      message.fail(name + ".text",
                   "Missing or invalid '" + message.path(name) + ".text': expected a string.");
      return nullptr;
    }
    if (i > 0) text += '\n';
    text += value->get_ref<const std::string&>();
  }
  return text;
}

// Templates expect a call's arguments as an object; the API carries them as a JSON text.
void decode_arguments(JsonFields& message, Json& calls) {
  if (!calls.is_array()) {
    message.fail_type("tool_calls", "an array", calls);
    return;
  }
  for (std::size_t i = 0; i < calls.size(); ++i) {
    Json& call = calls[i];
    const std::string name = at("tool_calls", i);
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) {
      message.fail(name + ".function", "Missing or invalid '" + message.path(name) + ".function'.");
      return;
    }
    Json& function = call["function"];
    if (!function.contains("arguments") || !function["arguments"].is_string()) continue;
    const auto& text = function["arguments"].get_ref<const std::string&>();
    auto arguments = parse_json_object(text.empty() ? "{}" : text);  // some clients write none so
    if (!arguments) {
      message.fail(name + ".function.arguments", "The call's arguments are not a JSON object.");
      return;
    }
    function["arguments"] = std::move(*arguments);
  }
}

Json parse_message(JsonFields& message, const Json& object) {
  Json out = object;
  std::string role;
  if (!message.has("role")) {
    message.fail("role", "Missing required parameter: '" + message.path("role") + "'.");
  }
  message.text("role", role);
  // Templates of open models know no "developer"; it is OpenAI's later name of the system role.
  if (role == "developer") out["role"] = "system";
  if (const Json* content = message.find("content")) {
    out["content"] = flatten_content(message, *content);
  } else if (role == "assistant" && (message.has("tool_calls") || message.has("function_call"))) {
    out["content"] = nullptr;
  } else if (role == "assistant") {
    out["content"] = "";
  } else {
    message.fail("content", "Missing required parameter: '" + message.path("content") + "'.");
  }
  // What answers call it here, too; templates know one name.
  if (message.has("reasoning") && !message.has("reasoning_content"))
    out["reasoning_content"] = *message.find("reasoning");
  if (message.has("tool_calls")) {
    decode_arguments(message, out["tool_calls"]);
  } else {
    out.erase("tool_calls");  // null and absent are the same to us, not to a template
  }
  return out;
}

Json parse_messages(JsonFields& fields) {
  Json out = Json::array();
  const Json* messages = fields.find("messages");
  if (messages == nullptr) {
    fields.fail("messages", "Missing required parameter: 'messages'.");
    return out;
  }
  if (!messages->is_array()) {
    fields.fail_type("messages", "an array of messages", *messages);
    return out;
  }
  if (messages->empty()) {
    fields.fail("messages", "Invalid 'messages': empty array. Expected at least one message.");
    return out;
  }
  for (std::size_t i = 0; i < messages->size(); ++i) {
    const std::string name = at("messages", i);
    if (!(*messages)[i].is_object()) {
      fields.fail_type(name, "an object", (*messages)[i]);
      return out;
    }
    JsonFields message((*messages)[i], name + ".");
    out.push_back(parse_message(message, (*messages)[i]));
    if (message.error()) {
      fields.fail(message.error()->field, message.error()->message, message.error()->code);
      return out;
    }
  }
  return out;
}

constexpr std::size_t kLongestFunctionName = 256;  // bytes

void check_function(JsonFields& function) {
  std::string name;
  if (!function.has("name")) {
    function.fail("name", "Missing required parameter: '" + function.path("name") + "'.");
  } else if (function.text("name", name) && name.empty()) {
    function.fail("name", "Invalid value for '" + function.path("name") + "': must not be empty.");
  } else if (name.size() > kLongestFunctionName) {
    function.fail("name", "Invalid value for '" + function.path("name") + "': must have at most " +
                              std::to_string(kLongestFunctionName) + " bytes.");
  }
  if (const Json* parameters = function.find("parameters"); parameters != nullptr && !parameters->is_object())
    function.fail_type("parameters", "an object", *parameters);
}

// Templates write tools into the prompt as they are: what is no tool would end there as nonsense.
void check_tools(JsonFields& fields, const Json& tools) {
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const std::string name = at("tools", i);
    if (!tools[i].is_object()) return fields.fail_type(name, "an object", tools[i]);
    JsonFields tool(tools[i], name + ".");
    std::string type = "function";
    tool.text("type", type);
    if (type != "function")
      tool.fail("type", "Only tools of type 'function' are supported.", ErrorCode::unsupported);
    std::optional<Error> error = tool.error();
    if (const Json* function = tool.find("function"); !error && function == nullptr) {
      tool.fail("function", "Missing required parameter: '" + tool.path("function") + "'.");
      error = tool.error();
    } else if (!error && !function->is_object()) {
      tool.fail_type("function", "an object", *function);
      error = tool.error();
    } else if (!error) {
      JsonFields inner(*function, tool.path("function") + ".");
      check_function(inner);
      error = inner.error();
    }
    if (error) return fields.fail(error->field, error->message, error->code);
  }
}

bool has_function(const Json& tools, const std::string& name) {
  for (const Json& tool : tools) {
    if (tool["function"]["name"] == name) return true;
  }
  return false;
}

// {"type": "function", "function": {"name": "f"}}
void parse_named_function(JsonFields& fields, const Json& choice, const Json* tools, ToolChoice& out) {
  JsonFields outer(choice, "tool_choice.");
  std::string type = "function";
  outer.text("type", type);
  if (type != "function")
    outer.fail("type", "Only a 'tool_choice' of type 'function' is supported.", ErrorCode::unsupported);
  std::optional<Error> error = outer.error();
  const Json* function = outer.find("function");
  if (!error && (function == nullptr || !function->is_object())) {
    outer.fail("function", "Missing or invalid 'tool_choice.function'.");
    error = outer.error();
  } else if (!error) {
    JsonFields inner(*function, "tool_choice.function.");
    if (!inner.text("name", out.function))
      inner.fail("name", "Missing required parameter: 'tool_choice.function.name'.");
    if (tools != nullptr && !has_function(*tools, out.function))
      inner.fail("name", "Invalid 'tool_choice': there is no function '" + out.function + "' among 'tools'.");
    error = inner.error();
  }
  if (error) fields.fail(error->field, error->message, error->code);
}

// After check_tools.
ToolChoice parse_tool_choice(JsonFields& fields) {
  using Kind = ToolChoice::Kind;
  ToolChoice out;
  const Json* tools = fields.find("tools");
  if (fields.error()) return out;
  if (tools != nullptr && tools->empty()) tools = nullptr;
  const Json* choice = fields.find("tool_choice");
  if (choice == nullptr || *choice == "auto") {
    out.kind = tools != nullptr ? Kind::automatic : Kind::none;
  } else if (*choice == "required") {
    out.kind = Kind::required;
  } else if (choice->is_object()) {
    out.kind = Kind::named;
    parse_named_function(fields, *choice, tools, out);
  } else if (*choice != "none") {
    fields.fail("tool_choice",
                "Invalid 'tool_choice': expected \"none\", \"auto\", \"required\" or a function's name as "
                "{\"type\": \"function\", \"function\": {\"name\": ...}}.");
  }
  const bool forced = out.kind == Kind::required || out.kind == Kind::named;
  if (forced && tools == nullptr)
    fields.fail("tool_choice", "This 'tool_choice' needs 'tools' to choose from.");
  return out;
}

// The API before 'tools'.
void check_functions(JsonFields& fields) {
  const Json* call = fields.find("function_call");
  if (call != nullptr && *call != "none" && *call != "auto")
    fields.fail("function_call",
                "'function_call' can only be 'none' or 'auto': use 'tools' and 'tool_choice'.",
                ErrorCode::unsupported);
  if (fields.has("functions"))
    fields.fail("functions", "'functions' is not supported: use 'tools'.", ErrorCode::unsupported);
}

void parse_logprobs(JsonFields& fields, GenerationFields& out) {
  fields.boolean("logprobs", out.logprobs);
  std::int32_t top = 0;
  if (fields.integer("top_logprobs", top, 0, kMaxLogprobs) && !out.logprobs && top > 0) {
    fields.fail("top_logprobs", "'top_logprobs' is only allowed when 'logprobs' is true.");
  }
  if (out.logprobs) out.sampling.logprobs = top;
}

void check_modalities(JsonFields& fields) {
  const Json* modalities = fields.find("modalities");
  if (modalities == nullptr || *modalities == Json::array({"text"})) return;
  fields.fail("modalities", "Only the modality 'text' is supported.", ErrorCode::unsupported);
}

// How much the model may think, for templates that tell it.
void parse_effort(JsonFields& fields, Json& out) {
  constexpr std::array kEfforts = {"none", "minimal", "low", "medium", "high", "xhigh"};
  std::string effort;
  if (!fields.text("reasoning_effort", effort)) return;
  if (std::ranges::find(kEfforts, effort) == kEfforts.end())
    fields.fail("reasoning_effort",
                "Invalid 'reasoning_effort': expected none, minimal, low, medium, high or xhigh.");
  out["reasoning_effort"] = effort;
}

// GLM's template writes a content that is null as "None".
void fill_contents(Json& messages) {
  for (Json& message : messages) {
    if (message["content"].is_null()) message["content"] = "";
  }
}

}  // namespace

Json parse_template_variables(JsonFields& fields, const ServedModel& model) {
  Json out;
  out["messages"] = parse_messages(fields);
  bool add_generation_prompt = true;
  fields.boolean("add_generation_prompt", add_generation_prompt);
  out["add_generation_prompt"] = add_generation_prompt;
  for (const char* name : {"tools", "documents"}) {
    const Json* value = fields.find(name);
    if (value == nullptr) continue;
    if (!value->is_array()) {
      fields.fail_type(name, "an array", *value);
    } else if (!value->empty()) {
      out[name] = *value;
    }
  }
  if (out.contains("tools")) check_tools(fields, out["tools"]);
  parse_effort(fields, out);
  if (model.answer.reasoning == ReasoningFormat::harmony && !fields.error()) make_harmony_variables(out);
  if (model.answer.calls == CallFormat::glm45 && !fields.error()) fill_contents(out["messages"]);
  if (const Json* extra = fields.find("chat_template_kwargs")) {
    if (!extra->is_object()) {
      fields.fail_type("chat_template_kwargs", "an object", *extra);
      return out;
    }
    for (const auto& [name, value] : extra->items()) {
      // What was checked above, and more than the template reads it.
      if (name == "messages" || name == "tools")
        fields.fail("chat_template_kwargs." + name, "'chat_template_kwargs' cannot replace '" + name + "'.");
      out[name] = value;
    }
  }
  return out;
}

Result<ChatRequest> parse_chat_request(std::string_view body, const ServedModel& model) {
  auto object = parse_json_object(body);
  if (!object) return std::move(object).error();
  JsonFields fields(*object);
  ChatRequest out;
  check_model(fields, model);
  out.template_variables = parse_template_variables(fields, model);
  out.tool_choice = parse_tool_choice(fields);
  check_functions(fields);
  fields.boolean("parallel_tool_calls", out.parallel_tool_calls);
  fields.boolean("include_reasoning", out.include_reasoning);
  check_modalities(fields);
  out.fields = parse_generation_fields(fields, model);
  parse_logprobs(fields, out.fields);
  if (fields.error()) return *fields.error();
  return out;
}

}  // namespace baton::frontend
