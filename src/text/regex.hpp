// Regular expressions of tokenizer.json, with the meaning that Oniguruma (Ruby syntax) gives them, run by
// PCRE2's JIT.
//
// Hugging Face tokenizers matches with Oniguruma; the two agree on what these patterns use but for a few
// classes (\s, \w, \h), which compile() rewrites. What cannot be rewritten is refused as unsupported rather
// than matched differently. Subjects must be valid UTF-8: PCRE2's own check is off, for it would be quadratic
// over one long text. A compiled Regex is immutable and shared between threads; each thread has its own match
// data and JIT stack.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

struct pcre2_real_code_8;

namespace baton::text {

class Regex {
 public:
  struct Span {
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  static Result<Regex> compile(std::string_view pattern);
  static Result<Regex> literal(std::string_view text);

  // The first match at or after `from`. None, too, where the match limit is hit: a hostile pattern costs
  // bounded time.
  std::optional<Span> find(std::string_view subject, std::size_t from) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
  std::string literal_;  // searched for without PCRE2 where not empty
  bool jit_ = false;
};

// All matches from left to right, as Oniguruma's find_iter gives them: an empty match right behind the last
// match does not count.
class Matches {
 public:
  Matches(const Regex& regex, std::string_view subject) : regex_(&regex), subject_(subject) {}
  std::optional<Regex::Span> next();

 private:
  const Regex* regex_;
  std::string_view subject_;
  std::size_t from_ = 0;
  std::size_t last_end_ = std::string_view::npos;
};

}  // namespace baton::text
