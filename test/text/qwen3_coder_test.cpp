// Qwen 3 Coder's calls: tags around bare text, which the function's schema makes values of.
#include <nlohmann/json.hpp>

#include "text/told.hpp"

using namespace baton;
using namespace baton::test;
using Json = nlohmann::ordered_json;

namespace {

constexpr AnswerFormat kCoder{CallFormat::qwen3_coder, ReasoningFormat::none};

const ParameterTypes& types() {
  static const Json kSchema = Json::parse(R"({
    "type": "object",
    "properties": {
      "s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"}, "b": {"type": "boolean"},
      "o": {"type": "object"}, "a": {"type": "array"}, "z": {"type": "null"},
      "either": {"type": ["string", "null"]}, "maybe": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
      "ref": {"$ref": "#/$defs/point"}, "all": {"allOf": [{"$ref": "#/$defs/point"}]},
      "round": {"$ref": "#/$defs/round"}, "gone": {"$ref": "#/$defs/nowhere"},
      "listed": {"enum": [1, "one"]}, "one": {"const": 1}, "bare": {"properties": {}}, "items": {"items": {}},
      "any": {}, "yes": true, "odd": {"type": "whatever"}
    },
    "$defs": {"point": {"type": "object"}, "round": {"anyOf": [{"$ref": "#/$defs/round"}, {"$ref": "#/$defs/round"}]}}
  })");
  static const ParameterTypes kTypes(
      Json::array({{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", kSchema}}}}}));
  return kTypes;
}

std::string parse(std::string_view text) { return test::parse(kCoder, text, false, &types()); }

std::string call(const std::string& name, const std::string& value, const std::string& function = "f") {
  return "<tool_call>\n<function=" + function + ">\n<parameter=" + name + ">\n" + value +
         "\n</parameter>\n</function>\n</tool_call>";
}

// The JSON of f's only argument.
std::string value(const std::string& name, const std::string& text) {
  return test::only_argument(parse(call(name, text)), "f", name);
}

}  // namespace

TEST_CASE("qwen3_coder: calls, one or several, with content around them") {
  CHECK(parse(call("s", "Oslo")) == "B(f)A({\"s\": \"Oslo\"})");
  CHECK(parse("So:\n\n" + call("s", "a") + "\n" + call("i", "2") + "\nDone. ") ==
        "C(So:)B(f)A({\"s\": \"a\"})B(f)A({\"i\": 2})C(Done. )");
  CHECK(parse("<tool_call>\n<function=f>\n<parameter=s>\na\n</parameter>\n<parameter=i>\n1\n</parameter>\n"
              "</function>\n</tool_call>") == "B(f)A({\"s\": \"a\", \"i\": 1})");
  CHECK(parse("<tool_call><function=now></function></tool_call>") == "B(now)A({})");
  CHECK(parse("<tool_call><function=f><parameter=s>a</parameter><parameter=n>1.5</parameter></function>"
              "</tool_call>") == "B(f)A({\"s\": \"a\", \"n\": 1.5})");
  // Several in one outer tag, and none: the model forgets it.
  CHECK(parse("<tool_call>\n<function=f>\n</function>\n<function=g>\n</function>\n</tool_call>") ==
        "B(f)A({})B(g)A({})");
  CHECK(parse("Go.\n<function=f>\n<parameter=s>\na\n</parameter>\n</function>\n</tool_call>\nx") ==
        "C(Go.)B(f)A({\"s\": \"a\"})C(x)");
  // What is missing at its end.
  CHECK(parse("<tool_call>\n<function=f>\n<parameter=s>\na\n</parameter>\n</tool_call>\nx") ==
        "B(f)A({\"s\": \"a\"})C(x)");
  CHECK(parse("<tool_call>\n<function=f>\n<parameter=a b\">\n1\n</parameter>\n</function>") ==
        "B(f)A({\"a b\\\"\": \"1\"})");
}

TEST_CASE("qwen3_coder: a string is what stands between the tags, but for a line break at either end") {
  CHECK(value("s", "a\nb") == "\"a\\nb\"");
  CHECK(value("s", "\na\n") == "\"\\na\\n\"");
  CHECK(value("s", "  a  ") == "\"  a  \"");
  CHECK(value("s", "") == "\"\"");
  CHECK(parse("<tool_call><function=f><parameter=s></parameter></function></tool_call>") ==
        "B(f)A({\"s\": \"\"})");
  CHECK(parse("<tool_call><function=f><parameter=s>\n</parameter></function></tool_call>") ==
        "B(f)A({\"s\": \"\"})");
  CHECK(value("s", "\"q\" \\ \t\r\x01 \xc3\xa9") == "\"\\\"q\\\" \\\\ \\t\\r\\u0001 \xc3\xa9\"");
  CHECK(value("s", "</function> < </parameter </parameterx> <parameter=t>") ==
        "\"</function> < </parameter </parameterx> <parameter=t>\"");
  CHECK(value("s", "12") == "\"12\"");
  CHECK(value("s", "null") == "\"null\"");
}

TEST_CASE("qwen3_coder: the schema's type decides what a value is") {
  CHECK(value("i", "12") == "12");
  CHECK(value("i", " -3\n") == "-3");
  CHECK(value("i", "twelve") == "\"twelve\"");
  CHECK(value("i", "[1]") == "\"[1]\"");
  CHECK(value("i", "007") == "\"007\"");
  CHECK(value("i", "1 2") == "\"1 2\"");
  CHECK(value("n", "1.50") == "1.50");
  CHECK(value("n", "3") == "3");
  CHECK(value("n", "1e999") == "\"1e999\"");
  CHECK(value("b", "true") == "true");
  CHECK(value("b", "False") == "false");
  CHECK(value("b", "1") == "\"1\"");
  CHECK(value("z", "None") == "null");
  CHECK(value("i", "null") == "null");  // left out, whatever the schema says
  CHECK(value("o", "{\"a\": [1,\n 2]}") == "{\"a\": [1,\n 2]}");
  CHECK(value("o", "{'a': (1, True)}") == "{\"a\": [1, true]}");
  CHECK(value("o", "{\"a\": ") == "\"{\\\"a\\\": \"");
  CHECK(value("o", "[1]") == "\"[1]\"");
  CHECK(value("a", "[\"x\", 'y']") == "[\"x\", \"y\"]");
  CHECK(value("a", "") == "\"\"");
  CHECK(value("i", std::string("12\0", 3)) == "\"12\\u0000\"");
  CHECK(value("a", "['\xff']") == "\"['\xff']\"");  // no UTF-8: nobody reads it as JSON
}

TEST_CASE("qwen3_coder: schemas of several types, of references, and of none") {
  CHECK(value("either", "null") == "null");
  CHECK(value("either", "nullx") == "\"nullx\"");
  CHECK(value("either", "1") == "\"1\"");
  CHECK(value("maybe", "5") == "5");
  CHECK(value("maybe", "five") == "\"five\"");
  CHECK(value("maybe", "null") == "\"null\"");
  CHECK(value("maybe", "\"5\"") == "\"\\\"5\\\"\"");
  for (const char* name : {"ref", "all", "bare"}) CHECK(value(name, "{\"x\": 1}") == "{\"x\": 1}");
  CHECK(value("items", "[1]") == "[1]");
  CHECK(value("listed", "1") == "1");
  CHECK(value("listed", "one") == "\"one\"");
  CHECK(value("one", "1") == "1");
  for (const char* name : {"any", "yes", "odd", "gone", "round", "unheard_of"})
    CHECK(value(name, "1") == "\"1\"");
  CHECK(parse(call("i", "1", "g")) == "B(g)A({\"i\": \"1\"})");
  CHECK(test::parse(kCoder, call("i", "1")) == "B(f)A({\"i\": \"1\"})");  // without any types
  for (const char* tools :
       {"null", "[1]", "[{}]", R"([{"function": {"name": 1}}])",
        R"([{"function": {"name": "f", "parameters": []}}])",
        R"([{"function": {"name": "f", "parameters": {"properties": [1]}}}])",
        R"([{"function": {"name": "f", "parameters": {"properties": {"i": {"$ref": 1}}}}}])"}) {
    const ParameterTypes odd(Json::parse(tools));
    CHECK(test::told(kCoder, {call("i", "1")}, false, &odd) == "B(f)A({\"i\": \"1\"})");
  }
}

TEST_CASE("qwen3_coder: where the schema lists values, a text is a string unless it is another of them") {
  const ParameterTypes listed(Json::parse(R"([{"function": {"name": "f", "parameters": {
    "properties": {
      "digits": {"type": ["string", "number"], "enum": ["5", "x"]}, "mixed": {"enum": ["5", 1.5, [1]]},
      "maybe": {"anyOf": [{"$ref": "#/$defs/c"}, {"type": "null"}]},
      "sloppy": {"type": ["string", "null"], "enum": ["a", "b"]},
      "null": {"type": ["string", "null"], "enum": ["null", "b"]},
      "all": {"allOf": [{"type": ["string", "boolean"]}, {"enum": ["true", false, "no"]}, {"enum": ["true", "no"]}]},
      "numbers": {"enum": [1, 2]}, "open": {"anyOf": [{"enum": ["5"]}, {"type": "number"}]}
    },
    "$defs": {"c": {"type": "string", "enum": ["1", "true"]}}}}}])"));
  const auto value = [&](const std::string& name, const std::string& text) {
    const std::string told = test::told(kCoder, {call(name, text)}, false, &listed);
    const std::string begin = "B(f)A({\"" + name + "\": ";
    REQUIRE(told.starts_with(begin));
    return told.substr(begin.size(), told.size() - begin.size() - 2);
  };
  CHECK(value("digits", "5") == "\"5\"");
  CHECK(value("digits", "7") == "\"7\"");
  CHECK(value("mixed", "5") == "\"5\"");
  CHECK(value("mixed", "1.5") == "1.5");
  CHECK(value("mixed", "[1]") == "[1]");
  CHECK(value("mixed", "[2]") == "\"[2]\"");
  CHECK(value("maybe", "1") == "\"1\"");
  CHECK(value("maybe", "null") == "null");
  CHECK(value("sloppy", "null") == "null");
  CHECK(value("sloppy", "None") == "null");
  CHECK(value("sloppy", "a") == "\"a\"");
  CHECK(value("null", "null") == "\"null\"");
  CHECK(value("all", "true") == "\"true\"");
  CHECK(value("all", "false") == "\"false\"");
  CHECK(value("numbers", "3") == "3");
  CHECK(value("open", "5") == "5");
}

TEST_CASE("qwen3_coder: what schemas make of little text is bounded, for all parameters together") {
  const auto told = [](const Json& schema, const std::string& name) {
    const ParameterTypes types(Json::array({{{"function", {{"name", "f"}, {"parameters", schema}}}}}));
    return test::told(kCoder, {call(name, "1")}, false, &types);
  };
  const auto referring = [](std::size_t parameters, const char* target) {
    Json schema = {{"properties", Json::object()}, {"$defs", Json::object()}};
    for (std::size_t i = 0; i < parameters; ++i)
      schema["properties"]["p" + std::to_string(i)]["$ref"] = target;
    return schema;
  };
  for (const auto& [listed, last] : {std::pair{1000UL, "1"}, std::pair{200000UL, "\"1\""}}) {
    Json schema = referring(50, "#/$defs/e");
    schema["$defs"]["e"]["enum"] = std::vector<int>(listed, 1);
    CHECK(told(schema, "p0") == "B(f)A({\"p0\": 1})");
    CHECK(told(schema, "p49") == "B(f)A({\"p49\": " + std::string(last) + "})");
  }
  Json many = referring(6000, "#/$defs/d3999");  // keys that are passed over count
  for (std::size_t i = 0; i < 4000; ++i) many["$defs"]["d" + std::to_string(i)]["type"] = "integer";
  CHECK(told(many, "p0") == "B(f)A({\"p0\": 1})");
  CHECK(told(many, "p5999") == "B(f)A({\"p5999\": \"1\"})");
}

TEST_CASE("qwen3_coder: what is no call is content, to the last byte") {
  for (const char* text : {"",
                           " ",
                           "a < b",
                           "<tool_call",
                           "<tool_call>",
                           "<tool_call>\nx</tool_call>\n",
                           "a\n<tool_call> <b>",
                           "<function=",
                           "<function=>",
                           "<function=f",
                           "<function=a b>",
                           "<tool_call>\n<function=f>",
                           "<tool_call>\n<function=f>\n</tool_call>",
                           "<function=f>\n hello",
                           "<function=f>\n<parameter=",
                           "<function=f><parameter=>",
                           "<function=f><parameter=s",
                           "<function=f><parameter=a<",
                           "\n</tool_call>",
                           "</function>",
                           "<tool_call>{\"name\": \"f\"}</tool_call>",
                           "<parameter=a>\n1\n</parameter>"}) {
    INFO(text);
    CHECK(parse(text) == (*text == 0 ? "" : "C(" + std::string(text) + ")"));
  }
  // A marker inside what is no call is found.
  CHECK(parse("<tool_call>\n<tool_call><function=f></function>") == "C(<tool_call>)B(f)A({})");
  CHECK(parse("<function=f> <function=g></function>") == "C(<function=f>)B(g)A({})");
}

TEST_CASE("qwen3_coder: calls that are cut or broken tell what came, and no marker") {
  CHECK(parse("<function=f><parameter=s>\nab") == "B(f)A({\"s\": \"ab)");
  CHECK(parse("<function=f><parameter=s>\nab\n</param") == "B(f)A({\"s\": \"ab)");
  CHECK(parse("<function=f><parameter=s>\nab\n") == "B(f)A({\"s\": \"ab)");
  CHECK(parse("<function=f><parameter=i>\n1") == "B(f)A({\"i\": )");
  CHECK(parse("<function=f><parameter=i>\n1</parameter>\n") == "B(f)A({\"i\": 1)");
  CHECK(parse("<function=f><parameter=i>\n1</parameter>\n<parameter=s") == "B(f)A({\"i\": 1)");
  CHECK(parse("<function=f></function>\n</tool_c") == "B(f)A({})");
  CHECK(parse("<function=f><parameter=i>1</parameter>\nand so on</tool_call>") ==
        "B(f)A({\"i\": 1)C(and so on)");
  CHECK(parse("<function=f><parameter=i>1</parameter>\n<function=g></function>") ==
        "B(f)A({\"i\": 1)B(g)A({})");
  CHECK(parse("<function=f><parameter=i>1</parameter><parameter=>") == "B(f)A({\"i\": 1)C(<parameter=>)");
}

TEST_CASE("qwen3_coder: strings come as they are written, other values once they are whole") {
  const auto at_once = [](std::string_view text) { return test::at_once(kCoder, text, false, &types()); };
  CHECK(at_once("Hello, <f") == "C(Hello,)");
  CHECK(at_once("<function=f>\n") == "");
  CHECK(at_once("<function=f>\n<parameter=s>") == "B(f)A({\"s\": \")");
  CHECK(at_once("<function=f>\n<parameter=s>\none \"two") == "B(f)A({\"s\": \"one \\\"two)");
  CHECK(at_once("<function=f>\n<parameter=i>\n12") == "B(f)A({\"i\": )");
  CHECK(at_once("<function=f>\n<parameter=i>\n12\n</parameter>") == "B(f)A({\"i\": 12)");
}

TEST_CASE("qwen3_coder: depth and size are bounded") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  const auto told = [](const std::string& text) { return test::told(kCoder, {text}, false, &types()); };
  CHECK(told(call("a", nested(63))) == "B(f)A({\"a\": " + nested(63) + "})");
  for (const std::size_t depth : {65UL, 100000UL})
    CHECK(told(call("a", nested(depth))) == "B(f)A({\"a\": \"" + nested(depth) + "\"})");
  // Not held for ever.
  const std::string spaces(100000, ' '), name(2000, 'n'), million(1100000, '1');
  for (const std::string& text : {"<tool_call>" + spaces, "<function=f>" + spaces, "<function=" + name,
                                  "<function=f><parameter=" + name}) {
    CHECK(test::at_once(kCoder, text).size() > text.size() - 100);
    CHECK(told(text) == "C(" + text + ")");
  }
  CHECK(told(call("i", million)) == "B(f)A({\"i\": \"" + million + "\"})");
  CHECK(test::at_once(kCoder, "<function=f><parameter=i>" + million, false, &types()).size() >
        million.size());
}
