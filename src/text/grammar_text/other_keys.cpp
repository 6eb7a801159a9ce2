// The complement of a trie: beside each character of a declared key, any other leads to free text.
//
// Invariant: each character has one spelling here. "\u0061" would otherwise be another key than "a" to the
// grammar and the same to whoever parses it.
#include "text/grammar_text/other_keys.hpp"

#include <map>
#include <utility>

#include "text/grammar_text/char_class.hpp"
#include "text/grammar_text/json_values.hpp"
#include "text/utf8.hpp"

namespace baton::text {

namespace {

struct Trie {
  struct Node {
    std::map<char32_t, std::size_t> next;
    bool ends = false;
  };
  std::vector<Node> nodes = std::vector<Node>(1);  // a node stands before those that it leads to

  void add(const std::string& key) {
    const std::string valid = to_valid_utf8(key);
    std::size_t at = 0;
    for (std::size_t i = 0; i < valid.size();) {
      const CodePoint point = code_point_at(valid, i);
      i += point.length;
      const auto [next, is_new] = nodes[at].next.try_emplace(point.value, nodes.size());
      at = next->second;
      if (is_new) nodes.emplace_back();
    }
    nodes[at].ends = true;
  }
};

// The characters that stand for themselves inside a JSON string, and those that do not.
const std::vector<CharSet::Range> kEscaped = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
const std::vector<CharSet::Range> kRaw = CharSet(kEscaped).complement().ranges();

// Those of `among` that are not taken.
std::string others(std::vector<CharSet::Range> taken, const std::vector<CharSet::Range>& among) {
  const std::vector<CharSet::Range> outside = CharSet(among).complement().ranges();
  taken.insert(taken.end(), outside.begin(), outside.end());
  return json_class(CharSet(std::move(taken)).complement());
}

}  // namespace

std::string other_keys(GrammarText& out, const std::vector<std::string>& declared) {
  if (declared.empty()) return json_string(out);
  Trie trie;
  for (const std::string& key : declared) trie.add(key);
  const std::string any = out.rule("plain-character", json_class(CharSet().complement()));
  const std::string free = out.rule("plain-text", any + "*");
  std::vector<std::string> rules(trie.nodes.size());
  for (std::size_t i = trie.nodes.size(); i-- > 0;) {
    const Trie::Node& node = trie.nodes[i];
    if (node.next.empty()) {
      rules[i] = out.rule("longer-text", any + "+");
      continue;
    }
    std::vector<CharSet::Range> taken;
    std::string body = node.ends ? "" : "\"\" | ";
    for (const auto& [character, next] : node.next) {
      taken.push_back({character, character});
      body.append(GrammarText::literal(json_spelling(character))).append(" ");
      body.append(rules[next]).append(" | ");
    }
    body += others(taken, kRaw) + " " + free;
    if (const std::string escaped = others(taken, kEscaped); !escaped.empty())
      body += " | " + out.rule("escaped-text", escaped + " " + free);
    rules[i] = out.rule("other-key", body);
  }
  return out.rule("other-key", "\"\\\"\" " + rules[0] + " \"\\\"\"");
}

}  // namespace baton::text
