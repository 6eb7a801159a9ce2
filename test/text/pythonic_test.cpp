// Calls as a Python list, whose literals become JSON.
#include "text/told.hpp"

using namespace baton;
using namespace baton::test;

namespace {

constexpr AnswerFormat kPythonic{CallFormat::pythonic, ReasoningFormat::none};

std::string parse(std::string_view text) { return test::parse(kPythonic, text); }

// The JSON of an argument; what is no literal is content.
std::string value(const std::string& literal) {
  const std::string text = "[f(a=" + literal + ")]", told = parse(text);
  if (told == "C(" + text + ")") return "no";
  const std::string begin = "B(f)A({\"a\": ", end = "})";
  INFO(told);
  REQUIRE(told.starts_with(begin));
  REQUIRE(told.ends_with(end));
  return told.substr(begin.size(), told.size() - begin.size() - end.size());
}

}  // namespace

TEST_CASE("pythonic: the whole answer is a list of calls") {
  CHECK(parse("[f(a=1, b='x'), g()]") == "B(f)A({\"a\": 1, \"b\": \"x\"})B(g)A({})");
  CHECK(parse("[f(a=1), g(b=2)]") == "B(f)A({\"a\": 1})B(g)A({\"b\": 2})");
  CHECK(parse("[f()]") == "B(f)A({})");
  CHECK(parse("\n<|python_start|> [ f( a = 1 ,b=2, ) , g() , ] <|python_end|>\n") ==
        "B(f)A({\"a\": 1, \"b\": 2})B(g)A({})");
  CHECK(parse("<|python_start|>[f()]") == "B(f)A({})");
  CHECK(parse("[f()]<|python_end|>") == "B(f)A({})");
  CHECK(parse("[ns.get-it(a_1=1)]") == "B(ns.get-it)A({\"a_1\": 1})");
  CHECK(parse("[\xc3\xa9(\xc3\xa9=1)]") == "B(\xc3\xa9)A({\"\xc3\xa9\": 1})");
  CHECK(parse("[f(a='x')]\nand more") == "B(f)A({\"a\": \"x\"})C(and more)");
  CHECK(parse("[f()][g()]") == "B(f)A({})C([g()])");
}

TEST_CASE("pythonic: strings in any quotes, with Python's escapes") {
  CHECK(value("'x'") == "\"x\"");
  CHECK(value("\"it's\"") == "\"it's\"");
  CHECK(value("'say \"hi\"'") == "\"say \\\"hi\\\"\"");
  CHECK(value("''") == "\"\"");
  CHECK(value("\"\"") == "\"\"");
  CHECK(value("'\\'\\\"\\\\\\n\\t\\r\\b\\f\\/'") == "\"'\\\"\\\\\\n\\t\\r\\u0008\\u000c/\"");
  CHECK(value("'\\a\\v\\0\\101\\1018\\7'") == "\"\\u0007\\u000b\\u0000AA8\\u0007\"");
  CHECK(value("'\\x41\\u00e9\\U0001F600'") == "\"A\xc3\xa9\xf0\x9f\x98\x80\"");
  CHECK(value("'\\ud83d\\ude00'") == "\"\xf0\x9f\x98\x80\"");
  CHECK(value("'\\ud83d \\ude00\\ud83d\\ud83d\\ude00\\ud83d'") ==
        "\"\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xf0\x9f\x98\x80\xef\xbf\xbd\"");
  CHECK(value("'\\ud83d\\n'") == "\"\xef\xbf\xbd\\n\"");
  CHECK(value("'\\U00110000\\Uffffffff'") == "\"\xef\xbf\xbd\xef\xbf\xbd\"");
  CHECK(value("'\\q\\xg\\u12'") == "\"\\\\q\\\\xg\\\\u12\"");
  CHECK(value("'a\\\nb\nc'") == "\"ab\\nc\"");
  CHECK(value("'''a 'b' ''\nc'''") == "\"a 'b' ''\\nc\"");
  CHECK(value("\"\"\"\\\"\"\"\"") == "\"\\\"\"");
  CHECK(value("'],)}'") == "\"],)}\"");
  CHECK(value("'\xc3\xa9\t\x01'") == "\"\xc3\xa9\\t\\u0001\"");
}

TEST_CASE("pythonic: numbers, names, lists, tuples, dicts") {
  CHECK(value("-12") == "-12");
  CHECK(value("+1") == "1");
  CHECK(value("1_000") == "1000");
  CHECK(value(".5") == "0.5");
  CHECK(value("-1.") == "-1.0");
  CHECK(value("1.e5") == "1.0e5");
  CHECK(value("2E-3") == "2E-3");
  CHECK(value("0x1F") == "31");
  CHECK(value("-0b11") == "-3");
  CHECK(value("0o17") == "15");
  CHECK(value("123456789012345678901234567890") == "123456789012345678901234567890");
  for (const char* name : {"True", "true"}) CHECK(value(name) == "true");
  for (const char* name : {"False", "false"}) CHECK(value(name) == "false");
  for (const char* name : {"None", "null"}) CHECK(value(name) == "null");
  CHECK(value("[]") == "[]");
  CHECK(value("[1, 'x', [None],]") == "[1, \"x\", [null]]");
  CHECK(value("(1, 2)") == "[1, 2]");
  CHECK(value("()") == "[]");
  CHECK(value("{}") == "{}");
  CHECK(value("{'a': {'b': [1]}, \"c\": (True,), 1: 2, None: 3,}") ==
        "{\"a\": {\"b\": [1]}, \"c\": [true], \"1\": 2, \"null\": 3}");
  CHECK(value("[ 1 , { } , [ ] , '' ]") == "[1, {}, [], \"\"]");
  for (const char* none :
       {"x",  "f(1)",  "*a", "-",    "--1", "+x", "007", "1e999", "0xg", "0x", "0xfffffffffffffffff",
        "_1", "1.2.3", "1j", "b'x'", "1+2", ",",  "=1",  "nan",   ""}) {
    INFO(none);
    CHECK(value(none) == "no");
  }
}

TEST_CASE("pythonic: what is no call is content, to the last byte") {
  for (const char* text : {"",
                           " ",
                           " a ",
                           "[",
                           "[]",
                           "[ ]",
                           "[1, 2]",
                           "[see below]",
                           "[f",
                           "[f(",
                           "[f(a",
                           "[f(a)]",
                           "[f(a=",
                           "[f(a=1",
                           "[f('x')]",
                           "[f(a==1)]",
                           "[f(1a=2)]",
                           "[1f(a=2)]",
                           "[f (a=1)]",
                           "[f(,)]",
                           "[f(a=b) is it]",
                           "f(a=1)",
                           "Sure: [f(a=1)]",
                           "<|python_start|>",
                           "<|python_start|>x",
                           "<|python",
                           "<|python_start|><|python_start|>[f()]",
                           "[ (a=1)]",
                           "<|python_end|>",
                           "[f(**{'a': 1})]"}) {
    INFO(text);
    CHECK(parse(text) == (*text == 0 ? "" : "C(" + std::string(text) + ")"));
  }
}

TEST_CASE("pythonic: calls that are cut or broken tell what came, and the rest is content") {
  CHECK(parse("[f(a='xy") == "B(f)A({\"a\": \"xy)");
  CHECK(parse("[f(a='x', b") == "B(f)A({\"a\": \"x\")");
  CHECK(parse("[f(a='x', b=12") == "B(f)A({\"a\": \"x\")");
  CHECK(parse("[f(a=[1, 2") == "B(f)A({\"a\": [1)");
  CHECK(parse("[f(a=1)") == "B(f)A({\"a\": 1})");
  CHECK(parse("[f(a=1), ") == "B(f)A({\"a\": 1})");
  CHECK(parse("[f(a=1), g") == "B(f)A({\"a\": 1})C(, g)");
  CHECK(parse("[f(a=1)]<|python_e") == "B(f)A({\"a\": 1})");
  CHECK(parse("[f(a=1)]\n<|x") == "B(f)A({\"a\": 1})C(<|x)");
  CHECK(parse("[f(a=1, b=x+1), g()]") == "B(f)A({\"a\": 1)C(, b=x+1), g()])");
  CHECK(parse("[f(a=[1, x])]") == "B(f)A({\"a\": [1)C(, x])])");
  CHECK(parse("[f(a=[1)]") == "B(f)A({\"a\": [1)C()])");
  CHECK(parse("[f(a={1, 2})]") == "B(f)A({\"a\": {\"1\")C(, 2})])");
  CHECK(parse("[f(a={'b' 1})]") == "B(f)A({\"a\": {\"b\")C( 1})])");
  CHECK(parse("[f(a={'b': })]") == "B(f)A({\"a\": {\"b\": )C( })])");
  CHECK(parse("[f(a={[1]: 2})]") == "B(f)A({\"a\": {)C([1]: 2})])");
  CHECK(parse("[f(a=[,])]") == "B(f)A({\"a\": [)C(,])])");
  CHECK(parse("[f(a=[1,,])]") == "B(f)A({\"a\": [1)C(,,])])");
  CHECK(parse("[f(a='x' 'y')]") == "B(f)A({\"a\": \"x\")C( 'y')])");
  CHECK(parse("[f(a=1) or g()]") == "B(f)A({\"a\": 1})C(or g()])");
  CHECK(parse("[f(a=1), see below]") == "B(f)A({\"a\": 1})C(, see below])");
  CHECK(parse("[f()](http://x)") == "B(f)A({})C((http://x))");
}

TEST_CASE("pythonic: nothing waits longer than it must") {
  const auto at_once = [](const std::string& text) { return test::at_once(kPythonic, text); };
  CHECK(at_once("Hi") == "C(Hi)");
  CHECK(at_once("[see") == "");
  CHECK(at_once("[see ") == "C([see )");
  CHECK(at_once("[f(a='x") == "B(f)A({\"a\": \"x)");
  CHECK(at_once("[f(a=[1,") == "B(f)A({\"a\": [1)");
  CHECK(at_once("[f(a=12") == "");
  CHECK(at_once("[f(a=12)") == "B(f)A({\"a\": 12})");
  CHECK(at_once("[f()]<") == "B(f)A({})");
  CHECK(at_once("[f()]x") == "B(f)A({})C(x)");
}

TEST_CASE("pythonic: depth and size are bounded") {
  const auto told = [](const std::string& text) { return test::told(kPythonic, {text}); };
  const auto open = [](std::size_t depth) { return std::string(depth, '['); };
  const auto closed = [](std::size_t depth) { return std::string(depth, ']'); };
  CHECK(told("[f(a=" + open(63) + closed(63) + ")]") == "B(f)A({\"a\": " + open(63) + closed(63) + "})");
  CHECK(told("[f(a=" + open(64) + closed(64) + ")]") ==
        "B(f)A({\"a\": " + open(63) + ")C([" + closed(64) + ")])");
  CHECK(told("[f(a=" + open(100000)).size() > 100000);
  const std::string spaces(100000, ' '), name(2000, 'n'), ones(2000, '1');
  for (const std::string& text : {spaces, "[" + spaces, "[f(" + spaces, "[f(a" + spaces, "[f(a=" + spaces,
                                  "[" + name, "[f(" + name, "[f(a=" + ones}) {
    CHECK(test::at_once(kPythonic, text).size() >= text.size());
    CHECK(told(text) == "C(" + text + ")");
  }
}
