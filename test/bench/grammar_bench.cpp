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
  begin = Clock::now();
  const auto grammar = compiler->compile(kJson);
  std::printf("grammar compiled in %.1f ms\n", microseconds(Clock::now() - begin) / 1000);
  if (!grammar) return 1;
  std::vector<std::uint32_t> allowed(baton::mask_words((*tokenizer)->vocab_size()));
  for (const char* what : {"masks, first output", "masks, second output"}) {
    const auto mask = (*grammar)->start();
    std::vector<double> writes, advances;
    for (const baton::TokenId token : tokens) {
      begin = Clock::now();
      if (!mask->write(allowed)) return 1;
      writes.push_back(microseconds(Clock::now() - begin));
      begin = Clock::now();
      if (!mask->advance(token)) return 1;
      advances.push_back(microseconds(Clock::now() - begin));
    }
    report(what, writes);
    report("  taking the token", advances);
  }
  return 0;
}
