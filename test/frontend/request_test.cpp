// What the OpenAI request parsers accept, refuse and default.
#include "frontend/fakes.hpp"
#include "frontend/openai/chat_request.hpp"
#include "frontend/openai/completion_request.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::frontend;

namespace {

ServedModel served() {
  ServedModel model;
  model.names = {"org/demo", "alias"};
  model.context = 100;
  model.vocab = test::kVocab;
  return model;
}

std::string chat(const std::string& extra) {
  return R"({"messages":[{"role":"user","content":"hi"}])" + (extra.empty() ? "" : "," + extra) + "}";
}
std::string completion(const std::string& extra) {
  return R"({"prompt":"hi")" + (extra.empty() ? "" : "," + extra) + "}";
}

struct BadCase {
  const char* json;
  const char* field;
  ErrorCode code = ErrorCode::invalid_argument;
};

}  // namespace

TEST_CASE("every field out of range or of the wrong type is refused by its name") {
  const BadCase cases[] = {
      {R"("temperature":2.1)", "temperature"},
      {R"("temperature":-0.1)", "temperature"},
      {R"("temperature":"1")", "temperature"},
      {R"("temperature":true)", "temperature"},
      {R"("temperature":1e999)", ""},
      {R"("top_p":0)", "top_p"},
      {R"("top_p":1.1)", "top_p"},
      {R"("top_k":-2)", "top_k"},
      {R"("top_k":1.5)", "top_k"},
      {R"("min_p":-1)", "min_p"},
      {R"("presence_penalty":2.5)", "presence_penalty"},
      {R"("frequency_penalty":-2.5)", "frequency_penalty"},
      {R"("repetition_penalty":0)", "repetition_penalty"},
      {R"("logit_bias":[])", "logit_bias"},
      {R"("logit_bias":{"x":1})", "logit_bias"},
      {R"("logit_bias":{"259":1})", "logit_bias"},
      {R"("logit_bias":{"-1":1})", "logit_bias"},
      {R"("logit_bias":{"7":101})", "logit_bias.7"},
      {R"("logit_bias":{"7":"a"})", "logit_bias.7"},
      {R"("seed":"a")", "seed"},
      {R"("seed":18446744073709551615)", "seed"},
      {R"("n":0)", "n"},
      {R"("n":129)", "n"},
      {R"("stop":7)", "stop"},
      {R"("stop":["a",""])", "stop[1]"},
      {R"("stop":["a",1])", "stop[1]"},
      {R"("stop":["1","2","3","4","5","6","7","8","9","0","a","b","c","d","e","f","g"])", "stop"},
      {R"("stop_token_ids":[259])", "stop_token_ids[0]"},
      {R"("stop_token_ids":"x")", "stop_token_ids"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":-1)", "max_tokens"},
      {R"("max_tokens":1e30)", "max_tokens"},
      {R"("max_completion_tokens":0)", "max_completion_tokens"},
      {R"("max_tokens":4,"min_tokens":5)", "min_tokens"},
      {R"("min_tokens":-1)", "min_tokens"},
      {R"("ignore_eos":1)", "ignore_eos"},
      {R"("stream":"yes")", "stream"},
      {R"("stream":true,"stream_options":1)", "stream_options"},
      {R"("stream_options":{"include_usage":true})", "stream_options"},
      {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"("model":1)", "model"},
      {R"("model":"other")", "model", ErrorCode::not_found},
      {R"("cache_salt":1)", "cache_salt"},
      {R"("priority":3000000000)", "priority"},
      {R"("response_format":{"type":"xml"})", "response_format", ErrorCode::unsupported},
      {R"("response_format":{"type":"json_schema"})", "response_format.json_schema"},
      {R"("response_format":{"type":"json_object"},"guided_regex":"a")", "guided_regex"},
      {R"("response_format":7)", "response_format"},
      {R"("response_format":{"type":"json_object","schema":7})", "response_format.schema"},
      {R"("guided_json":7)", "guided_json"},
      {R"("guided_choice":[])", "guided_choice"},
      {R"("guided_choice":["a",7])", "guided_choice"},
      {R"("structured_outputs":{})", "structured_outputs"},
      {R"("structured_outputs":{"json":null,"json_object":false})", "structured_outputs"},
      {R"("structured_outputs":{"jsn":{}})", "structured_outputs"},
      {R"("structured_outputs":{"structural_tag":"x"})", "structured_outputs.structural_tag",
       ErrorCode::unsupported},
      {R"("structured_outputs":{"regex":"a"},"guided_regex":"a")", "guided_regex"},
  };
  for (const BadCase& bad : cases) {
    INFO(bad.json);
    const auto a = parse_chat_request(chat(bad.json), served());
    const auto b = parse_completion_request(completion(bad.json), served());
    REQUIRE_FALSE(a);
    REQUIRE_FALSE(b);
    CHECK(a.error().field == bad.field);
    CHECK(b.error().field == bad.field);
    CHECK(a.error().code == bad.code);
    CHECK(b.error().code == bad.code);
    CHECK_FALSE(a.error().message.empty());
  }
}

TEST_CASE("chat fields and messages that make no sense are refused by their path") {
  const BadCase cases[] = {
      {R"({})", "messages"},
      {R"({"messages":null})", "messages"},
      {R"({"messages":[]})", "messages"},
      {R"({"messages":"hi"})", "messages"},
      {R"({"messages":["hi"]})", "messages[0]"},
      {R"({"messages":[{"content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"user"}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":7}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":["x"]}]})", "messages[0].content[0]"},
      {R"({"messages":[{"role":"user","content":[{"text":"x"}]}]})", "messages[0].content[0].type"},
      {R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"image_url"}]}]})",
       "messages[1].content[0].type", ErrorCode::unsupported},
      {R"({"messages":[{"role":"assistant","tool_calls":[{}]}]})", "messages[0].tool_calls[0].function"},
  };
  for (const BadCase& bad : cases) {
    INFO(bad.json);
    const auto result = parse_chat_request(bad.json, served());
    REQUIRE_FALSE(result);
    CHECK(result.error().field == bad.field);
    CHECK(result.error().code == bad.code);
  }
  const BadCase extras[] = {
      {R"("top_logprobs":3)", "top_logprobs"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"("logprobs":3)", "logprobs"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tool_choice":"any")", "tool_choice"},
      {R"("tool_choice":7)", "tool_choice"},
      {R"("tools":[],"tool_choice":{"function":{"name":"f"}})", "tool_choice"},
      {R"("tool_choice":{"type":"function"})", "tool_choice.function"},
      {R"("tool_choice":{"function":"f"})", "tool_choice.function"},
      {R"("tool_choice":{"function":{}})", "tool_choice.function.name"},
      {R"("tool_choice":{"function":{"name":3}})", "tool_choice.function.name"},
      {R"("tool_choice":{"type":"mcp"})", "tool_choice.type", ErrorCode::unsupported},
      {R"("tools":[{"function":{"name":"f"}}],"tool_choice":{"function":{"name":"g"}})",
       "tool_choice.function.name"},
      {R"("function_call":{"name":"f"})", "function_call", ErrorCode::unsupported},
      {R"("functions":[])", "functions", ErrorCode::unsupported},
      {R"("parallel_tool_calls":1)", "parallel_tool_calls"},
      {R"("include_reasoning":"no")", "include_reasoning"},
      {R"("modalities":["text","audio"])", "modalities", ErrorCode::unsupported},
      {R"("tools":{})", "tools"},
      {R"("tools":[{"type":"function","function":{"name":"f"}},3])", "tools[1]"},
      {R"("tools":[{"type":"function"}])", "tools[0].function"},
      {R"("tools":[{"type":7,"function":{"name":"f"}}])", "tools[0].type"},
      {R"("tools":[{"type":"retrieval"}])", "tools[0].type", ErrorCode::unsupported},
      {R"("tools":[{"type":"function","function":"f"}])", "tools[0].function"},
      {R"("tools":[{"type":"function","function":{}}])", "tools[0].function.name"},
      {R"("tools":[{"type":"function","function":{"name":""}}])", "tools[0].function.name"},
      {R"("tools":[{"type":"function","function":{"name":["f"]}}])", "tools[0].function.name"},
      {R"("tools":[{"type":"function","function":{"name":"f","parameters":[]}}])",
       "tools[0].function.parameters"},
      {R"("reasoning_effort":3)", "reasoning_effort"},
      {R"("reasoning_effort":"much")", "reasoning_effort"},
      {R"("chat_template_kwargs":[])", "chat_template_kwargs"},
      {R"("chat_template_kwargs":{"messages":[]})", "chat_template_kwargs.messages"},
      {R"("chat_template_kwargs":{"tools":5})", "chat_template_kwargs.tools"},
  };
  for (const BadCase& bad : extras) {
    INFO(bad.json);
    const auto result = parse_chat_request(chat(bad.json), served());
    REQUIRE_FALSE(result);
    CHECK(result.error().field == bad.field);
    CHECK(result.error().code == bad.code);
  }
}

TEST_CASE("completion prompts come in four shapes and bad ones are refused") {
  const auto prompts = [](const std::string& prompt) {
    return parse_completion_request(R"({"prompt":)" + prompt + "}", served());
  };
  CHECK(std::get<std::string>(prompts(R"("a")")->prompts.at(0)) == "a");
  CHECK(prompts(R"(["a","b"])")->prompts.size() == 2);
  CHECK(std::get<std::vector<TokenId>>(prompts("[1,2]")->prompts.at(0)) == std::vector<TokenId>{1, 2});
  CHECK(std::get<std::vector<TokenId>>(prompts("[[1],[2,3]]")->prompts.at(1)) == std::vector<TokenId>{2, 3});
  const std::pair<const char*, const char*> bad[] = {
      {"null", "prompt"},         {"7", "prompt"},        {"[]", "prompt"},
      {"[[]]", "prompt[0]"},      {"[259]", "prompt[0]"}, {"[[1],[-1]]", "prompt[1][0]"},
      {"[1,\"a\"]", "prompt[1]"}, {"[true]", "prompt[0]"}};
  for (const auto& [prompt, field] : bad) {
    INFO(prompt);
    const auto result = prompts(prompt);
    REQUIRE_FALSE(result);
    CHECK(result.error().field == field);
  }
  const BadCase extras[] = {{R"("suffix":"x")", "suffix", ErrorCode::unsupported},
                            {R"("n":2,"best_of":3)", "best_of", ErrorCode::unsupported},
                            {R"("echo":true,"logprobs":1)", "echo", ErrorCode::unsupported},
                            {R"("logprobs":21)", "logprobs"},
                            {R"("logprobs":true)", "logprobs"}};
  for (const BadCase& extra : extras) {
    INFO(extra.json);
    const auto result = parse_completion_request(completion(extra.json), served());
    REQUIRE_FALSE(result);
    CHECK(result.error().field == extra.field);
    CHECK(result.error().code == extra.code);
  }
  CHECK(parse_completion_request(completion(R"("suffix":null,"best_of":1)"), served()));
}

TEST_CASE("broken, deep and non-object JSON is refused") {
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("[]"), std::string("\"x\""), std::string("{\"a\":\xff}"),
        std::string("{\"messages\":") + std::string(100000, '[')}) {
    const auto result = parse_chat_request(body, served());
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::invalid_argument);
  }
  const std::string deep = std::string(kMaxJsonDepth - 1, '[') + std::string(kMaxJsonDepth - 1, ']');
  CHECK(parse_chat_request(chat("\"x\":" + deep), served()));
  CHECK_FALSE(parse_chat_request(chat("\"x\":[" + deep + "]"), served()));
  CHECK(parse_chat_request(chat(R"("x":"[[[[\"[[[[")"), served()));
}

TEST_CASE("defaults come from the model, then from OpenAI; null is absent; unknown fields are ignored") {
  ServedModel model = served();
  CHECK(parse_chat_request(chat(""), model)->fields.sampling.temperature == 1.0F);
  model.generation.temperature = 0.6F;
  model.generation.top_p = 0.9F;
  model.generation.top_k = 20;
  model.generation.repetition_penalty = 1.1F;
  const auto plain =
      parse_chat_request(chat(R"("temperature":null,"stop":null,"nonsense":{"a":[1]})"), model);
  REQUIRE(plain);
  CHECK(plain->fields.sampling.temperature == 0.6F);
  CHECK(plain->fields.sampling.top_p == 0.9F);
  CHECK(plain->fields.sampling.top_k == 20);
  CHECK(plain->fields.sampling.repetition_penalty == 1.1F);
  CHECK_FALSE(plain->fields.has_seed);
  const auto full = parse_chat_request(
      chat(R"("model":"alias","temperature":0,"top_p":1,"top_k":-1,"min_p":0.1,"seed":-5,"n":2,"stop":"x",
              "logit_bias":{"7":-100},"max_tokens":9,"max_completion_tokens":8.0,"min_tokens":2,"stream":true,
              "stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":2,"priority":-3,
              "cache_salt":"s","user":"u","stop_token_ids":[1],"ignore_eos":true,"skip_special_tokens":false)"),
      model);
  REQUIRE(full);
  const GenerationFields& f = full->fields;
  CHECK(f.sampling.temperature == 0.0F);
  CHECK(f.sampling.top_k == 0);
  CHECK(f.sampling.seed == static_cast<std::uint64_t>(-5));
  CHECK(f.sampling.logprobs == 2);
  CHECK(f.sampling.logit_bias == std::vector<std::pair<TokenId, float>>{{7, -100.0F}});
  CHECK(f.max_tokens == 8);
  CHECK(f.max_tokens_field == "max_completion_tokens");
  CHECK((f.has_seed && f.stream && f.include_usage && f.ignore_eos && !f.skip_special_tokens));
  CHECK(f.cache_salt == "s");
  CHECK(f.priority == -3);
}

TEST_CASE("a format is one thing, whoever's way of saying it is used") {
  using Kind = OutputFormat::Kind;
  const auto format = [](const std::string& extra) {
    const auto request = parse_completion_request(completion(extra), served());
    REQUIRE(request);
    return request->fields.format;
  };
  CHECK(format(R"("response_format":{"type":"text"})").kind == Kind::any);
  CHECK(format(R"("structured_outputs":null)").kind == Kind::any);
  for (const char* any : {R"({"type":"json_object"})", R"({"type":"json_object","schema":null})",
                          R"({"type":"json_object","schema":{}})"})
    CHECK(format(R"("response_format":)" + std::string(any)).kind == Kind::json_object);
  const auto bound = format(R"("response_format":{"type":"json_object","schema":{"type":"object"}})");
  CHECK(bound.kind == Kind::json_schema);
  CHECK(bound.field == "response_format.schema");
  CHECK(bound.schema == Json{{"type", "object"}});
  CHECK(format(R"("structured_outputs":{"json_object":true})").kind == Kind::json_object);
  CHECK(format(R"("structured_outputs":{"regex":"a","json_object":false})").kind == Kind::regex);
}

TEST_CASE("lists of choices and names of functions have an end") {
  const auto choices = [](std::size_t count, std::size_t bytes) {
    const Json list = std::vector<std::string>(count, std::string(bytes, 'a'));
    return parse_chat_request(chat(R"("structured_outputs":{"choice":)" + list.dump() + "}"), served());
  };
  CHECK(choices(4096, 32));  // 128 KiB
  for (const auto& over : {choices(4097, 1), choices(4096, 33)}) {
    REQUIRE_FALSE(over);
    CHECK(over.error().field == "structured_outputs.choice");
    CHECK(over.error().code == ErrorCode::invalid_argument);
  }
  const auto named = [](std::size_t bytes) {
    return parse_chat_request(chat(R"("tools":[{"function":{"name":")" + std::string(bytes, 'f') + R"("}}])"),
                              served());
  };
  CHECK(named(256));
  REQUIRE_FALSE(named(257));
  CHECK(named(257).error().field == "tools[0].function.name");
}

TEST_CASE("templates see flat text, system for developer, and decoded tool calls") {
  const auto request = parse_chat_request(R"({"messages":[
      {"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function",
        "function":{"name":"f","arguments":"{\"x\":1}"}},{"function":{"name":"g","arguments":""}}]},
      {"role":"tool","tool_call_id":"1","content":"ok"}],
      "tools":[{"type":"function","function":{"name":"f"}}],"chat_template_kwargs":{"enable_thinking":false}})",
                                          served());
  REQUIRE(request);
  const Json& v = request->template_variables;
  CHECK(v["messages"][0]["role"] == "system");
  CHECK(v["messages"][0]["content"] == "a\nb");
  CHECK(v["messages"][1]["content"].is_null());
  CHECK(v["messages"][1]["tool_calls"][0]["function"]["arguments"]["x"] == 1);
  CHECK(v["messages"][1]["tool_calls"][1]["function"]["arguments"] == Json::object());
  CHECK(v["tools"].size() == 1);
  CHECK(v["enable_thinking"] == false);
  CHECK(v["add_generation_prompt"] == true);
}

TEST_CASE("templates are told the reasoning's effort, where the client says one") {
  const auto effort = [](const std::string& extra) {
    const auto request = parse_chat_request(chat(extra), served());
    REQUIRE(request);
    return request->template_variables.value("reasoning_effort", "-");
  };
  CHECK(effort("") == "-");
  CHECK(effort(R"("reasoning_effort":null)") == "-");
  for (const std::string level : {"none", "minimal", "low", "medium", "high", "xhigh"})
    CHECK(effort(R"("reasoning_effort":")" + level + "\"") == level);
  CHECK(effort(R"("reasoning_effort":"low","chat_template_kwargs":{"reasoning_effort":"high"})") == "high");
}

TEST_CASE("gpt-oss's template sees thinking, a description everywhere, and no content that is null") {
  ServedModel model = served();
  model.answer = {CallFormat::harmony, ReasoningFormat::harmony};
  const std::string body = R"({"messages":[
      {"role":"user","content":"a"},
      {"role":"assistant","content":null,"reasoning_content":"r","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},
      {"role":"assistant","content":"c","reasoning":"r","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},
      {"role":"assistant","content":"c","reasoning":"r"},
      {"role":"assistant","content":"c","thinking":"t","reasoning":"r"},
      {"role":"assistant","content":"c","thinking":null},
      {"role":"assistant","content":"c","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}],
      "tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g","description":null}},
               {"type":"function","function":{"name":"h","description":"d"}}]})";
  const auto request = parse_chat_request(body, model);
  REQUIRE(request);
  const Json& v = request->template_variables;
  const auto part = [&](std::size_t i, const char* name) {
    const Json& message = v["messages"][i];
    return message.contains(name) ? message[name].get<std::string>() : "-";
  };
  CHECK((part(0, "content") == "a" && part(0, "thinking") == "-"));
  CHECK((part(1, "content") == "-" && part(1, "thinking") == "r"));
  CHECK((part(2, "content") == "-" && part(2, "thinking") == "r\nc"));
  CHECK((part(3, "content") == "c" && part(3, "thinking") == "r"));
  CHECK((part(4, "content") == "c" && part(4, "thinking") == "t"));
  CHECK((part(5, "content") == "c" && part(5, "thinking") == "-"));
  CHECK((part(6, "content") == "c" && part(6, "thinking") == "-"));
  for (const auto& [i, description] : {std::pair{0, ""}, std::pair{1, ""}, std::pair{2, "d"}})
    CHECK(v["tools"][static_cast<std::size_t>(i)]["function"]["description"] == description);
  // Others see what was sent.
  const auto other = parse_chat_request(body, served());
  REQUIRE(other);
  CHECK(other->template_variables["messages"][1]["content"].is_null());
  CHECK_FALSE(other->template_variables["messages"][1].contains("thinking"));
  CHECK_FALSE(other->template_variables["tools"][0]["function"].contains("description"));
}

TEST_CASE("GLM's template sees no content that is null") {
  const std::string body = R"({"messages":[{"role":"user","content":"a"},
      {"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"n\":1}"}}]}]})";
  ServedModel model = served();
  CHECK(parse_chat_request(body, model)->template_variables["messages"][1]["content"].is_null());
  model.answer.calls = CallFormat::glm45;
  const auto request = parse_chat_request(body, model);
  REQUIRE(request);
  const Json& message = request->template_variables["messages"][1];
  CHECK(message["content"] == "");
  CHECK(message["tool_calls"][0]["function"]["arguments"] == Json{{"n", 1}});
}

TEST_CASE("calls are wanted where there are tools, unless the client says otherwise") {
  using Kind = ToolChoice::Kind;
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}}])";
  const auto kind = [](const std::string& extra) {
    const auto request = parse_chat_request(chat(extra), served());
    REQUIRE(request);
    return request->tool_choice.kind;
  };
  CHECK(kind("") == Kind::none);
  CHECK(kind(R"("tools":[],"tool_choice":"auto")") == Kind::none);
  CHECK(kind(tools) == Kind::automatic);
  CHECK(kind(tools + R"(,"tool_choice":"auto")") == Kind::automatic);
  CHECK(kind(tools + R"(,"tool_choice":"none")") == Kind::none);
  CHECK(kind(tools + R"(,"tool_choice":"required")") == Kind::required);
  const auto named = parse_chat_request(
      chat(tools + R"(,"tool_choice":{"type":"function","function":{"name":"f"}})"), served());
  REQUIRE(named);
  CHECK(named->tool_choice.kind == Kind::named);
  CHECK(named->tool_choice.function == "f");
  const auto plain = parse_chat_request(chat(""), served());
  CHECK((plain->parallel_tool_calls && plain->include_reasoning));
  const auto less =
      parse_chat_request(chat(R"("parallel_tool_calls":false,"include_reasoning":false)"), served());
  CHECK_FALSE((less->parallel_tool_calls || less->include_reasoning));
}

TEST_CASE("max_tokens is what fits, what was asked, or an error that says why") {
  GenerationFields fields;
  CHECK(*resolve_max_tokens(fields, 90, std::nullopt, 100) == 10);
  CHECK(*resolve_max_tokens(fields, 10, 16, 100) == 16);
  CHECK(*resolve_max_tokens(fields, 90, 16, 100) == 10);
  CHECK(resolve_max_tokens(fields, 100, 16, 100).error().code == ErrorCode::too_large);
  fields.max_tokens = 11;
  CHECK(*resolve_max_tokens(fields, 89, std::nullopt, 100) == 11);
  CHECK(resolve_max_tokens(fields, 90, std::nullopt, 100).error().field == "max_tokens");
  fields.max_tokens = std::nullopt;
  fields.min_tokens = 17;
  CHECK(resolve_max_tokens(fields, 10, 16, 100).error().field == "min_tokens");
}
