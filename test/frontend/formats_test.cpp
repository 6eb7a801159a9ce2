// Answers that a format or a forced call binds: what they are bound to, whose field an error names, and who
// waits for whom while grammars are compiled.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "baton/text/grammar.hpp"
#include "frontend/server_fixture.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::test;
using nlohmann::json;

namespace {

// The real one, but what has "slow" in it is compiled only once the gate is open.
class GatedCompiler final : public GrammarCompiler {
 public:
  Result<std::shared_ptr<const TokenGrammar>> compile(const std::string& grammar) override {
    {
      std::unique_lock lock(mutex_);
      begun_.push_back(grammar);
      if (grammar.find("slow") != std::string::npos)
        opened_.wait_for(lock, std::chrono::seconds(60), [&] { return open_; });
    }
    return real_->compile(grammar);
  }
  void open() {
    const std::scoped_lock lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }
  bool has_begun(const std::string& part) {
    const std::scoped_lock lock(mutex_);
    return std::ranges::any_of(
        begun_, [&](const std::string& grammar) { return grammar.find(part) != std::string::npos; });
  }

 private:
  const std::unique_ptr<GrammarCompiler> real_ =
      make_grammar_compiler(ByteTokenizer(), {kEos}, {}, {.text = 1 << 20, .nodes = 20000, .cached = 64});
  std::mutex mutex_;
  std::condition_variable opened_;
  std::vector<std::string> begun_;
  bool open_ = false;
};

struct WithCompiler {
  GatedCompiler compiler;
};

struct Bound : WithCompiler, Fixture {
  explicit Bound(FrontendOptions given = options(), AnswerFormat answer = {CallFormat::hermes, {}})
      : Fixture(given, 200000, answer, "<s>", &compiler) {}

  json refusal(const std::string& extra) {
    const RawReply reply = post("/v1/chat/completions", chat(extra));
    CHECK(reply.status == 400);
    return error_of(reply);
  }
  // Of an answer that is asked for like this.
  std::string grammar(const std::string& extra) {
    const RawReply reply = post("/v1/chat/completions", chat(extra));
    INFO(reply.body);
    REQUIRE(reply.status == 200);
    return service.requests().back().grammar.str();
  }
  void begin(RawClient& client, const std::string& choice) {
    REQUIRE(client.post("/v1/chat/completions", chat(one_of(choice))));
  }
  static std::string one_of(const std::string& choice) { return R"("guided_choice":[")" + choice + R"("])"; }
};

// One thread for each kind of work, so that what was sent first is taken first.
FrontendOptions in_order() {
  FrontendOptions out = options();
  out.io_threads = out.text_threads = out.format_threads = 1;
  return out;
}

std::string tool(const std::string& name, const std::string& parameters) {
  return R"({"type":"function","function":{"name":")" + name + R"(","parameters":)" + parameters + "}}";
}

std::string forced(const std::string& tools) {
  return R"("tools":[)" + tools + R"(],"tool_choice":"required")";
}

std::string call(const std::string& arguments) {
  return "<tool_call>\n{\"name\": \"f\", \"arguments\": " + arguments + "}\n</tool_call>";
}

bool follows(const std::string& grammar, const std::string& text) {
  const auto result = follows_grammar(grammar, text);
  REQUIRE(result);
  return *result;
}

constexpr const char* kManyStates = "(a|b)*a(a|b){15}";

}  // namespace

TEST_CASE("slow formats hold up nobody who asks for none") {
  FrontendOptions given = options();
  given.text_threads = 1;
  Bound f(given);
  RawClient slow[] = {RawClient(f.port), RawClient(f.port), RawClient(f.port), RawClient(f.port)};
  for (int i = 0; i < 4; ++i) f.begin(slow[i], "slow" + std::to_string(i));
  REQUIRE(eventually([&] { return f.compiler.has_begun("slow"); }));
  CHECK(f.post("/v1/chat/completions", chat()).status == 200);
  CHECK(f.post("/v1/completions", R"({"prompt":"a"})").status == 200);
  CHECK(f.post("/tokenize", R"({"prompt":"a"})").status == 200);
  // Where it would go does not depend on it.
  CHECK(f.post("/route/explain", chat(Bound::one_of("slow5"))).status == 200);
  f.compiler.open();
  for (RawClient& client : slow) CHECK(client.read().status == 200);
  CHECK_FALSE(f.compiler.has_begun("slow5"));
}

TEST_CASE("a format whose client has gone is not compiled any more") {
  Bound f(in_order());
  RawClient first(f.port), leaves(f.port), stays(f.port);
  f.begin(first, "slow");
  REQUIRE(eventually([&] { return f.compiler.has_begun("slow"); }));
  f.begin(leaves, "leaves");
  CHECK(f.get("/version").status == 200);  // what came before has been read
  f.begin(stays, "stays");
  leaves.close();
  for (int i = 0; i < 3; ++i) CHECK(f.post("/v1/chat/completions", chat()).status == 200);
  f.compiler.open();
  CHECK(first.read().status == 200);
  CHECK(stays.read().status == 200);
  CHECK(f.compiler.has_begun("stays"));
  CHECK_FALSE(f.compiler.has_begun("leaves"));
}

TEST_CASE("a format whose time is over is not compiled any more") {
  FrontendOptions given = in_order();
  given.request_timeout = std::chrono::milliseconds(200);
  Bound f(given);
  RawClient first(f.port), late(f.port);
  f.begin(first, "slow");
  REQUIRE(eventually([&] { return f.compiler.has_begun("slow"); }));
  f.begin(late, "late");
  std::this_thread::sleep_for(given.request_timeout * 2);
  f.compiler.open();
  CHECK(late.read().status == 504);
  CHECK_FALSE(f.compiler.has_begun("late"));
}

TEST_CASE("too many waiting formats are refused, and nothing else is") {
  FrontendOptions given = in_order();
  given.max_queued_formats = 1;
  Bound f(given);
  RawClient first(f.port), second(f.port);
  f.begin(first, "slow");
  REQUIRE(eventually([&] { return f.compiler.has_begun("slow"); }));
  f.begin(second, "second");
  CHECK(f.post("/v1/chat/completions", chat()).status == 200);
  const RawReply third = f.post("/v1/chat/completions", chat(Bound::one_of("third")));
  CHECK(third.status == 429);
  CHECK(third.headers.contains("retry-after"));
  CHECK(f.post("/v1/chat/completions", chat()).status == 200);
  f.compiler.open();
  CHECK(first.read().status == 200);
  CHECK(second.read().status == 200);
}

TEST_CASE("stopping does not wait for formats that wait") {
  Bound f(in_order());
  RawClient first(f.port), second(f.port);
  f.begin(first, "slow");
  REQUIRE(eventually([&] { return f.compiler.has_begun("slow"); }));
  f.begin(second, "second");
  bool ended = false;
  std::thread opens([&] {
    ended = first.at_end();  // the sessions end before the threads are waited for
    f.compiler.open();
  });
  f.server.stop();
  opens.join();
  CHECK(ended);
  CHECK_FALSE(f.compiler.has_begun("second"));
}

TEST_CASE("the arguments of a forced call are an object whatever their schema says") {
  Bound f;
  for (const char* parameters : {"{}", R"({"type":["array","object"]})", R"({"type":null})",
                                 R"({"description":"anything"})", R"({"anyOf":[{"type":"array"},{}]})"}) {
    INFO(parameters);
    const std::string grammar = f.grammar(forced(tool("f", parameters)));
    CHECK(follows(grammar, call(R"({"a": [1]})")));
    CHECK_FALSE(follows(grammar, call("[1]")));
    CHECK_FALSE(follows(grammar, call("1")));
  }
  // References still begin at the schema's own root.
  const std::string grammar = f.grammar(forced(tool(
      "f",
      R"({"properties":{"a":{"$ref":"#/$defs/n"}},"required":["a"],"$defs":{"n":{"type":"integer"}}})")));
  CHECK(follows(grammar, call(R"({"a": 1})")));
  CHECK_FALSE(follows(grammar, call(R"({"a": "1"})")));
  CHECK_FALSE(follows(grammar, call("[]")));
}

TEST_CASE("a forced call is written as the model writes calls") {
  const std::string tools = forced(tool("f", R"({"properties":{"a":{"type":"integer"}},"required":["a"]})"));
  const auto with = [&](CallFormat format) { return Bound(options(), {format, {}}).grammar(tools); };
  const std::string coder = with(CallFormat::qwen3_coder), pythonic = with(CallFormat::pythonic);
  CHECK(
      follows(coder, "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"));
  CHECK_FALSE(follows(coder, "<tool_call>\n<function=f>\n</function>\n</tool_call>"));
  const std::string glm = with(CallFormat::glm45);
  CHECK(follows(glm, "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>"));
  CHECK_FALSE(follows(glm, "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n</tool_call>"));
  CHECK(follows(pythonic, "[f(a=1), f(a=2)]"));
  CHECK_FALSE(follows(pythonic, "[f()]"));
  Bound f(options(), {CallFormat::pythonic, {}});
  const json error = f.refusal(forced(tool("f", R"({"anyOf":[{"type":"object"}]})")));
  CHECK(error["param"] == "tools[0].function.parameters");
  CHECK(error["message"].get<std::string>().find("anyOf") != std::string::npos);
}

TEST_CASE("harmony: a format binds the final message, a forced call its arguments, behind the analysis") {
  Bound f(options(), {CallFormat::harmony, ReasoningFormat::harmony});
  const std::string thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant";
  const std::string last = "<|channel|>final <|constrain|>json<|message|>";
  const std::string object = f.grammar(R"("response_format":{"type":"json_object"})");
  for (const std::string& first : {std::string(), thought}) {
    CHECK(follows(object, first + last + "{}"));
    CHECK_FALSE(follows(object, first + last + "[]"));
    CHECK_FALSE(follows(object, first + "{}"));
    CHECK(follows(f.grammar(Bound::one_of("yes")), first + "<|channel|>final<|message|>yes"));
  }
  const std::string tools = R"("tools":[)" +
                            tool("f", R"({"properties":{"a":{"type":"integer"}},"required":["a"]})") + "," +
                            tool("g", "{}") + R"(],"tool_choice":)";
  const std::string call = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": 1}";
  const std::string other = " to=functions.g<|channel|>commentary json<|message|>{}";
  const std::string any = f.grammar(tools + R"("required")");
  CHECK(follows(any, thought + call));
  CHECK(follows(any, other));
  CHECK(follows(any, call + "<|call|><|start|>assistant" + other));
  CHECK_FALSE(follows(any, last + "{}"));
  const std::string named = f.grammar(tools + R"({"type":"function","function":{"name":"f"}})");
  CHECK(follows(named, call));
  CHECK_FALSE(follows(named, other));
  // Their text is told as that of other answers.
  f.service.configure(says(thought + last + "{\"a\": 1}"));
  const json bound =
      json::parse(f.post("/v1/chat/completions", chat(R"("response_format":{"type":"json_object"})")).body);
  CHECK(bound["choices"][0]["message"]["content"] == "{\"a\": 1}");
  CHECK(bound["choices"][0]["message"]["reasoning"] == "Hm.");
  CHECK(f.refusal(forced(tool("a b", "{}")))["param"] == "tools[0].function.parameters");
}

TEST_CASE("what is wrong with a forced call is said of its function") {
  Bound f;
  const std::string good = tool("f", "{}");
  for (const char* parameters :
       {R"({"type":"array"})", R"({"type":["string","null"]})", R"({"type":7})", R"({"const":3})",
        R"({"type":"object","properties":{"x":{"multipleOf":2,"type":"number"}}})"}) {
    INFO(parameters);
    const json error = f.refusal(forced(good + "," + tool("g", parameters)));
    CHECK(error["param"] == "tools[1].function.parameters");
    CHECK(f.post("/v1/chat/completions", chat(R"("tools":[)" + tool("g", parameters) + "]")).status == 200);
  }
  // Too large to compile: of one function that is its parameters' doing.
  const std::string large = tool(
      "g", R"({"properties":{"x":{"type":"string","pattern":"^)" + std::string(kManyStates) + R"($"}}})");
  const std::string tools = R"("tools":[)" + good + "," + large + R"(],"tool_choice":)";
  CHECK(f.refusal(tools + R"({"type":"function","function":{"name":"g"}})")["param"] ==
        "tools[1].function.parameters");
  CHECK(f.refusal(tools + R"("required")")["param"] == "tool_choice");
  Bound unknown(options(), {});
  CHECK(unknown.refusal(forced(good))["param"] == "tool_choice");
}

TEST_CASE("a limit of grammars is not told as the context's length") {
  Bound f;
  const auto code_of = [&](const std::string& extra, const std::string& field) {
    const json error = f.refusal(extra);
    CHECK(error["param"] == field);
    return error["code"];
  };
  CHECK(code_of(R"("guided_regex":")" + std::string(kManyStates) + "\"", "guided_regex") == "invalid_value");
  CHECK(code_of(R"("guided_regex":"a{70000}")", "guided_regex") == "invalid_value");
  CHECK(code_of(R"("guided_json":{"type":"array","minItems":70000})", "guided_json") == "invalid_value");
  CHECK(code_of(R"("guided_grammar":"root ::= (\"a\" | \"b\")* \"a\" [ab]{15}")", "guided_grammar") ==
        "invalid_value");
}

TEST_CASE("a format's answer has no calls in it, whatever it looks like") {
  Bound f;
  f.service.configure(says(call("{}")));
  const std::string tools = R"("tools":[)" + tool("f", "{}") + "]";
  const auto choice = [&](const std::string& extra) {
    return json::parse(f.post("/v1/chat/completions", chat(extra)).body)["choices"][0];
  };
  const json bound = choice(tools + R"(,"response_format":{"type":"json_object"})");
  CHECK(bound["message"]["content"] == call("{}"));
  CHECK(bound["finish_reason"] == "stop");
  // Forced calls go before a format.
  for (const char* called : {"", R"(,"tool_choice":"required","response_format":{"type":"json_object"})"})
    CHECK(choice(tools + called)["finish_reason"] == "tool_calls");
}

TEST_CASE("what an engine says of the grammar is said of the client's field") {
  Bound f;
  FakeService::Behaviour fails;
  fails.fail = make_error(ErrorCode::invalid_argument, "cannot go on", "grammar");
  FakeService::Behaviour refuses;
  refuses.refuse = make_error(ErrorCode::too_large, "too much", "grammar");
  const std::string functions = tool("f", "{}") + "," + tool("g", "{}");
  for (const FakeService::Behaviour& behaviour : {fails, refuses}) {
    f.service.configure(behaviour);
    CHECK(f.refusal(R"("guided_regex":"a")")["param"] == "guided_regex");
    CHECK(f.refusal(R"("guided_regex":"a")")["code"] == "invalid_value");
    CHECK(f.refusal(forced(functions))["param"] == "tool_choice");
  }
  fails.fail_after = 1;
  f.service.configure(fails);
  const auto events =
      events_of(f.post("/v1/chat/completions", chat(R"("guided_regex":"a","stream":true)")).body);
  CHECK(events.at(events.size() - 2)["error"]["param"] == "guided_regex");
}

TEST_CASE("a route is explained for what a template may see, and only for that") {
  Bound f;
  for (const char* path : {"/route/explain", "/v1/chat/completions", "/tokenize"}) {
    const RawReply reply = f.post(path, chat(R"("chat_template_kwargs":{"tools":[5]})"));
    CHECK(reply.status == 400);
    CHECK(error_of(reply)["param"] == "chat_template_kwargs.tools");
  }
  CHECK(f.post("/route/explain", chat(forced(tool("f", "{}")))).status == 200);
}
