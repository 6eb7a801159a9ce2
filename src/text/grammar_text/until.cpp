// Text up to the first occurrence of a string, as the automaton of Knuth, Morris and Pratt (1977) over
// characters: rule i has read the first i characters of `end`, and no longer beginning of it.
#include <string>
#include <vector>

#include "baton/text/grammar_text.hpp"
#include "text/grammar_text/char_class.hpp"
#include "text/utf8.hpp"

namespace baton {

namespace {

using text::CharSet;

std::vector<char32_t> characters_of(std::string_view valid) {
  std::vector<char32_t> characters;
  for (std::size_t i = 0; i < valid.size();) {
    const text::CodePoint point = text::code_point_at(valid, i);
    characters.push_back(point.value);
    i += point.length;
  }
  return characters;
}

// borders[i]: the longest proper beginning of the first i characters that is also their end.
std::vector<std::size_t> borders_of(const std::vector<char32_t>& end) {
  std::vector<std::size_t> borders(end.size() + 1, 0);
  for (std::size_t i = 1; i < end.size(); ++i) {
    std::size_t border = borders[i];
    while (border > 0 && end[border] != end[i]) border = borders[border];
    borders[i + 1] = end[border] == end[i] ? border + 1 : 0;
  }
  return borders;
}

}  // namespace

std::string GrammarText::until(std::string_view end) {
  const std::vector<char32_t> wanted = characters_of(text::to_valid_utf8(end));
  if (wanted.empty()) return literal("");
  const std::string form = "until: " + literal(end);
  if (const std::string* same = known(form); same != nullptr) return *same;
  const std::vector<std::size_t> borders = borders_of(wanted);
  std::vector<std::string> states;
  for (std::size_t i = 0; i < wanted.size(); ++i) states.push_back(reserve("until"));
  keep(form, states[0]);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    // The characters that lead on from here or from a shorter beginning; all others lead to the start.
    std::vector<CharSet::Range> leading;
    std::string body;
    for (std::size_t from = i;; from = borders[from]) {
      const char32_t character = wanted[from];
      if (!CharSet(leading).contains(character)) {
        leading.push_back({character, character});
        std::string spelled;
        text::append_utf8(character, spelled);
        body += literal(spelled) + (from + 1 < wanted.size() ? " " + states[from + 1] : "") + " | ";
      }
      if (from == 0) break;
    }
    define(states[i], body + plain_class(CharSet(leading).complement()) + " " + states[0]);
  }
  return states[0];
}

}  // namespace baton
