// What stands before a message of the harmony format: who writes it, in which channel, to whom, as what.
// <|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json, behind it <|message|>. The role
// is missing where the prompt has it, the recipient may stand before the channel, the type may be a bare
// word.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace baton::text {

struct HarmonyHeader {
  std::string channel;    // empty: none
  std::string recipient;  // empty: the user
};

// Without the <|message|>; nothing where it is no header of the model's own messages.
std::optional<HarmonyHeader> parse_harmony_header(std::string_view text);
// Whether a header that broke off has nothing in it that could be somebody's text.
bool is_harmony_markup(std::string_view text);

}  // namespace baton::text
