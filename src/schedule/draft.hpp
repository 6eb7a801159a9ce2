// Drafts: guesses at the tokens behind a sequence's newest one, computed beside it and kept as far as they
// are what would have been sampled anyway. They are looked up in the sequence itself (prompt lookup, Saxena
// 2023): texts that quote, edit or repeat what is there already go on as that did.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "baton/base/token.hpp"

namespace baton {

// What followed the latest of the longest earlier copies of the end of `tokens`, up to four of them, `most`
// tokens; nothing where the last two did not come before, within the last 32768.
std::vector<TokenId> look_up_draft(std::span<const TokenId> tokens, std::size_t most);

// How long the next guess of one sequence may be, by how its last ones turned out.
class DraftLength {
 public:
  explicit DraftLength(std::int32_t most) : most_(most), length_(most) {}
  // 0: not in this step. Asked once for each step.
  std::int32_t next();
  void turned_out(std::int32_t guessed, std::int32_t right);

 private:
  std::int32_t most_;
  std::int32_t length_;
  std::int32_t pause_ = 0;       // steps without a guess that are left
  std::int32_t next_pause_ = 1;  // after a guess that is all wrong
};

}  // namespace baton
