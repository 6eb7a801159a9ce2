// Grammars: which texts follow them, and whether masks say the same as walking each token.
#include "baton/text/grammar.hpp"

#include <algorithm>
#include <array>
#include <barrier>
#include <cstdio>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/test_data.hpp"
#include "text/small_vocabulary.hpp"
#include "text/utf8.hpp"

using namespace baton;
using test::json_tokens;
using test::SmallVocabulary;

namespace {

constexpr const char* kJson = R"(
root ::= object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws ( member ("," ws member)* )? "}" ws
member ::= string ":" ws value ws
array ::= "[" ws ( value ws ("," ws value ws)* )? "]"
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1f\x7f] | "\\" (["\\/bfnrt] | "u" hex{4})
hex ::= [0-9a-fA-F]
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
ws ::= [ \t\n]{0,4}
)";

bool follows(const std::string& grammar, const std::string& text) {
  const auto result = follows_grammar(grammar, text);
  if (!result) FAIL(result.error().message);
  return *result;
}

Error error_of(const std::string& grammar) {
  const auto result = follows_grammar(grammar, "");
  REQUIRE(!result.has_value());
  return result.error();
}

// Each of the rules may have taken any share of the text.
std::string many_readings(int rules) {
  std::string root = "root ::= ", out;
  for (int i = 0; i < rules; ++i) {
    const std::string name = "x" + std::to_string(i);
    root += name + " ";
    out += name + " ::= [a-c]*\n";
  }
  return root + "\"!\"\n" + out;
}

class Output {
 public:
  Output(GrammarCompiler& compiler, const std::string& grammar, std::size_t vocabulary)
      : allowed_(mask_words(vocabulary)) {
    auto compiled = compiler.compile(grammar);
    if (!compiled) FAIL(compiled.error().message);
    grammar_ = *compiled;
    mask_ = grammar_->start();
  }

  bool advance(TokenId token) {
    if (!mask_->advance(token)) return false;
    tokens_.push_back(token);
    return true;
  }
  std::vector<TokenId> allowed() {
    std::vector<TokenId> out;
    if (!mask_->write(allowed_)) return out;
    for (std::size_t i = 0; i < allowed_.size() * 32; ++i)
      if ((allowed_[i / 32] >> (i % 32) & 1) != 0) out.push_back(static_cast<TokenId>(i));
    return out;
  }
  // By walking each token's bytes from the beginning.
  std::vector<TokenId> allowed_one_by_one(std::size_t vocabulary) const {
    std::vector<TokenId> out;
    for (TokenId id = 0; std::cmp_less(id, vocabulary); ++id)
      if (would_advance(id)) out.push_back(id);
    return out;
  }
  bool would_advance(TokenId id) const {
    const auto again = grammar_->start();
    for (const TokenId token : tokens_) REQUIRE(again->advance(token));
    return again->advance(id);
  }
  bool ended() const { return mask_->ended(); }
  const std::vector<TokenId>& tokens() const { return tokens_; }

 private:
  std::shared_ptr<const TokenGrammar> grammar_;
  std::unique_ptr<TokenMask> mask_;
  std::vector<std::uint32_t> allowed_;
  std::vector<TokenId> tokens_;
};

// Walks outputs at random and compares at every token.
void compare_masks(const std::string& grammar, int outputs, std::uint64_t seed) {
  const SmallVocabulary vocabulary(json_tokens());
  const auto last = static_cast<TokenId>(vocabulary.vocab_size() - 1);
  const auto compiler = make_grammar_compiler(vocabulary, {last});
  std::mt19937_64 random(seed);
  for (int i = 0; i < outputs; ++i) {
    Output output(*compiler, grammar, vocabulary.vocab_size());
    for (int length = 0; length < 24 && !output.ended(); ++length) {
      const std::vector<TokenId> allowed = output.allowed();
      REQUIRE(!allowed.empty());
      REQUIRE(allowed == output.allowed_one_by_one(vocabulary.vocab_size()));
      // Longer tokens are rarer among what is allowed, and more interesting.
      TokenId choice = allowed[random() % allowed.size()];
      if (random() % 2 == 0)
        choice = allowed[allowed.size() - 1 - random() % std::min<std::size_t>(allowed.size(), 8)];
      REQUIRE(output.advance(choice));
    }
    const std::string text = vocabulary.decode(output.tokens(), false);
    if (output.ended()) CHECK(follows(grammar, text));
  }
}

}  // namespace

TEST_CASE("texts follow a grammar or do not") {
  CHECK(follows(kJson, R"({"a": [1, -2.5e3, "x\u00e9\n", {}], "b": {"c": null}})"));
  CHECK(follows(kJson, "{}"));
  CHECK(!follows(kJson, R"({"a": 01})"));
  CHECK(!follows(kJson, R"({"a": 1,})"));
  CHECK(!follows(kJson, R"({"a": 1)"));
  CHECK(!follows(kJson, "{\"a\": \"\n\"}"));
  CHECK(!follows(kJson, "{\"a\": \"\xFF\"}"));
  CHECK(follows("root ::= \"a\"{2,3} | [b-d]+ # comment\n", "aa"));
  CHECK(!follows("root ::= \"a\"{2,3}", "aaaa"));
  CHECK(!follows("root ::= \"a\"{2,3}", "a"));
  CHECK(follows("root ::= \"a\"{2,}", "aaaaaa"));
  CHECK(follows("root ::= [^a-z]", "\u4F60"));
  CHECK(!follows("root ::= [^a-z\u4F60]", "\u4F60"));
  CHECK(follows("root ::= .", "\U0001F600"));
  CHECK(!follows("root ::= .", "\xED\xA0\x80"));  // a surrogate
  CHECK(follows(R"(root ::= "\x41\u00e9\U0001F600\"\\")", "A\u00e9\U0001F600\"\\"));
  CHECK(follows(R"(root ::= [\]\-\^a])", "-"));
  CHECK(follows(R"(root ::= [a-])", "-"));
  CHECK(follows("root ::= x y\nx ::= \"1\"\n\n  | \"2\"\ny ::= \"\"", "2"));
  CHECK(follows("root ::= \"(\" root \")\" | \"\"", "((()))"));
  CHECK(!follows("root ::= \"(\" root \")\" | \"\"", "((())"));
  CHECK(follows("root ::= (\"a\"?)* \"b\"", "aab"));
  CHECK(follows("root ::= a b\na ::= \"x\"? | a2*\na2 ::= \"y\" root?\nb ::= \"z\"", "yxzz"));
}

TEST_CASE("every range of characters is exactly its UTF-8") {
  std::mt19937_64 random(3);
  const auto is_character = [](char32_t p) { return p <= 0x10FFFF && (p < 0xD800 || p > 0xDFFF); };
  const auto point = [&] {
    const char32_t limits[] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
    const auto p = static_cast<char32_t>(random() % (limits[random() % 4] + 1));
    return is_character(p) ? p : U'a';
  };
  for (int i = 0; i < 60; ++i) {
    char32_t low = point(), high = point();
    if (low > high) std::swap(low, high);
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "root ::= [\\U%08x-\\U%08x]", static_cast<unsigned>(low),
                  static_cast<unsigned>(high));
    const std::u32string points{low, high, low - 1, high + 1, point(), point(), (low + high) / 2};
    for (const char32_t p : points) {
      if (!is_character(p)) continue;
      std::string utf8;
      text::append_utf8(p, utf8);
      INFO(text.data() << " and " << static_cast<unsigned>(p));
      CHECK(follows(text.data(), utf8) == (low <= p && p <= high));
    }
  }
}

TEST_CASE("what is wrong with a grammar is said, with the line") {
  CHECK(error_of("").message.find("no rule 'root'") != std::string::npos);
  CHECK(error_of("root ::= \"a\"\nb ::= c").message.find("line 2: rule 'c' is not defined") !=
        std::string::npos);
  CHECK(error_of("root ::= \"a\"\nroot ::= \"b\"").message.find("line 2: rule 'root' is defined twice") !=
        std::string::npos);
  CHECK(error_of("root ::= \"a").message.find("not closed") != std::string::npos);
  CHECK(error_of("root ::= [a").message.find("not closed") != std::string::npos);
  CHECK(error_of("root ::= (\"a\"").message.find("not closed") != std::string::npos);
  CHECK(error_of("root ::= [b-a]").message.find("backwards") != std::string::npos);
  CHECK(error_of("root ::= [^\\x00-\\U0010FFFF]").message.find("no characters") != std::string::npos);
  CHECK(error_of("root ::= \"\\q\"").message.find("\\q") != std::string::npos);
  CHECK(error_of("root ::= \"\\ud800\"").message.find("no character") != std::string::npos);
  CHECK(error_of("root ::= \"a\"{3,2}").message.find("more than its most") != std::string::npos);
  CHECK(error_of("root ::= \"a\"{70000}").message.find("65536") != std::string::npos);
  CHECK(error_of("root ::= \"a\" |").message.find("alternative is empty") != std::string::npos);
  CHECK(error_of("root ::= \xFF").message.find("UTF-8") != std::string::npos);
  CHECK(error_of("root ::= \"a\" root").message.find("no text at all") != std::string::npos);
  CHECK(error_of(std::string("root ::= ") + std::string(5000, '(')).message.find("deeply") !=
        std::string::npos);
}

TEST_CASE("a rule that begins with itself is refused by name, one that only seems to is not") {
  CHECK(error_of("root ::= a\na ::= a \"x\" | \"y\"").message.find("rule 'a' begins with itself") !=
        std::string::npos);
  CHECK(error_of("root ::= \"1\" a\na ::= b \"x\" | \"y\"\nb ::= n a\nn ::= \"q\"*").code ==
        ErrorCode::unsupported);
  // The way back leads over a node that the search has left already.
  CHECK(error_of("root ::= \"1\" a\na ::= n* m \"x\" | \"y\"\nn ::= \"q\"* | m\nm ::= \"z\" | n n a").code ==
        ErrorCode::unsupported);
  CHECK(follows("root ::= \"x\" root | \"y\"", "xxy"));
  CHECK(follows("root ::= n* \"b\"\nn ::= \"a\" | m*\nm ::= \"c\"", "acab"));
}

TEST_CASE("grammars beyond the limits are refused, and soon") {
  CHECK(follows("root ::= (\"abc\" [x-z]){2,60000}", "abcxabcy"));
  std::string copies = "root ::= ";
  for (int i = 0; i < 5; ++i) copies += "(\"abc\" [x-z]){60000} ";
  CHECK(error_of(copies).code == ErrorCode::too_large);
  CHECK(error_of("root ::= ([ab]* \"a\" [ab]{20}) \"c\"").code == ErrorCode::too_large);
  CHECK(error_of("root ::= \"a\"" + std::string(256 << 10, ' ')).code == ErrorCode::too_large);
  for (const int rules :
       {200, 40000}) {  // neither recursion nor time; so many calls at once are not followed
    std::string chain = "root ::= r0\n";
    for (int i = 0; i < rules; ++i)
      chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + "\n";
    const auto followed = follows_grammar(chain + "r" + std::to_string(rules) + " ::= [a-z]*", "x");
    CHECK((followed ? *followed : rules > 200));
  }
  const auto lost = follows_grammar(many_readings(1200), std::string(400, 'a') + "!");
  REQUIRE(!lost.has_value());
  CHECK(lost.error().message.find("too many ways") != std::string::npos);
  CHECK(follows(many_readings(500), std::string(40, 'a') + "!"));
}

TEST_CASE("masks allow exactly the tokens that fit") {
  compare_masks(kJson, 30, 1);
  compare_masks("root ::= \"\\\"\" [a-z\u4F60]{0,9} \"\\\"\" | \"a\"{3,40} \"b\"", 20, 2);
  compare_masks(
      "root ::= ([a-z]{2,5} | \"ab\" x | \"name\") (\",\" root)?\nx ::= \"c\" | \"c\" y\ny ::= [0-9]{1,3} | "
      "\"a\" x",
      20, 3);
  compare_masks(
      "root ::= t0\nt0 ::= [^<] t0 | \"<\" t1\nt1 ::= [^/<] t0 | \"<\" t1 | \"/\" t2\nt2 ::= [^t<] t0 | "
      "\"<\" t1 | \"think>\" \"\\n\"",
      20, 4);
  compare_masks("root ::= (\"a\" n){0,16} \"b\"\nn ::= \"[\" n \"]\" | \"\"", 20, 6);
  compare_masks("root ::= (item \"\\n\"?){2,70}\nitem ::= \"[\" item? \"]\" | \"{}\" | \"ab\"{1,30}", 20, 5);
}

TEST_CASE("an output ends where nothing can follow, or at an end of sequence where it may end") {
  const SmallVocabulary vocabulary(json_tokens());
  const auto last = static_cast<TokenId>(vocabulary.vocab_size() - 1);
  const auto compiler = make_grammar_compiler(vocabulary, {last});
  Output closed(*compiler, "root ::= \"{\" [0-9]* \"}\"", vocabulary.vocab_size());
  CHECK(!closed.advance(last));
  CHECK(closed.advance('{'));
  CHECK(!closed.advance('x'));
  CHECK(closed.advance('1'));
  CHECK(!closed.advance(last));
  CHECK(!closed.ended());
  CHECK(closed.advance('}'));
  CHECK(closed.ended());
  CHECK(closed.allowed() == std::vector<TokenId>{last});
  Output open(*compiler, "root ::= [0-9]+", vocabulary.vocab_size());
  CHECK(!open.advance(last));
  CHECK(open.advance('1'));
  CHECK(!open.ended());
  CHECK(open.allowed().back() == last);
  CHECK(open.advance(last));
  CHECK(open.ended());
  CHECK(!open.advance('1'));
  CHECK(open.allowed() == std::vector<TokenId>{last});
}

TEST_CASE("a vocabulary that cannot spell a grammar is said to be one") {
  const SmallVocabulary vocabulary({"a", "b", ""});
  const auto compiler = make_grammar_compiler(vocabulary, {2});
  Output output(*compiler, "root ::= \"ac\"", 3);
  CHECK(output.allowed() == std::vector<TokenId>{0});
  CHECK(output.advance(0));
  CHECK(output.allowed().empty());
  CHECK(!output.ended());
}

TEST_CASE("a mask may be shorter or longer than the tokenizer's vocabulary") {
  const SmallVocabulary vocabulary(json_tokens());
  const auto compiler = make_grammar_compiler(vocabulary, {300000});
  const auto mask = (*compiler->compile("root ::= \"a\"* | \"\\xff\""))->start();
  std::vector<std::uint32_t> shorter(4), longer(40, 0xFFFFFFFF);
  CHECK(mask->write(shorter));
  CHECK(shorter['a' / 32] == 1U << ('a' % 32));
  CHECK(mask->write(longer));
  for (std::size_t i = mask_words(vocabulary.vocab_size()); i < longer.size(); ++i) CHECK(longer[i] == 0);
  CHECK(!mask->advance(-1));
  CHECK(!mask->advance(1 << 20));
}

TEST_CASE("a mask counts what taking a token has cost at most") {
  const SmallVocabulary vocabulary(json_tokens());
  const auto compiler = make_grammar_compiler(vocabulary, {});
  std::string many = "root ::= r1";
  for (int i = 2; i <= 100; ++i) many += " | r" + std::to_string(i);
  for (int i = 1; i <= 100; ++i)
    many += "\nr" + std::to_string(i) + " ::= \"a\"* \"b\" \"c\"{" + std::to_string(i) + "}";
  const auto plain = (*compiler->compile("root ::= \"a\"* \"b\" \"c\"*"))->start();
  const auto wide = (*compiler->compile(many))->start();
  CHECK(wide->advance_time() == Duration{});
  REQUIRE(plain->advance('a'));
  REQUIRE(wide->advance('a'));
  CHECK(plain->advance_time() > Duration{});
  CHECK(wide->advance_time() >= 50 * plain->advance_time());
  const Duration most = wide->advance_time();
  REQUIRE(wide->advance('b'));
  for (int i = 0; i < 95; ++i) REQUIRE(wide->advance('c'));
  CHECK(wide->advance_time() >= most);
}

TEST_CASE("what was compiled lately is not compiled again") {
  const SmallVocabulary vocabulary(json_tokens());
  GrammarLimits limits;
  limits.cached = 2;
  const auto compiler = make_grammar_compiler(vocabulary, {}, {}, limits);
  const auto first = *compiler->compile("root ::= \"a\"");
  const auto second = *compiler->compile("root ::= \"b\"");
  CHECK(*compiler->compile("root ::= \"a\"") == first);
  const auto third = *compiler->compile("root ::= \"c\"");
  CHECK(*compiler->compile("root ::= \"a\"") == first);
  CHECK(*compiler->compile("root ::= \"b\"") != second);  // used last longest ago
}

TEST_CASE("what was refused is remembered like what was not, unless it is too long to keep") {
  const SmallVocabulary vocabulary(json_tokens());
  GrammarLimits limits;
  limits.cached = 2;
  limits.text = 100;
  const auto compiler = make_grammar_compiler(vocabulary, {}, {}, limits);
  const auto first = *compiler->compile("root ::= \"a\"");
  const auto second = *compiler->compile("root ::= \"b\"");
  const auto refused = compiler->compile("root ::= nothing");
  REQUIRE_FALSE(refused);
  CHECK(*compiler->compile("root ::= \"b\"") == second);
  CHECK(compiler->compile("root ::= nothing").error().message == refused.error().message);
  CHECK(compiler->compile("root ::= \"" + std::string(100, 'a') + "\"").error().code == ErrorCode::too_large);
  CHECK(*compiler->compile("root ::= \"b\"") == second);
  CHECK(*compiler->compile("root ::= \"a\"") != first);  // the refusal has its place
}

TEST_CASE("threads that want the same grammar have it compiled once") {
  const SmallVocabulary vocabulary(json_tokens());
  const auto compiler = make_grammar_compiler(vocabulary, {});
  constexpr int kThreads = 4;
  std::array<std::shared_ptr<const TokenGrammar>, kThreads> got;
  std::barrier begin(kThreads);
  {
    std::vector<std::jthread> threads;
    for (auto& mine : got)
      threads.emplace_back([&] {
        begin.arrive_and_wait();
        mine = *compiler->compile("root ::= [ab]* \"a\" [ab]{11}");  // for some milliseconds
      });
  }
  for (const auto& one : got) CHECK(one == got.front());
}

TEST_CASE("Llama 3's vocabulary writes JSON") {
  const auto folder = test::shared_data("tokenizers/llama3");
  if (!folder) return test::skipped("Llama 3's tokenizer", "shared");
  const auto tokenizer = load_tokenizer(*folder);
  REQUIRE(tokenizer.has_value());
  const TokenId end = (*tokenizer)->token_to_id("<|end_of_text|>").value();
  const auto compiler = make_grammar_compiler(**tokenizer, {end});
  const std::string text = R"({"name": "Zo\u00eb \"Z\"", "caf\u00e9": [1, 20.5, true], "x": {"y": null}})";
  Output output(*compiler, kJson, (*tokenizer)->vocab_size());
  for (const TokenId token : (*tokenizer)->encode(text, {false})) {
    const std::vector<TokenId> allowed = output.allowed();
    INFO((*tokenizer)->token_bytes(token));
    CHECK(std::ranges::binary_search(allowed, token));
    // A sample of the others, walked one by one.
    CHECK(output.advance(token));
  }
  CHECK(!output.ended());  // white space may follow
  CHECK(std::ranges::binary_search(output.allowed(), end));
}

TEST_CASE("texts of bounded length are followed to their end with a real vocabulary") {
  const auto folder = test::shared_data("tokenizers/llama3");
  if (!folder) return test::skipped("Llama 3's tokenizer", "shared");
  const auto tokenizer = load_tokenizer(*folder);
  REQUIRE(tokenizer.has_value());
  const std::size_t vocabulary = (*tokenizer)->vocab_size();
  std::string text;
  while (text.size() < 600) text += "The quick brown fox, who was \u4F60\u597D, jumped over them all again. ";
  for (const std::size_t bound : {1, 9, 20, 140, 500}) {
    const auto compiler = make_grammar_compiler(**tokenizer, {});  // nothing is remembered
    const std::string range = "{" + std::to_string(bound - 1) + "," + std::to_string(bound) + "}";
    Output output(*compiler, "root ::= \"{\\\"a\\\": \\\"\" [^\"\\\\\\x00-\\x1f]" + range + " \"\\\"}\"",
                  vocabulary);
    std::size_t characters = 0;
    std::string cut;
    for (const char c : text) {
      if ((static_cast<unsigned char>(c) & 0xC0) != 0x80 && characters++ == bound) break;
      cut += c;
    }
    const auto tokens = (*tokenizer)->encode("{\"a\": \"" + cut + "\"}", {false});
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::vector<TokenId> allowed = output.allowed();
      INFO("bound " << bound << ", token " << i << " of " << tokens.size());
      REQUIRE(std::ranges::binary_search(allowed, tokens[i]));
      if (i + 12 > tokens.size() && i % 3 == 0) {
        for (TokenId id = static_cast<TokenId>(i % 37); std::cmp_less(id, vocabulary); id += 37)
          REQUIRE(std::ranges::binary_search(allowed, id) == output.would_advance(id));
      }
      REQUIRE(output.advance(tokens[i]));
    }
    CHECK(output.ended());
  }
}

TEST_CASE("a text so long that its characters are rules of their own has the same masks") {
  const auto folder = test::shared_data("tokenizers/llama3");
  if (!folder) return test::skipped("Llama 3's tokenizer", "shared");
  const auto tokenizer = load_tokenizer(*folder);
  REQUIRE(tokenizer.has_value());
  const std::size_t vocabulary = (*tokenizer)->vocab_size();
  const auto compiler = make_grammar_compiler(**tokenizer, {});
  // In the second form few characters are, too: what they return to tells how many may follow.
  const char* grammar =
      R"g(root ::= "{\"a\": " text "}" | "[" text ("," text)* "]" | "(" few ")" | "<" few "," few ">"
text ::= "\"" char{0,60000} "\""
few ::= big{0,14}
big ::= char | "\\" ("one" | "two" | "three" | "four" | "five" | "six" | "seven" | "eight" | "nine" | "ten") "of them, and what is written here is long enough for a rule that is not written out"
char ::= [^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))g";
  for (const char* text :
       {R"({"a": "some words, \u00e9"})", R"(["x","\"y\" and so on","z"])", "(some words now)", "<ab,cd>"}) {
    Output output(*compiler, grammar, vocabulary);
    for (const TokenId token : (*tokenizer)->encode(text, {false})) {
      const std::vector<TokenId> allowed = output.allowed();
      INFO(text << " before " << (*tokenizer)->token_bytes(token));
      for (TokenId id = token % 41; std::cmp_less(id, vocabulary); id += 41)
        REQUIRE(std::ranges::binary_search(allowed, id) == output.would_advance(id));
      REQUIRE(output.advance(token));
    }
    CHECK(output.ended() == (text[0] != '<'));  // where more characters may follow
  }
}

TEST_CASE("whether an output can go on does not depend on what others have had worked out") {
  const SmallVocabulary vocabulary(json_tokens());
  const auto compiler = make_grammar_compiler(vocabulary, {});
  for (const int rules : {50, 150, 300, 500, 900}) {
    std::vector<std::size_t> lengths;
    for (int i = 0; i < 3; ++i) {
      Output output(*compiler, many_readings(rules), vocabulary.vocab_size());
      std::size_t length = 0;
      while (length < 10 && !output.allowed().empty() && output.advance('a')) ++length;
      lengths.push_back(length);
    }
    INFO(rules << " rules");
    CHECK(lengths == std::vector<std::size_t>(3, lengths.front()));
    CHECK((lengths.front() == 10) == (rules < 100));
  }
}
