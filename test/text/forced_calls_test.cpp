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
constexpr AnswerFormat kQwen3{CallFormat::hermes, ReasoningFormat::think};

// For f, whose argument n is an integer, and for the oddly named one, which has none.
std::string grammar(const ForcedCalls& forced) {
  GrammarText out;
  const auto f = out.json_schema({{"type", "object"},
                                  {"properties", {{"n", {{"type", "integer"}}}}},
                                  {"required", {"n"}},
                                  {"additionalProperties", false}});
  REQUIRE(f);
  const ForcedFunction functions[] = {{"f", *f}, {"a\"b", GrammarText::literal("{}")}};
  return out.text(forced_calls(out, forced, functions));
}

bool follows(const ForcedCalls& forced, const std::string& text) {
  const auto result = follows_grammar(grammar(forced), text);
  INFO(grammar(forced));
  REQUIRE(result);
  return *result;
}

std::string calls_in(const AnswerFormat& format, const std::string& text, bool inside) {
  AnswerParser parser(format, inside);
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
  };
  for (const Case& c : cases) {
    const ForcedCalls one{c.format, false, false}, more{c.format, false, true};
    CHECK(follows(one, c.first + c.end));
    CHECK(follows(more, c.first + c.end));
    CHECK(follows(more, c.first + c.second + c.second + c.end));
    CHECK(calls_in(c.format, c.first + c.second + c.end, false) == "f={\"n\": 1}a\"b={}");
    for (const ForcedCalls& forced : {one, more}) {
      CHECK_FALSE(follows(forced, ""));
      CHECK_FALSE(follows(forced, "Well. " + c.first + c.end));
      CHECK_FALSE(follows(forced, c.first + c.end + " "));
      std::string other = c.first + c.end;
      other.replace(other.find("\"f\""), 3, "\"g\"");
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
  CHECK_FALSE(follows(fresh, "\nHm.\n</think>\n\n" + call));
  CHECK(follows(opened, "\nHm.\n</think>\n\n" + call));
  CHECK_FALSE(follows(opened, call));
  CHECK_FALSE(follows(opened, "a</think>b</think>" + call));
  CHECK(calls_in(kQwen3, "\nHm.\n</think>\n\n" + call, true) == "f={\"n\": -2}");
}
