// GLM's calls: keys and values in tags of their own, values as bare text, which the function's schema makes
// values of.
#include <nlohmann/json.hpp>

#include "text/told.hpp"

using namespace baton;
using namespace baton::test;
using Json = nlohmann::ordered_json;

namespace {

constexpr AnswerFormat kGlm{CallFormat::glm45, ReasoningFormat::none};
constexpr AnswerFormat kThinking{CallFormat::glm45, ReasoningFormat::think};

const ParameterTypes& types() {
  static const ParameterTypes kTypes(
      Json::parse(R"([{"type": "function", "function": {"name": "f", "parameters": {
    "type": "object",
    "properties": {
      "s": {"type": "string"}, "i": {"type": "integer"}, "b": {"type": "boolean"}, "o": {"type": "object"},
      "a": {"type": "array"}, "maybe": {"type": ["string", "null"]}, "listed": {"enum": [1, "1", "one"]}
    }}}}])"));
  return kTypes;
}

std::string parse(std::string_view text) { return test::parse(kGlm, text, false, &types()); }

std::string argument(const std::string& name, const std::string& value) {
  return "<arg_key>" + name + "</arg_key>\n<arg_value>" + value + "</arg_value>\n";
}
std::string call(const std::string& name, const std::string& value) {
  return "<tool_call>f\n" + argument(name, value) + "</tool_call>";
}

// The JSON of f's only argument.
std::string value(const std::string& name, const std::string& text) {
  return test::only_argument(parse(call(name, text)), "f", name);
}

}  // namespace

TEST_CASE("glm45: calls, one or several, with content around them") {
  CHECK(parse(call("s", "Paris")) == "B(f)A({\"s\": \"Paris\"})");
  CHECK(parse("<tool_call>f\n" + argument("s", "a") + argument("i", "3") + "</tool_call>") ==
        "B(f)A({\"s\": \"a\", \"i\": 3})");
  CHECK(parse("So:\n\n" + call("s", "a") + "\n" + call("i", "2") + "\nDone. ") ==
        "C(So:)B(f)A({\"s\": \"a\"})B(f)A({\"i\": 2})C(Done. )");
  for (const char* none : {"<tool_call>now</tool_call>", "<tool_call>now\n</tool_call>",
                           "<tool_call>\n now \n\n</tool_call>", "\n<tool_call>now\t</tool_call>\n"})
    CHECK(parse(none) == "B(now)A({})");
  CHECK(parse("<tool_call>f</tool_call><tool_call>g</tool_call>") == "B(f)A({})B(g)A({})");
  CHECK(parse("<tool_call>f</tool_call>\n</tool_call>") == "B(f)A({})C(</tool_call>)");
}

TEST_CASE("glm45: white space between the parts is free") {
  const std::string told = "B(f)A({\"s\": \"a\", \"i\": 1})";
  CHECK(parse("<tool_call>f<arg_key>s</arg_key><arg_value>a</arg_value><arg_key>i</arg_key>"
              "<arg_value>1</arg_value></tool_call>") == told);
  CHECK(parse("<tool_call>f <arg_key>s</arg_key> <arg_value>a</arg_value> <arg_key>i</arg_key> "
              "<arg_value>1</arg_value> </tool_call>") == told);
  CHECK(
      parse(
          "<tool_call>\n\tf\r\n\r\n<arg_key>s</arg_key>\r\n\t<arg_value>a</arg_value>\n\n<arg_key>i</arg_key>"
          "\n\n<arg_value>1</arg_value>\n\n</tool_call>\n ") == told);
}

TEST_CASE("glm45: a string is all that stands between its tags") {
  CHECK(value("s", "") == "\"\"");
  CHECK(value("s", "\na\n") == "\"\\na\\n\"");
  CHECK(value("s", " \n ") == "\" \\n \"");
  CHECK(value("s", "\"q\" \\ \t\x01 \xc3\xa9") == "\"\\\"q\\\" \\\\ \\t\\u0001 \xc3\xa9\"");
  CHECK(value("s", "<arg_key> </arg_key> </arg_value </tool_call> <arg_value> < </ar") ==
        "\"<arg_key> </arg_key> </arg_value </tool_call> <arg_value> < </ar\"");
  CHECK(value("s", "12") == "\"12\"");
  CHECK(value("s", "null") == "\"null\"");
}

TEST_CASE("glm45: the schema's type decides what a value is") {
  CHECK(value("i", "12") == "12");
  CHECK(value("i", "\n -3 \n") == "-3");
  CHECK(value("i", "twelve") == "\"twelve\"");
  CHECK(value("i", "null") == "null");
  CHECK(value("b", "true") == "true");
  CHECK(value("b", "False") == "false");
  CHECK(value("o", "{\"a\": [1,\n 2]}") == "{\"a\": [1,\n 2]}");
  CHECK(value("o", "{'a': None}") == "{\"a\": null}");
  CHECK(value("o", "{\"a\": ") == "\"{\\\"a\\\": \"");
  CHECK(value("a", "{}") == "\"{}\"");
  CHECK(value("maybe", "null") == "null");
  CHECK(value("maybe", "1") == "\"1\"");
  CHECK(value("listed", "1") == "1");
  CHECK(value("listed", "one") == "\"one\"");
  CHECK(value("unheard of", "1") == "\"1\"");
  CHECK(test::parse(kGlm, call("i", "1")) == "B(f)A({\"i\": \"1\"})");  // without any types
  CHECK(parse("<tool_call>g\n" + argument("i", "1") + "</tool_call>") == "B(g)A({\"i\": \"1\"})");
  CHECK(parse(call("a \"b\" \\", "1")) == "B(f)A({\"a \\\"b\\\" \\\\\": \"1\"})");
}

TEST_CASE("glm45: what is no call is content, to the last byte") {
  for (const char* text : {" ",
                           "a < b",
                           "<tool_call",
                           "<tool_call>",
                           "<tool_call>\nf",
                           "<tool_call></tool_call>",
                           "<tool_call> \n</tool_call>\n",
                           "a\n<tool_call> is the marker",
                           "<tool_call>f\ng</tool_call>",
                           "<tool_call>a b</tool_call>",
                           "<tool_call>f <b>",
                           "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
                           "<tool_call>f\n<arg_key>",
                           "<tool_call>f\n<arg_key>s",
                           "<tool_call>f\n<arg_key></arg_key>\n<arg_value>1</arg_value></tool_call>",
                           "<tool_call>f\n<arg_key>s\n</arg_key><arg_value>1</arg_value>",
                           "<tool_call>f\n<arg_key>s</arg_key>",
                           "<tool_call>f\n<arg_key>s</arg_key> x",
                           "<tool_call>f\n<arg_key>s</arg_key>\n<arg_key>",
                           "<tool_call>f\n<arg_key>s<arg_value>a</arg_value></tool_call>",
                           "<tool_call>f\n<arg_value>a</arg_value>\n</tool_call>",
                           "<tool_call>f\n<arg_key>s</arg_key>\n<arg_value",
                           "<arg_key>s</arg_key><arg_value>a</arg_value>",
                           "\n</tool_call>"}) {
    INFO(text);
    CHECK(parse(text) == "C(" + std::string(text) + ")");
  }
  // A call behind what is none is found.
  CHECK(parse("<tool_call>\n<tool_call>f</tool_call>") == "C(<tool_call>)B(f)A({})");
  CHECK(parse("<tool_call>f\n<tool_call>g\n</tool_call>") == "C(<tool_call>f)B(g)A({})");
  CHECK(parse("<tool_call>f<arg_key>s<tool_call>g</tool_call>") == "C(<tool_call>f<arg_key>s)B(g)A({})");
}

TEST_CASE("glm45: calls that are cut or broken tell what came, and no marker") {
  const std::string begin = "<tool_call>f\n", done = begin + argument("i", "1");
  CHECK(parse(begin + "<arg_key>s</arg_key>\n<arg_value>") == "B(f)A({\"s\": \")");
  CHECK(parse(begin + "<arg_key>s</arg_key>\n<arg_value>ab\n") == "B(f)A({\"s\": \"ab\\n)");
  CHECK(parse(begin + "<arg_key>s</arg_key>\n<arg_value>ab\n</arg_val") == "B(f)A({\"s\": \"ab\\n)");
  CHECK(parse(begin + "<arg_key>i</arg_key>\n<arg_value>1") == "B(f)A({\"i\": )");
  for (const char* rest : {"", "<arg_", "<arg_key>s", "<arg_key>s</arg_key>\n", "</tool_c"})
    CHECK(parse(done + rest) == "B(f)A({\"i\": 1)");
  CHECK(parse(done + "and so on</tool_call>") == "B(f)A({\"i\": 1)C(and so on)");
  CHECK(parse(done + "and so on</tool_c") == "B(f)A({\"i\": 1)C(and so on)");
  CHECK(parse(done + "\n<tool_call>g</tool_call>") == "B(f)A({\"i\": 1)B(g)A({})");
  CHECK(parse(done + "<arg_key></arg_key> x</tool_call>\ny") == "B(f)A({\"i\": 1)C(<arg_key></arg_key> xy)");
  CHECK(parse(done + "<arg_key>s</arg_key> x") == "B(f)A({\"i\": 1)C(<arg_key>s</arg_key> x)");
}

TEST_CASE("glm45: strings come as they are written, other values once they are whole") {
  const auto at_once = [](std::string_view text) { return test::at_once(kGlm, text, false, &types()); };
  const std::string begin = "<tool_call>f\n<arg_key>";
  CHECK(at_once("Hello, <t") == "C(Hello,)");
  CHECK(at_once(begin + "s</arg_key>") == "");
  CHECK(at_once(begin + "s</arg_key>\n<arg_value>") == "B(f)A({\"s\": \")");
  CHECK(at_once(begin + "s</arg_key>\n<arg_value>one \"two") == "B(f)A({\"s\": \"one \\\"two)");
  CHECK(at_once(begin + "i</arg_key>\n<arg_value>12") == "B(f)A({\"i\": )");
  CHECK(at_once(begin + "i</arg_key>\n<arg_value>12</arg_value>") == "B(f)A({\"i\": 12)");
  CHECK(at_once("<tool_call>f\n</tool_call>") == "B(f)A({})");
}

TEST_CASE("glm45: reasoning may come first, in line breaks or none") {
  const std::string text = "Hm <tool_call>f</tool_call>\n</think>\nSo.\n<tool_call>f\n</tool_call>";
  const std::string told = "R(Hm <tool_call>f</tool_call>)C(So.)B(f)A({})";
  CHECK(test::parse(kThinking, "\n<think>" + text) == told);
  CHECK(test::parse(kThinking, text, true) == told);
  CHECK(test::parse(kThinking, "\n<tool_call>f\n</tool_call>") == "B(f)A({})");
  CHECK(test::parse(kThinking, "\n<think></think>\n<tool_call>f\n</tool_call>") == "B(f)A({})");
}

TEST_CASE("glm45: depth and size are bounded") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  const auto told = [](const std::string& text) { return test::told(kGlm, {text}, false, &types()); };
  CHECK(told(call("a", nested(63))) == "B(f)A({\"a\": " + nested(63) + "})");
  for (const std::size_t depth : {65UL, 100000UL})
    CHECK(told(call("a", nested(depth))) == "B(f)A({\"a\": \"" + nested(depth) + "\"})");
  const std::string spaces(100000, ' '), name(2000, 'n'), million(1100000, '1');
  for (const std::string& text :
       {"<tool_call>" + spaces, "<tool_call>f" + spaces, "<tool_call>" + name, "<tool_call>f<arg_key>" + name,
        "<tool_call>f<arg_key>s</arg_key>" + spaces}) {
    CHECK(test::at_once(kGlm, text).size() > text.size() - 100);
    CHECK(told(text) == "C(" + text + ")");
  }
  CHECK(told("<tool_call>" + name.substr(0, 1024) + "</tool_call>") ==
        "B(" + name.substr(0, 1024) + ")A({})");
  CHECK(told("<tool_call>f" + argument("s", "a") + spaces + "</tool_call>") == "B(f)A({\"s\": \"a\"})");
  CHECK(told(call("i", million)) == "B(f)A({\"i\": \"" + million + "\"})");
  CHECK(test::at_once(kGlm, "<tool_call>f<arg_key>i</arg_key><arg_value>" + million, false, &types()).size() >
        million.size());
}
