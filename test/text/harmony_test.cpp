// Answers of gpt-oss taken apart: messages in channels, whole and cut anywhere, and what is none.
#include "baton/text/answer_format.hpp"
#include "support/catch.hpp"
#include "text/answer/harmony_header.hpp"
#include "text/told.hpp"

using namespace baton;
using namespace baton::test;

namespace {

constexpr AnswerFormat kHarmony{CallFormat::harmony, ReasoningFormat::harmony};
constexpr AnswerFormat kNoCalls{CallFormat::none, ReasoningFormat::harmony};
constexpr AnswerFormat kCallsOnly{CallFormat::harmony, ReasoningFormat::none};

std::string parse(std::string_view text, bool inside = false) { return test::parse(kHarmony, text, inside); }
std::string at_once(std::string_view text) { return test::at_once(kHarmony, text); }

const std::string kCall = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>";

}  // namespace

TEST_CASE("harmony: the analysis is reasoning, the final message content") {
  CHECK(parse("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.") ==
        "R(Hm.)C(Yes.)");
  CHECK(parse("<|channel|>final<|message|>Yes.<|return|>") == "C(Yes.)");
  CHECK(parse("<|start|>assistant<|channel|>final <|constrain|>json<|message|>{\"a\": 1}") ==
        "C({\"a\": 1})");
  // A message's text is its own to the last byte.
  CHECK(parse("<|channel|>analysis<|message|> a\n\n<|end|>\n<|start|>assistant<|channel|>final<|message|>\n "
              "b < c <|\n") == "R( a\n\n)C(\n b < c <|\n)");
  CHECK(parse("Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.", true) == "R(Hm.)C(Yes.)");
  CHECK(parse("<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>") == "");
  CHECK(parse("") == "");
}

TEST_CASE("harmony: commentary is content; messages of one kind are lines of one text") {
  CHECK(parse("<|channel|>commentary<|message|>Let me "
              "see.<|end|><|start|>assistant<|channel|>final<|message|>So.") == "C(Let me see.\nSo.)");
  CHECK(
      parse("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b<|end|>"
            "<|start|>assistant<|channel|>analysis<|message|>c<|end|><|start|>assistant" +
            kCall + "{}<|call|><|start|>assistant<|channel|>final<|message|>d") ==
      "R(a)C(b)R(\nc)B(f)A({})C(\nd)");
  CHECK(parse("<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>analysis<|message|>c") ==
        "R(c)");
}

TEST_CASE("harmony: calls, with the recipient on either side and the type in any spelling") {
  for (const char* header :
       {"<|channel|>commentary to=functions.f <|constrain|>json",
        "<|channel|>commentary to=functions.f<|constrain|>json", "<|channel|>commentary to=functions.f json",
        "<|channel|>commentary to=functions.f", " to=functions.f<|channel|>commentary json",
        "to=functions.f<|channel|>commentary",
        "<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json",
        "<|start|>assistant<|channel|>commentary to=functions.f code",
        "<|channel|>analysis to=functions.f <|constrain|>json", " to=functions.f",
        "<|channel|>commentary to=f json"}) {
    CHECK(parse(std::string(header) + "<|message|>{\"city\": \"Paris\"}") == "B(f)A({\"city\": \"Paris\"})");
  }
  CHECK(parse(kCall + " {\"a\": [1, {}]} <|call|><|start|>assistant to=functions.g<|channel|>commentary "
                      "json<|message|>{}<|call|>") == "B(f)A({\"a\": [1, {}]})B(g)A({})");
  // Inside a string a marker is the model's text.
  CHECK(parse(kCall + "{\"a\": \"<|end|>\\\"<|call|>\"}<|call|>") ==
        "B(f)A({\"a\": \"<|end|>\\\"<|call|>\"})");
  CHECK(parse(kCall + "<|call|>") == "B(f)A({})");
  CHECK(parse(kCall) == "B(f)A({})");
}

TEST_CASE(
    "harmony: tools that are not functions are calls where they get an object, else text of their channel") {
  CHECK(parse("<|channel|>analysis to=browser.search code<|message|>{\"query\": \"x\"}<|call|>") ==
        "B(browser.search)A({\"query\": \"x\"})");
  CHECK(parse("<|channel|>analysis to=python code<|message|>print(1)<|call|>") == "R(print(1))");
  CHECK(parse("<|channel|>commentary to=python<|message|> \nprint(1)<|end|>") == "C( \nprint(1))");
  CHECK(parse("<|channel|>commentary to=functions.f<|message|>[1]") == "C([1])");
}

TEST_CASE("harmony: where no calls are looked for, they are text of their channel") {
  CHECK(test::parse(kNoCalls, kCall + "{\"a\": 1}<|call|>") == "C({\"a\": 1})");
  CHECK(test::parse(kNoCalls, "<|channel|>analysis to=f<|message|>{}<|call|>") == "R({})");
  CHECK(test::parse(kCallsOnly, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant" + kCall +
                                    "{}") == "C(Hm.)B(f)A({})");
}

TEST_CASE("harmony: what is no message is content, to the last byte") {
  for (const char* text :
       {"Hello.", " ", "\nHello <b>", "<", "<|", "<|chan", "to", "to=functions.f", "to=x and y",
        "<|im_start|>x", "<|channel|>The answer is 42.", "<|channel|>Yes", "<|start|>user<|message|>Hi",
        "<|start|>user Hi", "<|channel|>final to=<|message|>x", "<|channel|>final to=functions.<|message|>x",
        "<|channel|>final to=a(b)<|message|>x"}) {
    INFO(text);
    CHECK(parse(text) == "C(" + std::string(text) + ")");
  }
  CHECK(parse("<|start|>functions.f to=assistant<|channel|>commentary<|message|>1") ==
        "C(<|start|>functions.f to=assistant\n1)");
  CHECK(parse("<|channel|>thoughts<|message|>Hm.") == "C(Hm.)");
  CHECK(parse("<|channel|><|message|>Hm.") == "C(Hm.)");
  CHECK(parse("<|message|>Hm.") == "C(Hm.)");
  CHECK(parse("Hm.<|end|>\n") == "C(Hm.)");
  CHECK(parse(" <|end|>Hm.<|return|>So.") == "C(Hm.\nSo.)");
  CHECK(parse("<|channel|>final<|message|>a<|message|>b <|constrain|>c") ==
        "C(a<|message|>b <|constrain|>c)");
}

TEST_CASE("harmony: a header that breaks off is nobody's text if it is only a header") {
  const std::string answer = "<|channel|>final<|message|>x<|end|>";
  for (const char* cut :
       {"<|start|>", "<|start|>assis", "<|start|>assistant<|chan", "<|start|>assistant<|channel|>comm",
        "<|start|>assistant t", "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>js",
        "<|channel|>final ", "\n "}) {
    INFO(cut);
    CHECK(parse(answer + cut) == "C(x)");
    CHECK(parse(answer + cut + "<|start|>assistant<|channel|>final<|message|>y") == "C(x\ny)");
    CHECK(parse(answer + cut + "<|end|><|channel|>final<|message|>y") == "C(x\ny)");
  }
  CHECK(parse(answer + "<|chan") == "C(x\n<|chan)");
  CHECK(parse(answer + "<|start|>assistant<|channel|>Yes<|end|>") ==
        "C(x\n<|start|>assistant<|channel|>Yes)");
  // A message that another header ends, and one that only seems to be ended.
  CHECK(parse("<|channel|>analysis<|message|>a<|channel|>final<|message|>b") == "R(a)C(b)");
  CHECK(parse("<|channel|>analysis<|message|>a<|start|>assistant<|channel|>final<|message|>b") == "R(a)C(b)");
  CHECK(parse("<|channel|>analysis<|message|>The <|channel|> marks a channel.<|end|>") ==
        "R(The <|channel|> marks a channel.)");
  CHECK(parse("<|channel|>final<|message|>a <|start|>user<|message|>b") == "C(a <|start|>user<|message|>b)");
  CHECK(parse("<|channel|>final<|message|>a <|channel|>b c d<|chan") == "C(a <|channel|>b c d<|chan)");
}

TEST_CASE("harmony: calls that are cut or broken tell what came, and no marker") {
  CHECK(parse(kCall + "{\"a\": \"b") == "B(f)A({\"a\": \"b)");
  CHECK(parse(kCall + "{\"a\": [1, ") == "B(f)A({\"a\": [1, )");
  CHECK(parse(kCall + "{\"a\": 1<|ca") == "B(f)A({\"a\": 1)");
  CHECK(parse(kCall + "{\"a\": 1}<|ca") == "B(f)A({\"a\": 1})");
  CHECK(parse(kCall + "{\"a\": 1 <|end|><|start|>assistant<|channel|>final<|message|>x") ==
        "B(f)A({\"a\": 1 )C(x)");
  CHECK(parse(kCall + "{\"a\": 1 <|start|>assistant<|channel|>final<|message|>x") == "B(f)A({\"a\": 1 )C(x)");
  CHECK(parse(kCall + "{\"a\": <|message|>1}") == "B(f)A({\"a\": <|message|>1})");
  CHECK(parse(kCall + "{]} \"<|end|><|channel|>final<|message|>x") == "B(f)A({]} \")C(x)");
  CHECK(parse(kCall + "{]} <|e") == "B(f)A({]})");
  CHECK(parse(kCall + "{}} x<|call|>") == "B(f)A({})C(} x)");
  CHECK(parse("<|channel|>final<|message|>y<|end|>" + kCall + "{} x<|ca") == "C(y)B(f)A({})C(\nx<|ca)");
  CHECK(parse("<|channel|>analysis to=functions.f<|message|>{}x") == "B(f)A({})C(x)");
  CHECK(parse("<|channel|>analysis to=functions.f<|message|>{\"a\": 1 <|start|>user x") ==
        "B(f)A({\"a\": 1 )C(<|start|>user x)");
}

TEST_CASE("harmony: nothing waits longer than it must, and nothing for ever") {
  CHECK(at_once("Hello") == "C(Hello)");
  CHECK(at_once("<|channel|>analysis<|message|>one two") == "R(one two)");
  CHECK(at_once("<|channel|>analysis<|message|>one <|en") == "R(one)");
  CHECK(at_once("<|channel|>final<|message|>one <b") == "C(one <b)");
  CHECK(at_once(kCall) == "");
  CHECK(at_once(kCall + "{\"a") == "B(f)A({\"a)");
  CHECK(at_once("<|channel|>The answer is ") == "C(<|channel|>The answer is)");
  CHECK(at_once("to=x y") == "");  // one word may be the type of what is sent there
  CHECK(at_once("to=x y or ") == "C(to=x y or)");
  const std::string word(100000, 'x'), spaces(100000, ' ');
  for (const std::string& text : {"<|channel|>" + word, "to=" + word, spaces,
                                  "<|channel|>final<|message|>" + spaces, "<|start|>assistant" + spaces})
    CHECK(at_once(text).size() > 98000);
  CHECK(told(kHarmony, {"<|channel|>" + word}) == "C(<|channel|>" + word + ")");
  CHECK(told(kHarmony, {spaces}) == "C(" + spaces + ")");
  std::string many;
  for (int i = 0; i < 20000; ++i) many += "<|channel|> ";
  CHECK(at_once(many).size() > many.size() - 2000);
  CHECK(told(kHarmony, {kCall + "{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}<|call|>x"})
            .ends_with("]})C(x)"));
}

TEST_CASE("harmony: the parser knows how far the reasoning goes") {
  const auto bytes = [](std::string_view text, bool inside = false) {
    AnswerParser parser(kHarmony, inside), at_once(kHarmony, inside);
    std::size_t most = 0;
    for (const char c : text) {
      parser.push({&c, 1});
      CHECK(parser.reasoning_bytes() >= most);
      most = parser.reasoning_bytes();
    }
    at_once.push(text);
    CHECK(at_once.reasoning_bytes() == most);
    return most;
  };
  const std::string thought = "<|channel|>analysis<|message|>a b<|end|>",
                    answer = "<|start|>assistant<|channel|>final<|message|>c";
  CHECK(bytes(thought + answer) == thought.size());
  CHECK(bytes("a b<|end|>" + answer, true) == 10);
  CHECK(bytes(answer) == 0);
  CHECK(bytes(answer + thought + answer) == answer.size() + thought.size());
  CHECK(bytes("<|channel|>analysis<|message|>a ") == 32);
}

TEST_CASE("a harmony header is words in any order") {
  const auto header = [](std::string_view text) {
    const auto parsed = text::parse_harmony_header(text);
    return parsed ? parsed->channel + ">" + parsed->recipient : "none";
  };
  CHECK(header("<|start|>assistant<|channel|>final") == "final>");
  CHECK(header(" <|channel|> commentary  to=functions.f\n<|constrain|> json") == "commentary>functions.f");
  CHECK(header("") == ">");
  CHECK(header("<|channel|>final a b") == "none");
  CHECK(header("<|channel|>final <|constrain|>json code") == "none");
  CHECK(header("to=" + std::string(1024, 'f')) != "none");
  CHECK(header("to=" + std::string(1025, 'f')) == "none");
  CHECK_FALSE(text::is_harmony_markup("assistant"));
  CHECK_FALSE(text::is_harmony_markup("<|channel|>fin x"));
  CHECK_FALSE(text::is_harmony_markup("<|channel|>fin json"));
  CHECK(text::is_harmony_markup("<|channel|>fin"));
}
