// Answers taken apart: each format's shapes, what is none of them, and that it does not matter how the text
// is cut.
#include "baton/text/answer_format.hpp"
#include "support/catch.hpp"
#include "text/goldens.hpp"
#include "text/told.hpp"

using namespace baton;
using namespace baton::test;

namespace {

constexpr AnswerFormat kPlain{};
constexpr AnswerFormat kHermes{CallFormat::hermes, ReasoningFormat::none};
constexpr AnswerFormat kLlama{CallFormat::llama3_json, ReasoningFormat::none};
constexpr AnswerFormat kMistral{CallFormat::mistral, ReasoningFormat::none};
constexpr AnswerFormat kThink{CallFormat::none, ReasoningFormat::think};
constexpr AnswerFormat kQwen3{CallFormat::hermes, ReasoningFormat::think};

class Words final : public Tokenizer {
 public:
  explicit Words(std::vector<std::pair<std::string, bool>> words) : words_(std::move(words)) {}
  std::vector<TokenId> encode(std::string_view, EncodeOptions) const override { return {}; }
  std::string decode(std::span<const TokenId>, bool) const override { return {}; }
  std::size_t vocab_size() const override { return words_.size(); }
  std::optional<TokenId> token_to_id(std::string_view token) const override {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      if (words_[i].first == token) return static_cast<TokenId>(i);
    }
    return std::nullopt;
  }
  std::string_view id_to_token(TokenId id) const override {
    return words_[static_cast<std::size_t>(id)].first;
  }
  bool is_special(TokenId id) const override { return words_[static_cast<std::size_t>(id)].second; }
  std::string token_bytes(TokenId id) const override { return std::string(id_to_token(id)); }

 private:
  std::vector<std::pair<std::string, bool>> words_;
};

std::string template_file(const std::string& name) {
  const std::string source = test::read_text(test::text_data() / "templates" / name);
  REQUIRE_FALSE(source.empty());
  return source;
}

}  // namespace

TEST_CASE("without a format all text is content") {
  const std::string text = " <think>a</think>\n<tool_call>{\"name\": \"f\"}</tool_call> ";
  CHECK(parse(kPlain, text) == "C(" + text + ")");
}

TEST_CASE("hermes: calls, one or several, with content around them") {
  CHECK(parse(kHermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>") ==
        "B(f)A({\"a\": 1})");
  CHECK(parse(kHermes,
              "So:\n\n<tool_call>\n{\"name\":\"f\",\"arguments\":{}}\n</tool_call>\n<tool_call>\n"
              "{\"name\":\"g\",\"arguments\":{\"b\":[]}}\n</tool_call>\nDone. ") ==
        "C(So:)B(f)A({})B(g)A({\"b\":[]})C(Done. )");
  // Keys in another order, others beside them, escapes, brackets and markers inside strings.
  CHECK(parse(kHermes,
              "<tool_call>{\"id\":[\"}\"],\"arguments\":{\"x\":\"}]</tool_call>\\\"\"},\"n\":-1 ,"
              "\"name\":\"a\\u0062\\\"\"}</tool_call>") == "B(ab\")A({\"x\":\"}]</tool_call>\\\"\"})");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"now\"}</tool_call>") == "B(now)A({})");
  CHECK(parse(kHermes,
              "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1},\"arguments\":{\"b\":2}}</tool_call>") ==
        "B(f)A({\"a\":1})");
  CHECK(parse(kHermes, "<tool_call>{\"n\":1,\"name\":\"f\",\"name\":\"g\",\"arguments\":{}}</tool_call>") ==
        "B(f)A({})");
  CHECK(parse(kHermes, "<tool_call>{\"name\":\"f\",\"arguments\":{},\"n\":1}</tool_call>x") ==
        "B(f)A({})C(x)");
  CHECK(parse(kHermes, "a <\n<tool_call>{\"name\":\"f\"}</tool_call>") == "C(a <)B(f)A({})");
  // A name that nobody asked for is a call all the same.
  CHECK(parse(kHermes,
              "<tool_call>{\"name\":\"\xc3\xa9/1\",\"parameters\":{\"a\":\"\xc3\xa9\"}}</tool_call>") ==
        "B(\xc3\xa9/1)A({\"a\":\"\xc3\xa9\"})");
}

TEST_CASE("hermes: what is no call is content, to the last byte") {
  for (const char* text : {"",
                           " ",
                           "a\n",
                           "a < b",
                           "<tool",
                           "<tool_call",
                           "<tool_call>",
                           "<tool_call>\nx</tool_call>\n",
                           "a\n<tool_call>[]</tool_call>",
                           "a</tool_c",

                           "<tool_call>{\"id\":,\"name\":\"f\"}</tool_call>",
                           "<tool_call>{\"name\":\"f\",\"id\":}}</tool_call>",
                           "<tool_call>{}</tool_call>",
                           "<tool_call>{\"name\": 3}</tool_call>",
                           "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>",
                           "<tool_call>{\"name\": \"\\x\", \"arguments\": {}}</tool_call>",
                           "<tool_call>{\"name\": \"f\", \"arguments\": \"x\"}</tool_call>",
                           "<tool_call>{\"name\" \"f\"}</tool_call>",
                           "<tool_call>{\"name\": \"f\",}</tool_call>",
                           "<tool_call>{\"arguments\": {\"a\": ]}, \"name\": \"f\"}</tool_call>",
                           "\n</tool_call>",
                           "<tool_call>{\"name\": \"f\", \"arguments\": "}) {
    INFO(text);
    CHECK(parse(kHermes, text) == (*text == 0 ? "" : "C(" + std::string(text) + ")"));
  }
  // A second marker inside what is no call is found.
  CHECK(parse(kHermes, "<tool_call>\n<tool_call>{\"name\":\"f\"}</tool_call>") ==
        "C(<tool_call>\n)B(f)A({})");
}

TEST_CASE("hermes: calls that are cut or broken tell what came, and no marker") {
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"b") == "B(f)A({\"a\": \"b)");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}") == "B(f)A({})");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}}\n</tool_ca") == "B(f)A({})");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}\n</tool_call>\nx") == "B(f)A({})C(x)");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\"}</tool_call>a</tool_call>b</tool") ==
        "B(f)A({})C(a</tool_call>b</tool)");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}}}\n</tool_call>") == "B(f)A({})C(})");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}}<tool_call>{\"name\": \"g\"}") ==
        "B(f)A({})B(g)A({})");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}}<tool_call>x</tool_call>") ==
        "B(f)A({})C(<tool_call>x</tool_call>)");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [}}}\n</tool_call>x") ==
        "B(f)A({\"a\": [}}})C(x)");
  CHECK(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {]} </tool") == "B(f)A({]})");
  CHECK(parse(kHermes,
              "<tool_call>{\"name\":\"f\",\"arguments\":{]</tool_call><tool_call>{\"name\":\"f\","
              "\"arguments\":{]</tool_call>a</tool_call>b</tool") ==
        "B(f)A({])B(f)A({])C(a</tool_call>b</tool)");
}

TEST_CASE("depth and size are bounded") {
  const auto nested = [](std::size_t depth) {
    std::string text = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\":";
    for (std::size_t i = 1; i < depth; ++i) text += '[';
    for (std::size_t i = 1; i < depth; ++i) text += ']';
    return text + "}}</tool_call>!";
  };
  CHECK(told(kHermes, {nested(64)}).ends_with("]})C(!)"));
  CHECK(told(kHermes, {nested(65)}).ends_with("]}})C(!)"));  // garbled: up to the marker
  const std::string name(2000, 'n');
  CHECK(told(kHermes, {"<tool_call>{\"name\": \"" + name + "\"}"}).starts_with("C(<tool_call>"));
  const std::string early = "<tool_call>{\"arguments\": {\"a\": \"" + std::string(100000, 'x');
  CHECK(at_once(kHermes, early).size() > 99000);  // given up: nobody waits for the name any longer
  const std::string spaces = "a" + std::string(100000, '\n');
  CHECK(at_once(kHermes, spaces).size() > 99000);
  CHECK(told(kHermes, {spaces}) == "C(" + spaces + ")");
  CHECK(at_once(kLlama, std::string(1000, ' ')).size() > 700);
  CHECK(at_once(kThink, std::string(1000, ' ')).size() > 900);
}

TEST_CASE("nothing waits longer than it must") {
  CHECK(at_once(kHermes, "Hello, <") == "C(Hello,)");
  CHECK(at_once(kHermes, "Hello, <b") == "C(Hello, <b)");
  CHECK(at_once(kHermes, "<tool_call>{\"name\": \"f\"") == "");
  CHECK(at_once(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a") == "B(f)A({\"a)");
  CHECK(at_once(kThink, "<think>one two") == "R(one two)");
  CHECK(at_once(kThink, "<think>one </thi") == "R(one)");
  CHECK(at_once(kThink, "Hi") == "C(Hi)");
  CHECK(at_once(kLlama, "{\"answer\":") == "C({\"answer\":)");
  CHECK(at_once(kLlama, "Hi") == "C(Hi)");
  CHECK(at_once(kLlama, "{\"name\": \"f\", \"parameters\": {}}<") == "B(f)A({})C(<)");
  CHECK(at_once(kMistral, "[TOOL_CALLS]f[ARGS]{") == "B(f)A({)");
}

TEST_CASE("llama3_json: the whole answer is calls, or content") {
  CHECK(parse(kLlama, "{\"name\": \"f\", \"parameters\": {\"a\": \"b\"}}") == "B(f)A({\"a\": \"b\"})");
  CHECK(parse(kLlama, "\n<|python_tag|> {\"type\": \"function\", \"name\": \"f\", \"arguments\": {}} \n") ==
        "B(f)A({})");
  CHECK(parse(kLlama, "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}") ==
        "B(f)A({})B(g)A({})");
  CHECK(parse(kLlama, "{\"name\": \"f\", \"parameters\": {}}\n{\"name\": \"g\", \"parameters\": {}};") ==
        "B(f)A({})B(g)A({})");
  CHECK(parse(kLlama, "{\"name\": \"f\", \"parameters\": {}} and more") == "B(f)A({})C(and more)");
  CHECK(parse(kLlama, "{\"name\": \"f\", \"parameters\": {}; {\"name\": \"g\", \"parameters\": {") ==
        "B(f)A({})B(g)A({)");
  CHECK(parse(kLlama, "{\"name\": \"f\", \"parameters\": {} x") == "B(f)A({})C(x)");
  CHECK(parse(kLlama, "{\"name\": \"f\", \"parameters\": {]} x") == "B(f)A({]} x)");
  for (const char* text :
       {"Hello {\"name\": \"f\", \"parameters\": {}}", "{\"name\": \"Bob\", \"age\": 3}",
        "{\"name\": \"Bob\"}", "{}", "<|python_tag|>brave.call(q=\"x\")", " <|python", "  a ", "  ", ";",
        "{\"name\": \"f\", \"parameters\": 3} ", "<|python_tag|><|python_tag|>{",
        "; {\"name\": \"f\", \"parameters\": {}}", "{\"name\""}) {
    INFO(text);
    CHECK(parse(kLlama, text) == "C(" + std::string(text) + ")");
  }
  CHECK(parse(kLlama, "{\"name\": \"f\", \"parameters\": {}}; {\"x\": 1}") == "B(f)A({})C(; {\"x\": 1})");
}

TEST_CASE("mistral: a list of calls, or a marker for each") {
  CHECK(parse(kMistral,
              "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": [1]}, \"id\": \"abcdef123\"}]") ==
        "B(f)A({\"a\": [1]})");
  CHECK(parse(kMistral,
              "Well [TOOL_CALLS][{\"name\":\"f\",\"arguments\":{}}, {\"arguments\":{},\"name\":\"g\"}]\n") ==
        "C(Well)B(f)A({})B(g)A({})");
  CHECK(parse(kMistral, "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[CALL_ID]abc[ARGS]{}") ==
        "B(f)A({\"a\": 1})B(g)A({})");
  CHECK(parse(kMistral, "[TOOL_CALLS] f {\"a\": \"}\"} then") == "B(f)A({\"a\": \"}\"})C(then)");
  CHECK(parse(kMistral, "[TOOL_CALLS]{\"name\": \"f\", \"arguments\": {}}") == "B(f)A({})");
  CHECK(parse(kMistral, "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{\"a\":1}]x") == "B(f)A({\"a\":1})C(x)");
  CHECK(parse(kMistral, "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{}}, ") == "B(f)A({})");
  CHECK(parse(kMistral, "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{}}, x") == "B(f)A({})C(, x)");
  CHECK(parse(kMistral, "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{}} x]") == "B(f)A({})C(x])");
  CHECK(parse(kMistral, "[TOOL_CALLS]f{]}\n[TOOL_CALLS]g{}") == "B(f)A({]})B(g)A({})");
  CHECK(parse(kMistral, "[TOOL_CALLS][{\"name\":\"f\"}][TOOL_CALLS]{\"name\":\"g\"}]") ==
        "B(f)A({})B(g)A({})C(])");
  CHECK(parse(kMistral, "[TOOL_CALLS]f{}}") == "B(f)A({})C(})");
  CHECK(parse(kMistral, "[TOOL_CALLS]f{\"a\": \"b") == "B(f)A({\"a\": \"b)");
  for (const char* text : {"[TOOL_CALLS]", "[TOOL_CALLS][]", "a [TOOL_CALLS] I would call f.",
                           "[TOOL_CALLS]f[ARG]{}", "[TOOL_", "[TOOL_CALLS]f[CALL_ID]a[ARGS]x",
                           "[TOOL_CALLS]f", "[TOOL_CALLS][{\"name\": 1}]", "[TOOL_CALLS]<b>", "[[TOOL]"}) {
    INFO(text);
    CHECK(parse(kMistral, text) == "C(" + std::string(text) + ")");
  }
}

TEST_CASE("reasoning stands between its markers, or begins in the prompt") {
  CHECK(parse(kThink, "<think>\nHm.\n\nYes.\n</think>\n\nHello. \n") == "R(Hm.\n\nYes.)C(Hello. \n)");
  CHECK(parse(kThink, "\n Hm.\n</think>\n\nHello.", true) == "R(Hm.)C(Hello.)");
  CHECK(parse(kThink, "\n<think>\nHm.</think>Hello.", true) == "R(Hm.)C(Hello.)");
  CHECK(parse(kThink, "<think>\n\n</think>\n\nHello.") == "C(Hello.)");
  CHECK(parse(kThink, " \n<think>a") == "R(a)");
  CHECK(parse(kThink, "<th in", true) == "R(<th in)");
  CHECK(parse(kThink, "a < </think", true) == "R(a < </think)");
  CHECK(parse(kThink, " <thin") == "C( <thin)");
  CHECK(parse(kThink, "No <think>a</think>") == "C(No <think>a</think>)");
  CHECK(parse(kThink, "<think>a</think>b</think><think>c") == "R(a)C(b</think><think>c)");
  CHECK(parse(kThink, "") == "");
  CHECK(parse(kThink, "\n", true) == "");
}

TEST_CASE("calls come behind the reasoning, never in it") {
  CHECK(parse(kQwen3,
              "<think>\n<tool_call>{\"name\":\"f\"}\n</think>\n\n<tool_call>\n{\"name\": \"f\", "
              "\"arguments\": {}}\n</tool_call>") == "R(<tool_call>{\"name\":\"f\"})B(f)A({})");
  CHECK(parse({CallFormat::llama3_json, ReasoningFormat::think},
              "a</think>\n{\"name\":\"f\",\"parameters\":{}}", true) == "R(a)B(f)A({})");
}

TEST_CASE("the parser knows how much of the text is reasoning") {
  const auto bytes = [](std::string_view text, bool inside = false) {
    AnswerParser parser(kThink, inside);
    std::size_t most = 0;
    for (const char c : text) {
      parser.push({&c, 1});
      CHECK(parser.reasoning_bytes() >= most);
      most = parser.reasoning_bytes();
    }
    AnswerParser at_once(kThink, inside);
    at_once.push(text);
    CHECK(at_once.reasoning_bytes() == most);
    return most;
  };
  CHECK(bytes("\n<think>a</think>\n\nb") == 17);
  CHECK(bytes("a b</think>c", true) == 11);
  CHECK(bytes("<think>a b") == 10);
  CHECK(bytes("<thin") == 0);
  CHECK(bytes("a</think>") == 0);
  CHECK(bytes(" a", true) == 2);
}

TEST_CASE("a model's files tell its formats") {
  const Words none({});
  const auto calls = [&](const std::string& file) {
    return detect_answer_format(template_file(file), none).calls;
  };
  CHECK(calls("qwen25.jinja") == CallFormat::hermes);
  CHECK(calls("llama31.jinja") == CallFormat::llama3_json);
  CHECK(calls("mistral.jinja") == CallFormat::mistral);
  for (const char* file : {"chatml.jinja", "llama3.jinja", "gemma.jinja", "phi3.jinja", "deepseek.jinja"})
    CHECK(calls(file) == CallFormat::none);
  CHECK(detect_answer_format("<|start_header_id|> '\"parameters\": '", none).calls ==
        CallFormat::llama3_json);
  CHECK(detect_answer_format("{\"parameters\": 1}", none) == AnswerFormat{});
  CHECK(detect_answer_format("<tool_call>\n<function=", none).calls == CallFormat::none);
  CHECK(detect_answer_format("<tool_call><arg_key>", none).calls == CallFormat::glm45);
  CHECK(detect_answer_format("<arg_key>", none).calls == CallFormat::none);
  CHECK(detect_answer_format(template_file("glm45.jinja"), none) ==
        AnswerFormat{CallFormat::glm45, ReasoningFormat::think});
  CHECK(detect_answer_format("'<tool_call>\n<function=' ~ name ~ '>\n' '<parameter='", none).calls ==
        CallFormat::qwen3_coder);
  CHECK(detect_answer_format("<|start_header_id|> \"parameters\" [func_name1(params_name1=params_value1)]",
                             none)
            .calls == CallFormat::pythonic);
  CHECK(detect_answer_format("<tool_call>[func_name1(params)]</tool_call>", none).calls == CallFormat::none);

  const AnswerFormat harmony{CallFormat::harmony, ReasoningFormat::harmony};
  CHECK(detect_answer_format(template_file("harmony.jinja"), none) == harmony);
  CHECK(detect_answer_format("'<|start|>assistant' '<|channel|>' '<tool_call>' '</think>'", none) == harmony);
  CHECK(detect_answer_format("'<|start|>' '<|channel|>'", none) == AnswerFormat{});
  CHECK(detect_answer_format("'<|start|>assistant' '<|message|>'", none) == AnswerFormat{});

  const auto reasons = [&](const std::string& file) {
    return detect_answer_format(template_file(file), none).reasoning == ReasoningFormat::think;
  };
  CHECK(reasons("qwen3.jinja"));
  CHECK(reasons("deepseek.jinja"));
  CHECK_FALSE(reasons("qwen25.jinja"));
  const Words thinking({{"<think>", false}, {"</think>", false}});
  CHECK(detect_answer_format("", thinking).reasoning == ReasoningFormat::think);
  CHECK(detect_answer_format("", Words({{"<think>", false}})).reasoning == ReasoningFormat::none);
}

TEST_CASE("the prompt's end tells whether reasoning has begun") {
  CHECK(opens_reasoning(ReasoningFormat::think, "<|Assistant|><think>\n"));
  CHECK(opens_reasoning(ReasoningFormat::think, "<think>"));
  CHECK_FALSE(opens_reasoning(ReasoningFormat::think, "<think>\n\n</think>\n\n"));
  CHECK_FALSE(opens_reasoning(ReasoningFormat::think, "<|assistant|>\n<think></think>"));
  CHECK_FALSE(opens_reasoning(ReasoningFormat::think, "<think> x"));
  CHECK_FALSE(opens_reasoning(ReasoningFormat::none, "<think>"));
  CHECK(opens_reasoning(ReasoningFormat::harmony, "<|start|>assistant<|channel|>analysis<|message|>"));
  CHECK_FALSE(opens_reasoning(ReasoningFormat::harmony, "<|start|>assistant"));
  CHECK_FALSE(opens_reasoning(ReasoningFormat::harmony, "<think>"));
}

TEST_CASE("markers that are special tokens are named, no others") {
  const Words words({{"[TOOL_CALLS]", true},
                     {"<tool_call>", false},
                     {"</s>", true},
                     {"[ARGS]", true},
                     {"<|python_tag|>", true},
                     {"<|python_start|>", true},
                     {"<|python_end|>", true},
                     {"</tool_call>", true},
                     {"<think>", true},
                     {"</think>", true},
                     {"<|call|>", true},
                     {"<|channel|>", true},
                     {"<|end|>", true},
                     {"<|message|>", false},
                     {"<arg_key>", true},
                     {"</arg_key>", true},
                     {"<arg_value>", false},
                     {"</arg_value>", true}});
  CHECK(special_markers(kMistral, words) == std::vector<TokenId>{0, 3});
  CHECK(special_markers(kHermes, words) == std::vector<TokenId>{7});
  CHECK(special_markers(kLlama, words) == std::vector<TokenId>{4});
  CHECK(special_markers(kQwen3, words) == std::vector<TokenId>{8, 9, 7});
  CHECK(special_markers({CallFormat::qwen3_coder, ReasoningFormat::none}, words) == std::vector<TokenId>{7});
  CHECK(special_markers({CallFormat::glm45, ReasoningFormat::none}, words) ==
        std::vector<TokenId>{7, 14, 15, 17});
  CHECK(special_markers({CallFormat::pythonic, ReasoningFormat::none}, words) == std::vector<TokenId>{5, 6});
  for (const AnswerFormat& harmony : {AnswerFormat{CallFormat::harmony, ReasoningFormat::harmony},
                                      AnswerFormat{CallFormat::none, ReasoningFormat::harmony}})
    CHECK(special_markers(harmony, words) == std::vector<TokenId>{11, 12, 10});
  CHECK(end_markers({CallFormat::none, ReasoningFormat::harmony}, words) == std::vector<TokenId>{10});
  CHECK(end_markers(kHermes, words).empty());
  CHECK(special_markers(kPlain, words).empty());
}

TEST_CASE("formats are named as they are read") {
  for (const auto format :
       {CallFormat::none, CallFormat::hermes, CallFormat::llama3_json, CallFormat::mistral,
        CallFormat::qwen3_coder, CallFormat::pythonic, CallFormat::harmony, CallFormat::glm45})
    CHECK(parse_call_format(to_string(format)) == format);
  for (const auto format : {ReasoningFormat::none, ReasoningFormat::think, ReasoningFormat::harmony})
    CHECK(parse_reasoning_format(to_string(format)) == format);
  // vLLM's other names.
  CHECK(parse_call_format("qwen3_xml") == CallFormat::qwen3_coder);
  CHECK(parse_call_format("llama4_pythonic") == CallFormat::pythonic);
  CHECK(parse_call_format("openai") == CallFormat::harmony);
  CHECK(parse_reasoning_format("openai_gptoss") == ReasoningFormat::harmony);
  CHECK(to_string(CallFormat::qwen3_coder) == "qwen3_coder");
  CHECK(to_string(CallFormat::harmony) == "harmony");
  CHECK(to_string(ReasoningFormat::harmony) == "harmony");
  CHECK(to_string(CallFormat::pythonic) == "pythonic");
  CHECK(parse_call_format("glm47") == CallFormat::glm45);
  CHECK(to_string(CallFormat::glm45) == "glm45");
  CHECK_FALSE(parse_call_format("auto"));
  CHECK_FALSE(parse_reasoning_format(""));
}

TEST_CASE("harmony's calls and its reasoning go together") {
  CHECK(check_together({CallFormat::harmony, ReasoningFormat::harmony}));
  CHECK(check_together({CallFormat::none, ReasoningFormat::harmony}));
  CHECK_FALSE(check_together({CallFormat::harmony, ReasoningFormat::none}));
  CHECK_FALSE(check_together({CallFormat::harmony, ReasoningFormat::think}));
  CHECK_FALSE(check_together({CallFormat::hermes, ReasoningFormat::harmony}));
  for (const AnswerFormat& other : {kPlain, kHermes, kThink, kQwen3}) CHECK(check_together(other));
}
