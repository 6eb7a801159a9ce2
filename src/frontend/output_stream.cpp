#include "frontend/output_stream.hpp"

#include <algorithm>

namespace baton::frontend {

OutputStream::OutputStream(const Tokenizer& tokenizer, std::span<const TokenId> prompt_tail,
                           OutputRules rules)
    : tokenizer_(tokenizer),
      rules_(std::move(rules)),
      detokenizer_(tokenizer, prompt_tail, rules_.special),
      stops_(rules_.stop),
      characters_(rules_.text_offset) {}

OutputPiece OutputStream::push(const SampledToken& token) {
  if (ended_) return {};
  const auto& ends = rules_.end_tokens;
  if (std::find(ends.begin(), ends.end(), token.token) != ends.end()) return {};
  const std::string text = detokenizer_.push(token.token);
  if (rules_.logprobs) pending_.push_back({make_entry(token), produced_, produced_ + text.size()});
  produced_ += text.size();
  characters_ += count_characters(text);
  StopStrings::Piece piece = stops_.push(text);
  return emit(std::move(piece.text), piece.stopped);
}

OutputPiece OutputStream::finish() {
  if (ended_) return {};
  const std::string rest = detokenizer_.finish();
  // The rest belongs to the tokens that began the incomplete character.
  for (Pending& pending : pending_) {
    if (pending.end == produced_) pending.end += rest.size();
  }
  produced_ += rest.size();
  StopStrings::Piece piece = stops_.push(rest);
  if (!piece.stopped) piece.text += stops_.finish();
  OutputPiece out = emit(std::move(piece.text), piece.stopped);
  ended_ = true;
  return out;
}

OutputPiece OutputStream::emit(std::string text, bool stopped) {
  OutputPiece out;
  emitted_ += text.size();
  out.text = std::move(text);
  out.stopped = stopped;
  while (!pending_.empty()) {
    Pending& first = pending_.front();
    const bool whole = first.end <= emitted_;
    if (!whole && !(stopped && first.begin < emitted_)) break;
    out.logprobs.push_back(std::move(first.entry));
    pending_.pop_front();
  }
  if (stopped) {
    ended_ = true;
    pending_.clear();
  }
  return out;
}

LogprobEntry OutputStream::make_entry(const SampledToken& token) const {
  LogprobEntry entry;
  entry.chosen = candidate(token.token, token.logprob);
  entry.text_offset = characters_;
  entry.top.reserve(token.top.size());
  for (const TokenLogprob& top : token.top) entry.top.push_back(candidate(top.token, top.logprob));
  return entry;
}

LogprobCandidate OutputStream::candidate(TokenId id, float logprob) const {
  LogprobCandidate out;
  out.logprob = logprob;
  out.bytes = tokenizer_.token_bytes(id);
  if (out.bytes.empty()) {
    out.token = tokenizer_.id_to_token(id);
  } else if (is_valid_utf8(out.bytes)) {
    out.token = out.bytes;
  } else {
    // A part of a character: OpenAI's spelling, so that different parts stay different keys.
    constexpr char kHex[] = "0123456789abcdef";
    out.token = "bytes:";
    for (const char c : out.bytes) {
      const auto byte = static_cast<unsigned char>(c);
      out.token.append("\\x").push_back(kHex[byte >> 4]);
      out.token.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

std::size_t count_characters(std::string_view utf8) {
  return static_cast<std::size_t>(std::count_if(
      utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

bool is_valid_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xc2 ? 0
                               : lead < 0xe0 ? 2
                               : lead < 0xf0 ? 3
                               : lead < 0xf5 ? 4
                                             : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    const auto second = length > 1 ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
      return false;
    }
    i += length;
  }
  return true;
}

}  // namespace baton::frontend
