// Tool calls and reasoning as clients get them, whole and streamed, and as they send them back.
#include <algorithm>
#include <map>

#include "frontend/answer_reader.hpp"
#include "frontend/openai/chat_request.hpp"
#include "frontend/output_stream.hpp"
#include "frontend/server_fixture.hpp"
#include "support/catch.hpp"
#include "text/goldens.hpp"

using namespace baton;
using namespace baton::test;
using nlohmann::json;
using Json = nlohmann::ordered_json;

namespace {

constexpr AnswerFormat kQwen3{CallFormat::hermes, ReasoningFormat::think};
constexpr AnswerFormat kLlama{CallFormat::llama3_json, ReasoningFormat::none};
constexpr AnswerFormat kCoder{CallFormat::qwen3_coder, ReasoningFormat::none};
constexpr AnswerFormat kPythonic{CallFormat::pythonic, ReasoningFormat::none};
constexpr AnswerFormat kGlm{CallFormat::glm45, ReasoningFormat::think};
constexpr AnswerFormat kHarmony{CallFormat::harmony, ReasoningFormat::harmony};
constexpr AnswerFormat kMistral{CallFormat::mistral, ReasoningFormat::none};

const std::string kTools =
    R"("tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}])";
const std::string kTwoCalls =
    "<think>\nHm.\n</think>\n\nWell.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, 2]}}\n"
    "</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";

struct Asked : Fixture {
  explicit Asked(AnswerFormat answer = kQwen3, std::string bos = "<s>")
      : Fixture(options(), 200000, answer, std::move(bos)) {}

  json ask(const std::string& extra) {
    const RawReply reply = post("/v1/chat/completions", chat(extra));
    REQUIRE(reply.status == 200);
    return json::parse(reply.body);
  }
  json choice(const std::string& extra) { return ask(extra)["choices"][0]; }
};

// What a client makes of a stream: each choice as the whole answer would have it. Pieces of calls are put
// together by their index, as the official clients do it.
std::map<int, json> assembled(const std::vector<json>& events) {
  std::map<int, json> out;
  for (const json& event : events) {
    if (event == "[DONE]" || event["choices"].empty()) continue;
    const json& choice = event["choices"][0];
    json& sum = out.try_emplace(choice["index"], json::object()).first->second;
    CHECK(sum["finish_reason"].is_null());  // nothing comes behind the end
    const json& delta = choice["delta"];
    CHECK(delta.contains("content") + delta.contains("reasoning") + delta.contains("tool_calls") <= 1);
    json& message = sum.emplace("message", json::object()).first.value();
    for (const char* name : {"content", "reasoning_content", "reasoning"}) {
      if (delta.contains(name)) message[name] = message.value(name, "") + delta[name].get<std::string>();
    }
    for (const json& piece : delta.value("tool_calls", json::array())) {
      json& call = message["tool_calls"][piece["index"].get<std::size_t>()];
      if (piece.contains("id")) {
        CHECK(call.is_null());
        call = {{"id", piece["id"]}, {"type", piece["type"]}, {"function", piece["function"]}};
      } else {
        CHECK_FALSE(piece["function"].contains("name"));
        call["function"]["arguments"] = call["function"]["arguments"].get<std::string>() +
                                        piece["function"]["arguments"].get<std::string>();
      }
    }
    if (choice["logprobs"].is_object()) {
      for (const json& entry : choice["logprobs"]["content"])
        sum["tokens"] = sum.value("tokens", "") + entry["token"].get<std::string>();
    }
    if (!choice["finish_reason"].is_null()) sum["finish_reason"] = choice["finish_reason"];
  }
  return out;
}

void check_two_calls(const json& choice) {
  const json& message = choice["message"];
  CHECK(message["content"] == "Well.");
  CHECK(message["reasoning_content"] == "Hm.");
  CHECK(message["reasoning"] == "Hm.");
  REQUIRE(message["tool_calls"].size() == 2);
  const json& call = message["tool_calls"][0];
  CHECK(call["type"] == "function");
  CHECK(call["id"].get<std::string>().starts_with("call_"));
  CHECK(call["id"].get<std::string>().size() == 29);
  // Drawn to the last character.
  const auto tail = [&](std::size_t i) {
    return message["tool_calls"][i]["id"].get<std::string>().substr(21);
  };
  CHECK(tail(0) != tail(1));
  CHECK(call["function"] == json{{"name", "f"}, {"arguments", "{\"a\": [1, 2]}"}});
  CHECK(message["tool_calls"][1]["function"] == json{{"name", "g"}, {"arguments", "{}"}});
  CHECK(choice["finish_reason"] == "tool_calls");
}

}  // namespace

TEST_CASE("a whole answer has calls and reasoning as values, each choice its own") {
  Asked f;
  f.service.configure(says(kTwoCalls));
  const json body = f.ask(kTools + R"(,"n":2)");
  REQUIRE(body["choices"].size() == 2);
  for (const json& choice : body["choices"]) check_two_calls(choice);
  CHECK(body["choices"][0]["message"]["tool_calls"][0]["id"] !=
        body["choices"][1]["message"]["tool_calls"][0]["id"]);
  CHECK(body["usage"]["completion_tokens"] == 2 * (kTwoCalls.size() + 1));
}

TEST_CASE("a stream's pieces make the same message") {
  Asked f;
  f.service.configure(says(kTwoCalls));
  const auto events =
      events_of(f.post("/v1/chat/completions", chat(kTools + R"(,"n":2,"stream":true)")).body);
  const auto choices = assembled(events);
  REQUIRE(choices.size() == 2);
  for (const auto& [index, choice] : choices) check_two_calls(choice);
  // Arguments come as they are written, not when they are whole.
  std::size_t pieces = 0;
  for (const json& event : events) {
    if (event != "[DONE]" && event["choices"][0]["index"] == 0)
      pieces += event["choices"][0]["delta"].contains("tool_calls") ? 1 : 0;
  }
  CHECK(pieces > 12);
}

TEST_CASE("calls without content: null; nothing but content: as ever") {
  Asked f;
  f.service.configure(says("<tool_call>{\"name\": \"f\"}</tool_call>"));
  const json call = f.choice(kTools)["message"];
  CHECK(call["content"].is_null());
  CHECK(call["tool_calls"][0]["function"]["arguments"] == "{}");
  CHECK_FALSE(call.contains("reasoning_content"));
  f.service.configure(says("Hello \n"));
  const json plain = f.choice(kTools);
  CHECK(plain["message"] == json{{"role", "assistant"}, {"content", "Hello \n"}, {"refusal", nullptr}});
  CHECK(plain["finish_reason"] == "stop");
  f.service.configure(says(""));
  CHECK(f.choice(kTools)["message"]["content"] == "");
  f.service.configure(says("<think>Hm"));
  CHECK(f.choice("")["message"]["content"].is_null());
}

TEST_CASE("calls are looked for only where the client has tools and wants them") {
  Asked f;
  f.service.configure(says(kTwoCalls));
  for (const std::string& extra : {std::string(), kTools + R"(,"tool_choice":"none")"}) {
    const json choice = f.choice(extra);
    CHECK(choice["message"]["content"] == kTwoCalls.substr(kTwoCalls.find("Well.")));
    CHECK(choice["message"]["reasoning"] == "Hm.");
    CHECK_FALSE(choice["message"].contains("tool_calls"));
    CHECK(choice["finish_reason"] == "stop");
  }
  const json text = json::parse(f.post("/v1/completions", R"({"prompt":"a","max_tokens":500})").body);
  CHECK(text["choices"][0]["text"] == kTwoCalls);
}

TEST_CASE("a client may want no reasoning, or one call only") {
  Asked f;
  f.service.configure(says(kTwoCalls));
  const std::string less = kTools + R"(,"include_reasoning":false,"parallel_tool_calls":false)";
  for (const json& choice :
       {f.choice(less),
        assembled(events_of(f.post("/v1/chat/completions", chat(less + R"(,"stream":true)")).body))[0]}) {
    CHECK(choice["message"]["content"] == "Well.");
    CHECK_FALSE(choice["message"].contains("reasoning_content"));
    CHECK_FALSE(choice["message"].contains("reasoning"));
    CHECK(choice["message"]["tool_calls"].size() == 1);
    CHECK(choice["message"]["tool_calls"][0]["function"]["name"] == "f");
    CHECK(choice["finish_reason"] == "tool_calls");
  }
}

TEST_CASE("an answer begins inside its reasoning where the template has opened it") {
  Asked f;
  f.service.configure(says("Hm.\n</think>\n\nYes."));
  const json inside = f.choice(R"("chat_template_kwargs":{"tail":"<think>\n"})")["message"];
  CHECK(inside["reasoning_content"] == "Hm.");
  CHECK(inside["content"] == "Yes.");
  const json outside = f.choice(R"("chat_template_kwargs":{"tail":"<think>\n\n</think>\n\n"})")["message"];
  CHECK(outside["content"] == "Hm.\n</think>\n\nYes.");
}

TEST_CASE("the reason says who ended the answer: the model, a limit, a stop string") {
  Asked f;
  f.service.configure(says(kTwoCalls));
  const json length = f.choice(kTools + R"(,"max_tokens":72)");
  CHECK(length["finish_reason"] == "length");
  CHECK(length["message"]["tool_calls"][0]["function"]["arguments"] == "{\"a\":");
  const json stopped = f.choice(kTools + R"(,"stop":", 2")");
  CHECK(stopped["finish_reason"] == "stop");
  CHECK(stopped["message"]["tool_calls"][0]["function"]["arguments"] == "{\"a\": [1");
  // Stop strings see the text as the model wrote it, markers included.
  const json marker = f.choice(kTools + R"(,"stop":["<tool_call>"])");
  CHECK(marker["finish_reason"] == "stop");
  CHECK(marker["message"]["content"] == "Well.\n");
  const json id = f.choice(kTools + R"(,"stop_token_ids":[125])");  // "}"
  CHECK(id["finish_reason"] == "tool_calls");
  CHECK(f.metrics.text().find("finished_reason=\"stop\",model_name=\"org/Demo\"} 3") != std::string::npos);
}

TEST_CASE("logprobs are those of every token, whatever its text has become") {
  Asked f;
  f.service.configure(says(kTwoCalls));
  const std::string extra = kTools + R"(,"logprobs":true)";
  std::string tokens;
  const json whole = f.choice(extra);
  for (const json& entry : whole["logprobs"]["content"]) tokens += entry["token"];
  CHECK(tokens == kTwoCalls);
  const auto events = events_of(f.post("/v1/chat/completions", chat(extra + R"(,"stream":true)")).body);
  CHECK(assembled(events).at(0)["tokens"] == kTwoCalls);
  // With the next chunk, not at the end.
  const auto with_logprobs = std::count_if(events.begin(), events.end(), [](const json& event) {
    return event != "[DONE]" && event["choices"][0]["logprobs"].is_object() &&
           !event["choices"][0]["logprobs"]["content"].empty();
  });
  CHECK(with_logprobs > 12);
}

TEST_CASE("markers that are special tokens are seen by the parser and by nobody else") {
  Asked f(kMistral, "[TOOL_CALLS]");
  FakeService::Behaviour behaviour;
  behaviour.script = [](const Request&) {
    std::vector<TokenId> ids{kBos};
    for (const TokenId id : ids_of("[{\"name\": \"f\", \"arguments\": {}}]")) ids.push_back(id);
    return ids;
  };
  f.service.configure(behaviour);
  const json call = f.choice(kTools)["message"]["tool_calls"][0];
  CHECK(call["function"]["name"] == "f");
  CHECK(call["id"].get<std::string>().size() == 9);  // what Mistral's templates take
  CHECK(f.choice("")["message"]["content"] == "[{\"name\": \"f\", \"arguments\": {}}]");
  Asked other(kLlama, "[TOOL_CALLS]");
  other.service.configure(behaviour);
  CHECK(other.choice(kTools)["message"]["content"] == "[{\"name\": \"f\", \"arguments\": {}}]");
}

TEST_CASE("usage tells the tokens of the reasoning, its markers with it") {
  const auto tokens = [](Asked& f, const std::string& text, const std::string& extra = {}) {
    f.service.configure(says(text));
    json usage = f.ask(extra)["usage"];
    const auto events = events_of(
        f.post("/v1/chat/completions", chat(R"("stream":true,"stream_options":{"include_usage":true})" +
                                            (extra.empty() ? "" : "," + extra)))
            .body);
    CHECK(events[events.size() - 2]["usage"] == usage);
    return usage;
  };
  const auto reasoning = [&](Asked& f, const std::string& text, const std::string& extra = {}) {
    return tokens(f, text, extra).at("completion_tokens_details").at("reasoning_tokens").get<std::size_t>();
  };
  Asked f;
  const std::string thought = "\n<think>\nHm.\n</think>";
  CHECK(reasoning(f, thought + "\n\nYes.") == thought.size());
  CHECK(reasoning(f, thought + "\n\nYes.", R"("n":3)") == 3 * thought.size());
  CHECK(reasoning(f, thought + "\n\nYes.", R"("include_reasoning":false)") == thought.size());
  CHECK(reasoning(f, thought + "\n\nYes.", R"("stop":"Y")") == thought.size());
  CHECK(reasoning(f, thought, R"("max_tokens":12)") == 12);
  CHECK(reasoning(f, "Yes.") == 0);
  CHECK(reasoning(f, "<thin") == 0);
  CHECK(reasoning(f, "Hm.</think>Yes.") == 0);
  CHECK(reasoning(f, "Hm.</think>Yes.", R"("chat_template_kwargs":{"tail":"<think>"})") == 11);
  const json text = json::parse(f.post("/v1/completions", R"({"prompt":"a"})").body);
  CHECK_FALSE(text["usage"].contains("completion_tokens_details"));
  Asked none(kLlama);
  CHECK_FALSE(tokens(none, thought, kTools).contains("completion_tokens_details"));
}

TEST_CASE("values between tags become what the functions' schemas say") {
  Asked f(kCoder);
  f.service.configure(
      says("<tool_call>\n<function=f>\n<parameter=s>\n12\n</parameter>\n<parameter=i>\n12\n</parameter>\n"
           "</function>\n</tool_call>\n<function=g>\n</function>\n</tool_call>"));
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object",
         "properties":{"s":{"type":"string"},"i":{"type":"integer"}}}}},{"type":"function","function":{"name":"g"}}])";
  const json whole = f.choice(tools + R"(,"n":2)");
  const json streamed =
      assembled(events_of(f.post("/v1/chat/completions", chat(tools + R"(,"stream":true)")).body))[0];
  for (const json& choice : {whole, streamed}) {
    const json& calls = choice["message"]["tool_calls"];
    REQUIRE(calls.size() == 2);
    CHECK(calls[0]["function"] == json{{"name", "f"}, {"arguments", R"({"s": "12", "i": 12})"}});
    CHECK(calls[1]["function"] == json{{"name", "g"}, {"arguments", "{}"}});
    CHECK(choice["finish_reason"] == "tool_calls");
  }
  CHECK(f.choice(tools + R"(,"tool_choice":"none")")["message"]["content"].get<std::string>().starts_with(
      "<tool"));
}

TEST_CASE("a Python list's markers are nobody's content") {
  Asked f(kPythonic, "<|python_start|>");
  FakeService::Behaviour behaviour;
  behaviour.script = [](const Request&) {
    std::vector<TokenId> ids{kBos};
    for (const TokenId id : ids_of("[f(a='x', b=[1, None])]")) ids.push_back(id);
    return ids;
  };
  f.service.configure(behaviour);
  const json choice = f.choice(kTools);
  CHECK(choice["message"]["content"].is_null());
  CHECK(choice["message"]["tool_calls"][0]["function"] ==
        json{{"name", "f"}, {"arguments", R"({"a": "x", "b": [1, null]})"}});
  CHECK(f.choice("")["message"]["content"] == "[f(a='x', b=[1, None])]");
}

TEST_CASE("harmony's channels become reasoning, content and calls") {
  Asked f(kHarmony, "<|channel|>");
  // One of the markers is a special token here.
  const std::string thought = "analysis<|message|>Hm.<|end|>", next = "<|start|>assistant";
  const std::string preamble = "commentary<|message|>I look.<|end|>", more = "analysis<|message|>So.<|end|>";
  const std::string call = "commentary to=functions.f <|constrain|>json<|message|>{\"a\": [1, 2]}";
  const std::string last = "final<|message|>{\"b\": 1}";
  const auto answers = [&](const std::vector<std::string>& messages) {
    FakeService::Behaviour behaviour;
    behaviour.script = [&, messages](const Request&) {
      std::vector<TokenId> ids;
      for (const std::string& message : messages) {
        for (const TokenId id : ids_of(ids.empty() ? "" : next)) ids.push_back(id);
        ids.push_back(kBos);
        for (const TokenId id : ids_of(message)) ids.push_back(id);
      }
      return ids;
    };
    f.service.configure(behaviour);
  };
  answers({thought, preamble, more, call});
  const json whole = f.ask(kTools);
  // All markers before a piece of reasoning, its own and the end of the message before.
  const std::size_t own = 1 + thought.size(),
                    again = std::string("<|end|>").size() + next.size() + 1 + more.size();
  CHECK(whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == own + again);
  const json streamed =
      assembled(events_of(f.post("/v1/chat/completions", chat(kTools + R"(,"stream":true)")).body))[0];
  for (const json& choice : {whole["choices"][0], streamed}) {
    const json& message = choice["message"];
    CHECK(message["reasoning_content"] == "Hm.\nSo.");
    CHECK(message["content"] == "I look.");
    REQUIRE(message["tool_calls"].size() == 1);
    CHECK(message["tool_calls"][0]["function"] == json{{"name", "f"}, {"arguments", "{\"a\": [1, 2]}"}});
    CHECK(choice["finish_reason"] == "tool_calls");
  }
  const json hidden = f.ask(kTools + R"(,"include_reasoning":false)");
  CHECK_FALSE(hidden["choices"][0]["message"].contains("reasoning"));
  CHECK(hidden["usage"] == whole["usage"]);
  // A call that nobody looks for, and a format's answer, which has none.
  const json text = f.choice("");
  CHECK(text["message"]["content"] == "I look.\n{\"a\": [1, 2]}");
  CHECK(text["finish_reason"] == "stop");
  answers({thought, last});
  for (const std::string& extra : {std::string(), kTools}) {
    const json final = f.choice(extra);
    CHECK(final["message"]["content"] == "{\"b\": 1}");
    CHECK(final["message"]["reasoning"] == "Hm.");
    CHECK(final["finish_reason"] == "stop");
  }
}

TEST_CASE("special tokens are text where they are named") {
  const ByteTokenizer tokenizer;
  for (const bool shown : {false, true}) {
    frontend::OutputRules rules;
    if (shown) rules.special.shown = {kBos};
    frontend::OutputStream stream(tokenizer, {}, rules);
    CHECK(stream.push({kBos, 0, {}}).text == (shown ? "<s>" : ""));
    CHECK(stream.push({kEos, 0, {}}).text == "");
  }
}

TEST_CASE("an answer sent back becomes the model's own text again") {
  struct Trip {
    const char* file;
    AnswerFormat format;
    const char* answer;
    const char* shown;  // in the next prompt
  };
  const Trip trips[] = {
      {"qwen25.jinja", kQwen3,
       "Well.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"\xc3\xa9\"}}\n</tool_call>",
       "Well.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"\xc3\xa9\"}}\n</tool_call>"},
      {"qwen3.jinja", kQwen3, "<think>\nHm.\n</think>\n\nYes.", "<think>\nHm.\n</think>\n\nYes."},
      {"llama31.jinja", kLlama, "{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
       "{\"name\": \"f\", \"parameters\": {\"a\": 1}}"},
      {"mistral.jinja", kMistral, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}}]",
       "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \""},
      {"glm45.jinja", kGlm,
       "\n<think>Hm.</think>\n<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>\"x\"\ny</arg_value>\n"
       "<arg_key>b</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call>",
       "<|assistant|>\n<think>Hm.</think>\n<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>\"x\"\ny</"
       "arg_value>\n"
       "<arg_key>b</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call>"
       "<|observation|>\n<tool_response>\nok\n</tool_response>\n<tool_response>\nok\n</tool_response>"},
      {"glm45.jinja", kGlm, "\n<think></think>\nYes.", "<|assistant|>\n<think></think>\nYes."},
      {"harmony.jinja", kHarmony,
       "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
       "<|constrain|>json<|message|>{\"a\": 1}",
       "<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant "
       "to=functions.f<|channel|>commentary "
       "json<|message|>{\"a\": 1}<|call|><|start|>functions.f to=assistant"},
      {"harmony.jinja", kHarmony,
       "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>So.<|end|><"
       "|start|>assistant "
       "to=functions.f<|channel|>commentary json<|message|>{}",
       "<|start|>assistant<|channel|>analysis<|message|>Hm.\nSo.<|end|><|start|>assistant to=functions.f"},
      {"harmony.jinja", kHarmony,
       "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
       "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>"},
  };
  for (const Trip& trip : trips) {
    INFO(trip.file);
    const auto parsed = parse_chat_template(read_text(text_data() / "templates" / trip.file),
                                            {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
    REQUIRE(parsed);
    frontend::AnswerRules rules;
    rules.format = trip.format;
    frontend::AnswerReader reader(rules, [n = std::uint64_t{7}]() mutable { return n *= 1000003; });
    frontend::ChoiceText choice;
    for (auto& part : reader.push(trip.answer, 1)) append(choice, std::move(part));
    for (auto& part : reader.finish()) append(choice, std::move(part));
    const Json answer = Json::parse(frontend::unary_body_of({}, {{choice}}, {}, std::nullopt));
    const Json message = answer["choices"][0]["message"];
    Json messages = {{{"role", "user"}, {"content", "Go."}}, message};
    for (const Json& call : message.value("tool_calls", Json::array()))
      messages.push_back({{"role", "tool"}, {"tool_call_id", call["id"]}, {"content", "ok"}});
    for (const char* alone : {"reasoning", "reasoning_content"}) {  // clients send back one or both
      Json body = {{"messages", messages}, {"add_generation_prompt", false}};
      if (message.contains(alone)) body["messages"][1].erase(alone);
      ServedModel model = served();
      model.answer = trip.format;
      const auto request = frontend::parse_chat_request(body.dump(), model);
      REQUIRE(request);
      const auto prompt = (*parsed)->render(request->template_variables);
      REQUIRE(prompt);
      INFO(*prompt);
      CHECK(prompt->find(trip.shown) != std::string::npos);
    }
  }
}
