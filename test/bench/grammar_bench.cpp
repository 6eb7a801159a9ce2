// What binding an output to a grammar costs its engine: masks over a real vocabulary, while a text of JSON is
// written token by token.
//
//   grammar_bench FOLDER_OF_A_TOKENIZER [--text]
//
// --text prints the text that is written, for scripts/compare_grammars.py.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "baton/text/grammar.hpp"

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kJson = R"(
root ::= " "? object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws ( member ("," ws member)* )? "}" ws
member ::= string ":" ws value ws
array ::= "[" ws ( value ws ("," ws value ws)* )? "]"
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1f\x7f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
ws ::= [ \t\n]{0,20}
)";

// The texts of such an object are cut where they may go on no longer: each character there is a place of its
// own.
constexpr const char* kBounded = R"(
root ::= " "? "{\"people\": [" person (", " person)* "]}"
person ::= "{\"name\": " short ", \"age\": " [0-9]{1,3} ", \"city\": " short ", \"tags\": [" medium (", " medium)* "], \"score\": 0." [0-9]{1,9} ", \"active\": true, \"notes\": null}"
short ::= "\"" char{1,20} "\""
medium ::= "\"" char{2,60} "\""
char ::= [^"\\\x00-\x1f\x7f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
)";

double microseconds(Clock::duration d) { return std::chrono::duration<double, std::micro>(d).count(); }

std::string text_of(std::size_t bytes) {
  std::string out = "{\"people\": [";
  for (int i = 0; out.size() < bytes; ++i) {
    out += i == 0 ? "" : ", ";
    out += R"({"name": "Person number )" + std::to_string(i) + R"(", "age": )" + std::to_string(20 + i % 60) +
           R"(, "city": "San Francisco", "tags": ["new", "a \"friend\"", "café"], "score": 0.)" +
           std::to_string(i) + R"(, "active": true, "notes": null})";
  }
  return out + "]}";
}

void report(const char* what, std::vector<double> times) {
  std::ranges::sort(times);
  double sum = 0;
  for (const double t : times) sum += t;
  std::printf("%-34s %8.1f mean %8.1f median %8.1f p99 %8.1f max (microseconds a token)\n", what,
              sum / static_cast<double>(times.size()), times[times.size() / 2],
              times[times.size() * 99 / 100], times.back());
}

bool measure(const char* name, const char* text, baton::GrammarCompiler& compiler,
             const std::vector<baton::TokenId>& tokens, std::size_t vocabulary) {
  auto begin = Clock::now();
  const auto grammar = compiler.compile(text);
  std::printf("%s: grammar compiled in %.1f ms\n", name, microseconds(Clock::now() - begin) / 1000);
  if (!grammar) return false;
  std::vector<std::uint32_t> allowed(baton::mask_words(vocabulary));
  for (const char* what : {"masks, first output", "masks, second output"}) {
    const auto mask = (*grammar)->start();
    std::vector<double> writes, advances;
    for (const baton::TokenId token : tokens) {
      begin = Clock::now();
      if (!mask->write(allowed)) return false;
      writes.push_back(microseconds(Clock::now() - begin));
      begin = Clock::now();
      if (!mask->advance(token)) return false;
      advances.push_back(microseconds(Clock::now() - begin));
    }
    report(what, writes);
    report("  taking the token", advances);
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: grammar_bench FOLDER_OF_A_TOKENIZER [--text]\n");
    return 2;
  }
  const std::string text = text_of(4000);
  if (argc > 2) {
    std::printf("%s", text.c_str());
    return 0;
  }
  const auto tokenizer = baton::load_tokenizer(argv[1]);
  if (!tokenizer) {
    std::fprintf(stderr, "%s\n", tokenizer.error().message.c_str());
    return 1;
  }
  const auto tokens = (*tokenizer)->encode(text, {false});
  auto begin = Clock::now();
  const auto compiler = baton::make_grammar_compiler(**tokenizer, {});
  std::printf("vocabulary of %zu read in %.1f ms\n", (*tokenizer)->vocab_size(),
              microseconds(Clock::now() - begin) / 1000);
  for (const auto& [name, text_of_grammar] :
       {std::pair{"any JSON object", kJson}, {"bounded strings", kBounded}})
    if (!measure(name, text_of_grammar, *compiler, tokens, (*tokenizer)->vocab_size())) return 1;
  return 0;
}
