#include "text/answer/harmony_header.hpp"

#include <algorithm>

#include "text/answer/call_parser.hpp"
#include "text/answer/events.hpp"

namespace baton::text {
namespace {

constexpr std::array kWords = {kHarmonyRole,   kHarmonyReasoning,        kHarmonyCalls,
                               kHarmonyAnswer, std::string_view("json"), std::string_view("code")};

bool is_marker(std::string_view piece) {
  return std::ranges::find(kHarmonyMarkers, piece) != kHarmonyMarkers.end();
}

// Takes the next marker or word from the front; empty where there is none.
std::string_view take_piece(std::string_view& text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  std::size_t size = 0;
  for (const std::string_view marker : kHarmonyMarkers) {
    if (text.starts_with(marker)) size = marker.size();
  }
  if (size == 0) size = std::min(text.size(), text.find_first_of(" \n\r\t<", 1));
  const std::string_view piece = text.substr(0, size);
  text.remove_prefix(size);
  return piece;
}

bool is_recipient(std::string_view name) {
  return !name.empty() && name != kHarmonyFunctions && name.size() <= kMostName &&
         std::ranges::all_of(name, may_be_in_name);
}

}  // namespace

std::optional<HarmonyHeader> parse_harmony_header(std::string_view text) {
  HarmonyHeader header;
  std::string_view marker;  // whose word comes next
  bool typed = false;
  for (std::string_view piece = take_piece(text); !piece.empty(); piece = take_piece(text)) {
    if (is_marker(piece)) {
      marker = piece;
      continue;
    }
    const std::string_view before = std::exchange(marker, {});
    if (before == kHarmonyStart) {
      if (piece != kHarmonyRole) return std::nullopt;
    } else if (before == kHarmonyChannel) {
      header.channel = piece;
    } else if (piece.starts_with(kHarmonyTo)) {
      header.recipient = piece.substr(kHarmonyTo.size());
      if (!is_recipient(header.recipient)) return std::nullopt;
    } else if (std::exchange(typed, true)) {
      return std::nullopt;
    }
  }
  return header;
}

bool is_harmony_markup(std::string_view text) {
  bool marked = false;
  for (std::string_view piece = take_piece(text); !piece.empty(); piece = take_piece(text)) {
    const bool last = text.empty();
    const auto is_this = [&](std::string_view known) {
      return piece == known || (last && known.starts_with(piece));
    };
    if (is_marker(piece)) marked = true;
    if (!piece.starts_with(kHarmonyTo) && !is_this(kHarmonyTo) && std::ranges::none_of(kWords, is_this) &&
        std::ranges::none_of(kHarmonyMarkers, is_this))
      return false;
  }
  return marked;
}

}  // namespace baton::text
