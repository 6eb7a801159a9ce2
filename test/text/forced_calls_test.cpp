// Grammars of forced calls: what follows them is calls of these functions, and the parser reads it back.
#include "baton/text/forced_calls.hpp"

#include <nlohmann/json.hpp>

#include "baton/text/grammar.hpp"
#include "support/catch.hpp"

using namespace baton;

namespace {

constexpr AnswerFormat kHermes{CallFormat::hermes, ReasoningFormat::none};
constexpr AnswerFormat kLlama{CallFormat::llama3_json, ReasoningFormat::none};
constexpr AnswerFormat kMistral{CallFormat::mistral, ReasoningFormat::none};
constexpr AnswerFormat kCoder{CallFormat::qwen3_coder, ReasoningFormat::none};
constexpr AnswerFormat kGlm{CallFormat::glm45, ReasoningFormat::none};
constexpr AnswerFormat kPythonic{CallFormat::pythonic, ReasoningFormat::none};
constexpr AnswerFormat kHarmony{CallFormat::harmony, ReasoningFormat::harmony};
constexpr AnswerFormat kQwen3{CallFormat::hermes, ReasoningFormat::think};

using Json = nlohmann::ordered_json;

const Json kSchema = {{"type", "object"},
                      {"properties", {{"n", {{"type", "integer"}}}}},
                      {"required", {"n"}},
                      {"additionalProperties", false}};

// For f, whose argument n is an integer, and for the one named otherwise, which has none. JSON's formats can
// write any name.
std::string other_name(CallFormat format) {
  const bool json = !needs_types(format) && format != CallFormat::pythonic && format != CallFormat::harmony;
  return json ? "a\"b" : "a.b-c";
}

std::string grammar(const ForcedCalls& forced) {
  GrammarText out;
  const CallFormat format = forced.format.calls;
  const auto f = forced_function(out, format, "f", &kSchema);
  const auto other = forced_function(out, format, other_name(format), nullptr);
  REQUIRE((f && other));
  const ForcedFunction functions[] = {*f, *other};
  return out.text(forced_calls(out, forced, functions));
}

bool follows(const ForcedCalls& forced, const std::string& text) {
  const auto result = follows_grammar(grammar(forced), text);
  INFO(grammar(forced));
  REQUIRE(result);
  return *result;
}

std::string calls_in(const AnswerFormat& format, const std::string& text, bool inside,
                     const Json& schema = kSchema) {
  const ParameterTypes types(Json::array({{{"function", {{"name", "f"}, {"parameters", schema}}}}}));
  AnswerParser parser(format, inside, &types);
  std::string out;
  const auto add = [&](const std::vector<AnswerEvent>& events) {
    for (const AnswerEvent& event : events) {
      if (const auto* call = std::get_if<CallBegun>(&event)) out += call->name + "=";
      if (const auto* arguments = std::get_if<CallArguments>(&event)) out += arguments->text;
      CHECK_FALSE(std::holds_alternative<ContentText>(event));
    }
  };
  add(parser.push(text));
  add(parser.finish());
  return out;
}

}  // namespace

TEST_CASE("a forced answer is one call, or several, as the model writes them") {
  struct Case {
    AnswerFormat format;
    std::string first, second;  // behind the first
    std::string end;
  };
  const Case cases[] = {
      {kHermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call>",
       "\n<tool_call>\n{\"name\": \"a\\\"b\", \"arguments\": {}}\n</tool_call>", ""},
      {kLlama, "{\"name\": \"f\", \"parameters\": {\"n\": 1}}",
       "; {\"name\": \"a\\\"b\", \"parameters\": {}}", ""},
      {kMistral, "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"n\": 1}}",
       ", {\"name\": \"a\\\"b\", \"arguments\": {}}", "]"},
      {kCoder, "<tool_call>\n<function=f>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>",
       "\n<tool_call>\n<function=a.b-c>\n</function>\n</tool_call>", ""},
      {kGlm, "<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
       "\n<tool_call>a.b-c\n</tool_call>", ""},
      {kGlm, "\n<tool_call>f<arg_key>n</arg_key><arg_value>1</arg_value></tool_call>",
       "<tool_call>a.b-c</tool_call>", ""},
      {kPythonic, "[f(n=1)", ", a.b-c()", "]"},
      {kHarmony, "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"n\": 1}",
       "<|call|><|start|>assistant to=functions.a.b-c<|channel|>commentary json<|message|>{}", ""},
  };
  for (const Case& c : cases) {
    const ForcedCalls one{c.format, false, false}, more{c.format, false, true};
    CHECK(follows(one, c.first + c.end));
    CHECK(follows(more, c.first + c.end));
    CHECK(follows(more, c.first + c.second + c.second + c.end));
    CHECK(calls_in(c.format, c.first + c.second + c.end, false) ==
          "f={\"n\": 1}" + other_name(c.format.calls) + "={}");
    for (const ForcedCalls& forced : {one, more}) {
      CHECK_FALSE(follows(forced, ""));
      CHECK_FALSE(follows(forced, "Well. " + c.first + c.end));
      CHECK_FALSE(follows(forced, c.first + c.end + " "));
      std::string other = c.first + c.end;
      const std::string name = c.format == kCoder      ? "=f>"
                               : c.format == kGlm      ? ">f"
                               : c.format == kPythonic ? "[f("
                               : c.format == kHarmony  ? ".f "
                                                       : "\"f\"";
      other.replace(other.find(name) + 1, 1, "g");
      CHECK_FALSE(follows(forced, other));
      other = c.first + c.end;
      other.replace(other.find('1'), 1, "\"1\"");
      CHECK_FALSE(follows(forced, other));
    }
    CHECK_FALSE(follows(one, c.first + c.second + c.end));
  }
}

TEST_CASE("a model that reasons may do so before its forced call") {
  const std::string call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": -2}}\n</tool_call>";
  const ForcedCalls fresh{kQwen3, false, false}, opened{kQwen3, true, false};
  CHECK(follows(fresh, call));
  CHECK(follows(fresh, "<think>\nHm <tool_call>\n</think>\n\n" + call));
  CHECK(follows(fresh, "\n<think>Hm</think>\n" + call));  // as GLM does
  CHECK_FALSE(follows(fresh, "\n" + call));
  CHECK_FALSE(follows(fresh, "\nHm.\n</think>\n\n" + call));
  CHECK(follows(opened, "\nHm.\n</think>\n\n" + call));
  CHECK_FALSE(follows(opened, call));
  CHECK_FALSE(follows(opened, "a</think>b</think>" + call));
  CHECK(calls_in(kQwen3, "\nHm.\n</think>\n\n" + call, true) == "f={\"n\": -2}");
}

TEST_CASE("harmony: a forced call's header may be any that the model writes, behind its analysis or not") {
  const ForcedCalls fresh{kHarmony, false, false}, opened{kHarmony, true, false};
  const std::string call = "<|channel|>commentary to=functions.f<|message|>{\"n\": -2}";
  const std::string thought = "Hm <|channel|>\n<|end|><|start|>assistant";
  const std::string begin = "<|channel|>analysis<|message|>";
  for (const char* type : {"", " json", "<|constrain|>json", " <|constrain|>json"}) {
    for (const char* header :
         {"<|channel|>commentary to=functions.f", " to=functions.f<|channel|>commentary"}) {
      const std::string written = std::string(header) + type + "<|message|>{\"n\": -2}";
      CHECK(follows(fresh, written));
      CHECK(calls_in(kHarmony, written, false) == "f={\"n\": -2}");
    }
  }
  CHECK(follows(fresh, begin + thought + call));
  CHECK(follows(opened, thought + call));
  CHECK(calls_in(kHarmony, thought + call, true) == "f={\"n\": -2}");
  CHECK_FALSE(follows(fresh, thought + call));
  CHECK_FALSE(follows(opened, call));
  for (const char* other :
       {"<|channel|>final<|message|>{\"n\": -2}", "<|channel|>commentary<|message|>{\"n\": -2}",
        "<|channel|>commentary to=f<|message|>{\"n\": -2}", "<|channel|>analysis<|message|>Hm.<|end|>",
        "<|channel|>commentary to=functions.f code<|message|>{\"n\": -2}"})
    CHECK_FALSE(follows(fresh, other));
}

TEST_CASE("what comes before an answer in a format") {
  const auto goes = [](ReasoningFormat format, bool inside, const std::string& text) {
    GrammarText grammar;
    const std::string first = before_answer(grammar, format, inside);
    const auto result = follows_grammar(grammar.text(first + "\"x\""), text);
    REQUIRE(result);
    return *result;
  };
  CHECK(goes(ReasoningFormat::none, false, "x"));
  CHECK(goes(ReasoningFormat::think, false, "<think>Hm.</think>\nx"));
  const auto harmony = ReasoningFormat::harmony;
  const std::string thought = "Hm.<|end|><|start|>assistant", final = "<|channel|>final";
  for (const char* type : {"", " <|constrain|>json", "<|constrain|>json"}) {
    CHECK(goes(harmony, false, final + type + "<|message|>x"));
    CHECK(goes(harmony, false, "<|channel|>analysis<|message|>" + thought + final + type + "<|message|>x"));
    CHECK(goes(harmony, true, thought + final + type + "<|message|>x"));
    CHECK_FALSE(goes(harmony, true, final + type + "<|message|>x"));
  }
  CHECK_FALSE(goes(harmony, false, "x"));
  CHECK_FALSE(goes(harmony, false, "<|channel|>commentary<|message|>x"));
}

namespace {

// Whether the arguments of a call of f are among those that the grammar lets through; `text` is what stands
// between its name and its end.
class Arguments {
 public:
  Arguments(const AnswerFormat& format, const char* schema) : format_(format), schema_(Json::parse(schema)) {
    GrammarText out;
    const auto f = forced_function(out, format.calls, "f", &schema_);
    if (!f) {
      error_ = f.error().message;
      return;
    }
    grammar_ = out.text(forced_calls(out, {format}, {&*f, 1}));
  }

  const std::string& error() const { return error_; }
  bool allow(const std::string& text) const {
    const auto result = follows_grammar(grammar_, whole(text));
    INFO(grammar_);
    REQUIRE(result);
    return *result;
  }
  // As the parser reads them.
  std::string read(const std::string& text) const {
    CHECK(allow(text));
    const std::string call = calls_in(format_, whole(text), false, schema_);
    REQUIRE(call.starts_with("f="));
    return Json::parse(call.substr(2)).dump();
  }

 private:
  std::string whole(const std::string& text) const {
    if (format_ == kPythonic) return "[f(" + text + ")]";
    if (format_ == kGlm) return "<tool_call>f\n" + text + "</tool_call>";
    return "<tool_call>\n<function=f>\n" + text + "</function>\n</tool_call>";
  }

  AnswerFormat format_;
  Json schema_;
  std::string grammar_, error_;
};

std::string tagged(const std::string& name, const std::string& value) {
  return "<parameter=" + name + ">\n" + value + "\n</parameter>\n";
}

std::string keyed(const std::string& name, const std::string& value) {
  return "<arg_key>" + name + "</arg_key>\n<arg_value>" + value + "</arg_value>\n";
}

constexpr const char* kMany = R"({
  "type": "object",
  "properties": {
    "s": {"type": "string"}, "i": {"type": "integer"}, "o": {"$ref": "#/$defs/point"},
    "e": {"enum": ["up", "down"]}, "never": false, "m": {"type": ["string", "null"]}
  },
  "required": ["i", "unknown"],
  "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}}, "additionalProperties": false}}
})";

}  // namespace

TEST_CASE("qwen3_coder: forced arguments are strings as they are, and other values by their schemas") {
  const Arguments many(kCoder, kMany);
  const std::string i = tagged("i", "-12"), unknown = tagged("unknown", "?");
  CHECK(many.read(i + unknown) == R"({"i":-12,"unknown":"?"})");
  CHECK(many.read(tagged("s", "a \"b\" </x>\nc\n") + i + tagged("o", "{\"x\": 1.5}") + tagged("e", "down") +
                  tagged("m", "null") + unknown) ==
        R"({"s":"a \"b\" </x>\nc\n","i":-12,"o":{"x":1.5},"e":"down","m":null,"unknown":"?"})");
  CHECK(many.read("<parameter=s>\n</parameter>\n" + i + unknown) == R"({"s":"","i":-12,"unknown":"?"})");
  CHECK_FALSE(many.allow(""));
  CHECK_FALSE(many.allow(i));
  CHECK_FALSE(many.allow(unknown + i));
  CHECK_FALSE(many.allow(i + i + unknown));
  CHECK_FALSE(many.allow(tagged("i", "one") + unknown));
  CHECK_FALSE(many.allow(i + tagged("o", "[1]") + unknown));
  CHECK_FALSE(many.allow(i + tagged("o", "{\"y\": 1}") + unknown));
  CHECK_FALSE(many.allow(i + tagged("e", "left") + unknown));
  CHECK_FALSE(many.allow(i + tagged("never", "1") + unknown));
  CHECK_FALSE(many.allow(i + tagged("other", "1") + unknown));
  const Arguments constant(kCoder, R"({"properties": {"c": {"const": "x"}}})");
  CHECK(constant.read("") == "{}");
  const Arguments twice(kCoder, R"({"required": ["r", "r"]})");
  CHECK(twice.read(tagged("r", "x")) == R"({"r":"x"})");
  CHECK_FALSE(twice.allow(tagged("r", "x") + tagged("r", "x")));
  CHECK(constant.read(tagged("c", "x")) == R"({"c":"x"})");
  CHECK_FALSE(constant.allow(tagged("c", "y")));
}

TEST_CASE("glm45: forced arguments are strings as they are, and other values by their schemas") {
  const Arguments many(kGlm, kMany);
  const std::string i = keyed("i", "-12"), unknown = keyed("unknown", "?");
  CHECK(many.read(i + unknown) == R"({"i":-12,"unknown":"?"})");
  CHECK(many.read(keyed("s", "\na \"b\" </x>\nc\n") + i + keyed("o", "{\"x\": 1.5}") + keyed("e", "down") +
                  keyed("m", "null") + unknown) ==
        R"({"s":"\na \"b\" </x>\nc\n","i":-12,"o":{"x":1.5},"e":"down","m":null,"unknown":"?"})");
  CHECK(many.read(keyed("s", "") + i + unknown) == R"({"s":"","i":-12,"unknown":"?"})");
  CHECK(many.read("<arg_key>i</arg_key><arg_value>0</arg_value><arg_key>unknown</arg_key><arg_value>?"
                  "</arg_value>") == R"({"i":0,"unknown":"?"})");
  for (const std::string& text :
       {std::string(), i, unknown + i, i + i + unknown, keyed("i", "one") + unknown,
        keyed("i", "1\n") + unknown, i + keyed("o", "[1]") + unknown, i + keyed("e", "left") + unknown,
        i + keyed("e", "down\n") + unknown, i + keyed("never", "1") + unknown,
        i + keyed("other", "1") + unknown, i + "\n" + unknown})
    CHECK_FALSE(many.allow(text));
  const Arguments listed(kGlm, R"({"properties": {"p": {"enum": ["5", 1.5, "</parameter>"]}}})");
  CHECK(listed.read("") == "{}");
  CHECK(listed.read(keyed("p", "5")) == R"({"p":"5"})");
  CHECK(listed.read(keyed("p", "1.5")) == R"({"p":1.5})");
  CHECK(listed.read(keyed("p", "</parameter>")) == R"({"p":"</parameter>"})");
  CHECK(Arguments(kGlm, R"({"properties": {"p": {"enum": ["a</arg_value>"]}}})").error() ==
        "enum: a value has </arg_value> in it");
}

TEST_CASE("qwen3_coder: forced strings are among those that the schema lists, wherever it does") {
  const auto of = [](const std::string& schema) {
    return Arguments(kCoder, (R"({"properties": {"p": )" + schema + R"(}, "required": ["p"], "$defs": {
      "c": {"type": "string", "enum": ["aa", "bb"]}, "round": {"anyOf": [{"$ref": "#/$defs/round"}]}}})")
                                 .c_str());
  };
  const auto p = [](const std::string& text) { return tagged("p", text); };
  for (const char* schema :
       {R"({"$ref": "#/$defs/c"})", R"({"allOf": [{"$ref": "#/$defs/c"}], "default": "aa"})",
        R"({"oneOf": [{"const": "aa"}, {"const": "bb"}]})",
        R"({"type": ["string", "null"], "enum": ["aa", "bb", 5]})",
        R"({"$ref": "#/$defs/c", "enum": ["aa", "bb", "cc"]})",
        R"({"anyOf": [{"$ref": "#/$defs/c"}, {"const": "bb"}, false]})"}) {
    const Arguments listed = of(schema);
    CHECK(listed.read(p("aa")) == R"({"p":"aa"})");
    CHECK(listed.read(p("bb")) == R"({"p":"bb"})");
    for (const char* text : {"", "a", "cc", "aab", "null", "5"}) CHECK_FALSE(listed.allow(p(text)));
  }
  const Arguments maybe = of(R"({"anyOf": [{"$ref": "#/$defs/c"}, {"type": "null"}]})");
  CHECK(maybe.read(p("bb")) == R"({"p":"bb"})");
  CHECK(maybe.read(p("null")) == R"({"p":null})");
  CHECK_FALSE(maybe.allow(p("cc")));
  const Arguments digits = of(R"({"type": ["string", "number"], "enum": ["5", "x"]})");
  CHECK(digits.read(p("5")) == R"({"p":"5"})");
  CHECK(of(R"({"enum": ["5", 1.5]})").read(p("5")) == R"({"p":"5"})");
  CHECK(of(R"({"enum": ["5", 1.5]})").read(p("1.5")) == R"({"p":1.5})");
  // Not all of it lists values.
  for (const char* schema : {R"({"anyOf": [{"$ref": "#/$defs/c"}, {"type": "string"}]})",
                             R"({"$ref": "#/$defs/round"})", R"({"$ref": "#/$defs/nowhere"})"})
    CHECK(of(schema).read(p("cc")) == R"({"p":"cc"})");
  for (const char* schema :
       {R"({"type": "string", "enum": [1]})", R"({"$ref": "#/$defs/c", "const": "cc"})", R"({"enum": []})"})
    CHECK(of(schema).error().starts_with("enum: "));
}

TEST_CASE("pythonic: forced arguments are values by their schemas, with commas between them") {
  const Arguments many(kPythonic, kMany);
  CHECK(many.read("i=-12, unknown=[1]") == R"({"i":-12,"unknown":[1]})");
  CHECK(many.read("s=\"it's \\ud83d\\ude00\\/\", i=0, o={\"x\": 1.5}, e=\"up\", m=null, unknown=true") ==
        "{\"s\":\"it's "
        "\xf0\x9f\x98\x80/\",\"i\":0,\"o\":{\"x\":1.5},\"e\":\"up\",\"m\":null,\"unknown\":true}");
  CHECK(many.read("i=1, m=\"a\", unknown=1") == R"({"i":1,"m":"a","unknown":1})");
  for (const char* text :
       {"", "i=1", "unknown=1", "i=1, unknown=1, ", ", i=1, unknown=1", "i=1, i=1, unknown=1",
        "i=\"1\", unknown=1", "i=1, e=\"left\", unknown=1", "unknown=1, i=1", "i=1 unknown=1"})
    CHECK_FALSE(many.allow(text));
  const Arguments optional(kPythonic,
                           R"({"properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}})");
  for (const char* text : {"", "a=1", "b=2", "c=3", "a=1, b=2", "a=1, c=3", "b=2, c=3", "a=1, b=2, c=3"})
    CHECK(optional.allow(text));
  for (const char* text : {"b=2, a=1", "a=1, ", ", a=1", "a=1b=2", "a=1, a=1"})
    CHECK_FALSE(optional.allow(text));
  const Arguments last(kPythonic,
                       R"({"properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["b"]})");
  for (const char* text : {"b=2", "a=1, b=2"}) CHECK(last.allow(text));
  for (const char* text : {"", "a=1", "a=1, "}) CHECK_FALSE(last.allow(text));
}

TEST_CASE("what a format cannot write is refused by name") {
  const auto error = [](const AnswerFormat& format, const char* schema) {
    return Arguments(format, schema).error();
  };
  for (const AnswerFormat& format : {kCoder, kGlm, kPythonic}) {
    CHECK(error(format, R"({"anyOf": [{"required": ["a"]}]})").starts_with("anyOf: "));
    CHECK(error(format, R"({"minProperties": 1})").starts_with("minProperties: "));
    CHECK(error(format, R"({"properties": {"a<b": {}}})").starts_with("properties: \"a<b\" "));
    CHECK(error(format, R"({"properties": {"": {}}})").starts_with("properties: "));
    CHECK(error(format, R"({"properties": {"a": {"type": "number", "multipleOf": 2}}})")
              .starts_with("multipleOf: "));
    CHECK(error(format, R"({"properties": [1]})").starts_with("properties: "));
    CHECK(error(format, R"({"required": [1]})").starts_with("required: "));
    CHECK(error(format, R"({"required": {"a": 1}})").starts_with("required: "));
    CHECK(error(format, R"({"properties": {"a": false}, "required": ["a"]})").starts_with("required: "));
    const Json names = std::vector<std::string>(300000, "a");
    CHECK(error(format, Json{{"required", names}}.dump().c_str()).empty());  // the same one
    Json others = Json::array();
    for (std::size_t i = 0; i < names.size(); ++i) others.push_back("a" + std::to_string(i));
    CHECK(
        error(format, Json{{"required", others}}.dump().c_str()).ends_with("takes too much to put together"));
    for (const std::string name : {"a b", "a>b", ""}) {
      GrammarText out;
      CHECK(forced_function(out, format.calls, name, nullptr).error().code == ErrorCode::unsupported);
    }
  }
  for (const std::string name : {"a b", "a<b", ""}) {
    GrammarText out;
    CHECK(forced_function(out, CallFormat::harmony, name, nullptr).error().code == ErrorCode::unsupported);
  }
  CHECK(error(kCoder, R"({"properties": {"a b": {}}})").empty());
  CHECK(error(kPythonic, R"({"properties": {"a b": {}}})").starts_with("properties: "));
  CHECK(error(kCoder, R"({"properties": {"a": {"enum": ["</parameter>"]}}})").starts_with("enum: "));
  CHECK(error(kHermes, R"({"anyOf": [{"type": "object"}]})").empty());
}
