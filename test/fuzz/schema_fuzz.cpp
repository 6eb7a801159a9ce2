// JSON schemas and regular expressions from requests, written as grammars. What comes out must be a grammar,
// whatever went in. The first byte picks which of them it is.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "baton/text/grammar.hpp"
#include "baton/text/grammar_text.hpp"

namespace {

using namespace baton;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

// Whether a grammar can be compiled depends on more than its notation: that it is not too large for it, and
// that some text follows it at all, which nobody asks a schema.
void check(const GrammarText& grammar, const Result<std::string>& root) {
  if (!root) {
    require(!root.error().message.empty());
    require(root.error().code == ErrorCode::invalid_argument || root.error().code == ErrorCode::unsupported ||
            root.error().code == ErrorCode::too_large);
    return;
  }
  const std::string text = grammar.text(*root);
  const auto follows = follows_grammar(text, "{\"a\": [1]}");
  if (follows || follows.error().code == ErrorCode::too_large) return;
  const std::string_view message = follows.error().message;
  require(message.find("no text at all") != std::string_view::npos ||
          message.find("too many ways") != std::string_view::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  GrammarText grammar;
  if (data[0] % 2 == 0) {
    const auto schema = nlohmann::ordered_json::parse(input, nullptr, false);
    if (!schema.is_discarded()) check(grammar, grammar.json_schema(schema));
  } else {
    check(grammar, grammar.regex(input));
    check(grammar, grammar.until(input.substr(0, 100)));  // they are Baton's own
  }
  return 0;
}
