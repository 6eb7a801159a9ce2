// Grammars written from literals, choices, ends and regular expressions: which texts follow them.
#include "baton/text/grammar_text.hpp"

#include <vector>

#include "baton/text/grammar.hpp"
#include "support/catch.hpp"

using namespace baton;

namespace {

bool follows(const GrammarText& grammar, const std::string& root, const std::string& text) {
  const auto result = follows_grammar(grammar.text(root), text);
  INFO(grammar.text(root));
  if (!result) FAIL(result.error().message);
  return *result;
}

bool matches(const std::string& pattern, const std::string& text) {
  GrammarText grammar;
  const auto root = grammar.regex(pattern);
  if (!root) FAIL(root.error().message);
  return follows(grammar, *root, text);
}

void check_matches(const std::string& pattern, const std::vector<std::string>& yes,
                   const std::vector<std::string>& no) {
  for (const std::string& text : yes) {
    INFO(pattern << " with " << text);
    CHECK(matches(pattern, text));
  }
  for (const std::string& text : no) {
    INFO(pattern << " with " << text);
    CHECK_FALSE(matches(pattern, text));
  }
}

Error error_of(const std::string& pattern) {
  GrammarText grammar;
  const auto root = grammar.regex(pattern);
  INFO(pattern);
  REQUIRE_FALSE(root.has_value());
  return root.error();
}

void check_refused(const std::string& pattern, ErrorCode code, const std::string& message) {
  const Error error = error_of(pattern);
  INFO(pattern << ": " << error.message);
  CHECK(error.code == code);
  CHECK(error.message.find(message) != std::string::npos);
}

}  // namespace

TEST_CASE("a literal is read back as the same bytes") {
  CHECK(GrammarText::literal("a\"b\\c\n") == R"("a\"b\\c\n")");
  for (const std::string text : {"", "plain", "a\"b\\c\n\t\r", "[a-z]* # ::=", "\u00e9\U0001F600"}) {
    CHECK(follows({}, GrammarText::literal(text), text));
    CHECK_FALSE(follows({}, GrammarText::literal(text), text + "x"));
  }
  const std::string controls("\x00\x01\x1F\x7F", 4);
  CHECK(follows({}, GrammarText::literal(controls), controls));
  CHECK(follows({}, GrammarText::literal("\xFF\x80 is no text"), "\xFF\x80 is no text"));
}

TEST_CASE("rules have names of their own, and one name for one body") {
  GrammarText grammar;
  CHECK(grammar.rule("a", "\"x\"") == "a");
  CHECK(grammar.rule("b", "\"x\"") == "a");
  CHECK(grammar.rule("a", "\"y\"") == "a-2");
  CHECK(grammar.rule("a-2", "\"z\"") == "a-2-2");
  CHECK(grammar.rule("a", "\"w\"") == "a-3");
  CHECK(grammar.rule("root", "\"v\"") == "root-2");
  CHECK(grammar.rule("two words\n::=", "\"u\"") == "two-words----");
  CHECK(grammar.rule("", "\"t\"") == "rule");
  CHECK(grammar.rule(std::string(500, 'n'), "\"s\"").size() == 64);
  CHECK(follows(grammar, "a a-2 root-2", "xyv"));
  CHECK(grammar.text("a").size() == grammar.size() + std::string("root ::= a\n").size());
}

TEST_CASE("rules may name each other") {
  GrammarText grammar;
  const std::string even = grammar.reserve("even");
  const std::string odd = grammar.rule("odd", "\"a\" " + even);
  grammar.define(even, "\"\" | \"a\" " + odd);
  CHECK(follows(grammar, even, "aaaa"));
  CHECK_FALSE(follows(grammar, even, "aaa"));
  grammar.keep("a form", odd);
  REQUIRE(grammar.known("a form") != nullptr);
  CHECK(*grammar.known("a form") == odd);
  CHECK(grammar.known("another form") == nullptr);
}

TEST_CASE("a choice is one of its texts") {
  GrammarText grammar;
  const std::vector<std::string> texts = {"yes", "no", "a \"b\"", ""};
  const std::string root = grammar.choice(texts);
  for (const std::string& text : texts) CHECK(follows(grammar, root, text));
  for (const char* text : {"y", "yesno", "a"}) CHECK_FALSE(follows(grammar, root, text));
}

TEST_CASE("until reads to the first occurrence of the end and no further") {
  const auto check = [](const std::string& end, const std::string& text) {
    GrammarText grammar;
    const std::string root = grammar.until(end);
    const std::size_t first = text.find(end);
    const bool expected = first != std::string::npos && first + end.size() == text.size();
    INFO(end << " in " << text);
    CHECK(follows(grammar, root, text) == expected);
  };
  // Every text of up to seven letters.
  for (const std::string end : {"a", "ab", "aa", "aab", "aba", "abab", "aabaa"}) {
    for (unsigned length = 0; length <= 7; ++length) {
      for (unsigned bits = 0; bits < 1u << length; ++bits) {
        std::string text;
        for (unsigned i = 0; i < length; ++i) text += (bits >> i & 1) != 0 ? 'b' : 'a';
        check(end, text);
      }
    }
  }
  for (const std::string text :
       {"x</think>", "</think></think>", "<</think>", "</th</think>", "</think", "\n\u00e9</think>"})
    check("</think>", text);
  for (const std::string text : {"aabaaabaaac", "aabaaac", "aabaabaaac", "aabaaaaac"}) check("aabaaac", text);
  // Characters that share bytes with each other: U+2581 and U+2582, U+00E9 and U+00E8.
  for (const std::string text :
       {"\u2581", "\u2582\u2581", "\u2581\u2581\u00e9", "\u2581\u00e8\u2581\u00e9", "\u2581\u00e9 "})
    check("\u2581\u00e9", text);
  GrammarText grammar;
  CHECK(grammar.until("end") == grammar.until("end"));
  CHECK(grammar.until("end") != grammar.until("ent"));
  CHECK(follows(grammar, grammar.until("<") + " " + grammar.until(">"), "a<b>"));
}

TEST_CASE("any JSON object") {
  GrammarText grammar;
  const std::string root = grammar.json_object();
  for (const char* text :
       {"{}", "{ }", R"({"a":1})", R"({"a": [1, -2.5e-3, "x\n\u00e9\ud83d\ude00", null], "": {"b": true}})",
        "{\n  \"a\": [\n    1,\n    2\n  ]\n}", "{\n\t\"a\": false\n}"})
    CHECK(follows(grammar, root, text));
  for (const char* text :
       {"", "[]", "1", R"({"a":})", R"({"a":1,})", R"({a:1})", R"({"a":01})", R"({"a":.5})", R"({"a":1.})",
        "{\"a\":\"\n\"}", R"({"a":"\x"})", R"({"a":"\ud83d"})", R"({"a":"\ude00"})", R"({"a" :1})",
        R"({"a":1} )", R"({"a":  1})", "{\n\n}", R"({"a":+1})", R"({"a":nul})"})
    CHECK_FALSE(follows(grammar, root, text));
}

TEST_CASE("regular expressions match the whole text") {
  check_matches("abc", {"abc"}, {"", "ab", "abcd", "xabc"});
  check_matches("", {""}, {"a"});
  check_matches("a|bc|", {"a", "bc", ""}, {"b", "ac", "abc"});
  check_matches("(a|b)c", {"ac", "bc"}, {"a", "c", "abc"});
  check_matches("(?:a|b)(?P<n>c)(?<m>d)", {"acd", "bcd"}, {"ac"});
  check_matches("^abc$", {"abc"}, {"^abc$"});
  check_matches("^a|b$", {"a", "b"}, {"ab"});
  check_matches("(^a|b)(c|d$)", {"ac", "bd"}, {"a"});
  check_matches("\\Aa\\Z", {"a"}, {"A"});
  check_matches("^$", {""}, {"a"});
}

TEST_CASE("regular expressions repeat") {
  check_matches("a*", {"", "a", "aaaa"}, {"b", "ab"});
  check_matches("a+b?", {"a", "ab", "aaab"}, {"", "b", "abb"});
  check_matches("a{2}", {"aa"}, {"a", "aaa"});
  check_matches("a{2,}", {"aa", "aaaaa"}, {"a"});
  check_matches("a{1,3}", {"a", "aa", "aaa"}, {"", "aaaa"});
  check_matches("a{0}b", {"b"}, {"ab"});
  check_matches("(ab){2}", {"abab"}, {"ab", "abb"});
  check_matches("a*?b+?c??", {"b", "aabbc"}, {"ac"});
  check_matches("a{2,3}?", {"aa", "aaa"}, {"a"});
  check_matches("a{x}{", {"a{x}{"}, {"aaa"});
}

TEST_CASE("what may be empty can be repeated without end") {
  check_matches("(a*)*", {"", "aaa"}, {"b"});
  check_matches("(a*b?)+", {"", "ab", "bba"}, {"c"});
  check_matches("(a?|b*c*|(d{0,2}){3,})*x", {"x", "aabcbddddx"}, {"", "e"});
  check_matches("(a{2,3}|)*", {"", "aa", "aaaaa"}, {"a"});
  check_matches("((a?){2,4}){1,}", {"", "aaaaaaaaaaaa"}, {"b"});
  check_matches("(|())*", {""}, {"a"});
  check_matches("(b{0}|a)*", {"", "aa"}, {"b"});
}

TEST_CASE("classes of characters") {
  check_matches("[abc]", {"a", "c"}, {"d", "", "ab"});
  check_matches("[^abc]", {"d", "\n", "\u00e9", "\U0001F600"}, {"a", ""});
  check_matches("[a-cx-z]+", {"abcxyz"}, {"d", "w"});
  check_matches("[\\d_.-]+", {"1_2.3-4"}, {"a", "\\"});
  check_matches("[\\]\\[\\^\\\\]+", {"][^\\"}, {"a"});
  check_matches("[a^-]+", {"a^-"}, {"b"});
  check_matches("[-a]+", {"-a"}, {"b"});
  check_matches("[\\w-]+", {"a-b"}, {"."});
  check_matches("[\"'(){}.*+?|$]+", {"\"'(){}.*+?|$"}, {"a"});
  check_matches("[\u00e0-\u00ff\U0001F600-\U0001F64F]", {"\u00e9", "\U0001F612"},
                {"e", "\u0100", "\U0001F650"});
  check_matches("[^\\u0000-\\u{10FFFE}]", {"\U0010FFFF"}, {"a", "\U0010FFFE"});
  check_matches("[a-ec-da]", {"a", "e"}, {"f"});
  check_matches("[\\b]", {"\b"}, {"b"});
  check_matches("\\d\\D\\w\\W\\s\\S", {"1a_- x", "0\u00e9Z\u00e9\n\u00e9"},
                {"aa_- x", "11_- x", "1a-- x", "1a__ x", "1a_-xx", "1a_-  "});
  check_matches("[^\\s\\d]", {"a", "\u00e9"}, {"1", "\t", "\v"});
  check_matches(".", {"a", "\u00e9", "\U0001F600", "\t"}, {"", "\n", "\r", "\u2028", "\u2029"});
}

TEST_CASE("escapes of characters") {
  check_matches("\\t\\n\\r\\f\\v\\0", {std::string("\t\n\r\f\v\0", 6)}, {"tnrfv0"});
  check_matches("\\x41\\u00e9\\u{1F600}\\U0001F600\\ud83d\\ude00", {"A\u00e9\U0001F600\U0001F600\U0001F600"},
                {"A"});
  check_matches("\\.\\*\\+\\?\\(\\)\\[\\]\\{\\}\\|\\^\\$\\/\\-\\\\\\\"", {".*+?()[]{}|^$/-\\\""}, {"a"});
  check_matches("[\\x41-\\u0043]", {"A", "B", "C"}, {"D"});
}

TEST_CASE("regular expressions that are refused, and at which character") {
  const auto unsupported = ErrorCode::unsupported;
  check_refused("(a)\\1", unsupported, "character 4 of a regular expression: back references");
  check_refused("(?P<n>a)(?P=n)", unsupported, "back references");
  check_refused("\\k<n>", unsupported, "back references");
  check_refused("\u00e9(?=a)", unsupported, "character 2 of a regular expression: lookahead");
  for (const char* look : {"(?!a)", "(?<=a)", "(?<!a)"})
    check_refused(look, unsupported, "lookahead and lookbehind");
  check_refused("(?>a)", unsupported, "atomic");
  check_refused("(?(1)a)", unsupported, "conditional");
  for (const char* flags : {"(?i)a", "(?i:a)", "(?#a)"}) check_refused(flags, unsupported, "flags");
  check_refused("\\bword\\b", unsupported, "word boundaries");
  check_refused("\\B", unsupported, "word boundaries");
  check_refused("\\p{L}", unsupported, "property classes");
  check_refused("[\\P{L}]", unsupported, "property classes");
  check_refused("[[:alpha:]]", unsupported, "POSIX");
  check_refused("a++", unsupported, "possessive");
  check_refused("a{,3}", unsupported, "{0,");
  check_refused("\\cA", unsupported, "escape");
  check_refused("\\012", unsupported, "escape");
  for (const char* middle : {"a^b", "a$b", "(a^)b", "(^a)*", "^^a", "(a|^)$b"})
    check_refused(middle, unsupported, "an anchor");
}

TEST_CASE("regular expressions that are wrong") {
  const auto invalid = ErrorCode::invalid_argument;
  check_refused("(a", invalid, "character 1 of a regular expression: a group without its )");
  check_refused("(?<name", invalid, "without its >");
  check_refused("a)", invalid, "closes nothing");
  check_refused("[a", invalid, "without its ]");
  check_refused("[a\\", invalid, "a backslash at the end");
  check_refused("[]a]", invalid, "begins with ]");
  check_refused("[^]a]", invalid, "begins with ]");
  check_refused("[^\\d\\D]", invalid, "no character");
  check_refused("[b-a]", invalid, "range");
  check_refused("[a-\\d]", invalid, "range");
  check_refused("*a", invalid, "nothing that could be repeated");
  check_refused("a|+", invalid, "nothing that could be repeated");
  check_refused("{2}", invalid, "nothing that could be repeated");
  check_refused("a**", invalid, "a quantifier behind a quantifier");
  check_refused("a{2}{3}", invalid, "a quantifier behind a quantifier");
  check_refused("^*", invalid, "an anchor cannot be repeated");
  check_refused("a{3,2}", invalid, "smallest count above the largest");
  check_refused("a\\", invalid, "a backslash at the end");
  for (const char* digits :
       {"\\x4", "\\x4g", "\\x.1", "\\u12", "\\u{}", "\\u{110000}", "\\ud83d", "\\ude00", "\\ud83da"})
    check_refused(digits, invalid, "hexadecimal");
  check_refused("\xFF", invalid, "UTF-8");
  check_refused("a{65537}", ErrorCode::too_large, "65536");
  check_refused("a{1,99999999999999999999}", ErrorCode::too_large, "65536");
  CHECK(error_of(std::string(60'000, '(')).code == ErrorCode::too_large);
  CHECK(error_of(std::string(100'000, 'a')).code == ErrorCode::too_large);
  GrammarText grammar;
  CHECK(grammar.regex(std::string(60, '(') + std::string(60, ')')).has_value());
}
