#include "text/regex.hpp"

#include "text/utf8.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <vector>

namespace baton::text {
namespace {

constexpr std::string_view kWordClass = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

// Per thread: PCRE2 writes its result here. The JIT stack grows on demand up to its maximum.
struct MatchSpace {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(std::size_t{32} << 10, std::size_t{8} << 20, nullptr);

  MatchSpace() {
    if (context == nullptr) return;
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_match_limit(context, 5'000'000);
    pcre2_set_heap_limit(context, 64U << 10);  // KiB
  }
  MatchSpace(const MatchSpace&) = delete;
  MatchSpace& operator=(const MatchSpace&) = delete;
  ~MatchSpace() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

MatchSpace& match_space() {
  static thread_local MatchSpace space;
  return space;
}

// Rewrites an Oniguruma pattern for PCRE2 (UTF, UCP).
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else {
        plain_character(c);
      }
      if (!problem_.empty()) {
        return make_error(ErrorCode::unsupported,
                          "regular expression \"" + std::string(pattern_) + "\": " + problem_);
      }
    }
    return std::move(out_);
  }

 private:
  void escape() {
    if (at_ + 1 >= pattern_.size()) {
      problem_ = "it ends in a backslash";
      return;
    }
    const char c = pattern_[at_ + 1];
    at_ += 2;
    switch (c) {
      case 's':
        out_ += "\\p{White_Space}";
        return;
      case 'S':
        out_ += "\\P{White_Space}";
        return;
      case 'd':
        out_ += "\\p{Nd}";
        return;
      case 'D':
        out_ += "\\P{Nd}";
        return;
      case 'w':
        out_ += in_class_ ? std::string(kWordClass) : "[" + std::string(kWordClass) + "]";
        return;
      case 'W':
        if (in_class_) problem_ = "\\W inside a class";
        out_ += "[^" + std::string(kWordClass) + "]";
        return;
      case 'h':
        out_ += in_class_ ? "0-9a-fA-F" : "[0-9a-fA-F]";
        return;
      case 'u':
        unicode_escape();
        return;
      case 'b':
      case 'B':
        if (!in_class_) problem_ = "word boundaries";
        out_ += '\\';
        out_ += c;
        return;
      case 'H':
      case 'X':
      case 'C':
      case 'g':
      case 'K':
        problem_ = std::string("\\") + c;
        return;
      default:
        out_ += '\\';
        out_ += c;
        if ((c == 'p' || c == 'P' || c == 'x') && at_ < pattern_.size() && pattern_[at_] == '{') braces();
    }
  }

  // The {...} of \p{L}, not an interval.
  void braces() {
    const std::size_t end = std::min(pattern_.find('}', at_), pattern_.size() - 1);
    out_ += pattern_.substr(at_, end + 1 - at_);
    at_ = end + 1;
  }

  void unicode_escape() {
    std::string digits;
    while (digits.size() < 4 && at_ < pattern_.size() &&
           std::isxdigit(static_cast<unsigned char>(pattern_[at_]))) {
      digits += pattern_[at_++];
    }
    if (digits.size() != 4) problem_ = "\\u needs four digits";
    out_ += "\\x{" + digits + "}";
  }

  void class_character(char c) {
    if (c == '[' && pattern_.substr(at_, 2) == "[:") {
      const std::size_t end = pattern_.find(":]", at_);
      if (end == std::string_view::npos) {
        problem_ = "an open class";
        return;
      }
      out_ += pattern_.substr(at_, end + 2 - at_);
      at_ = end + 2;
      return;
    }
    if (c == '[') problem_ = "a class inside a class";
    if (pattern_.substr(at_, 2) == "&&") problem_ = "an intersection of classes";
    if (c == ']' && at_ != class_begin_) in_class_ = false;
    out_ += c;
    ++at_;
  }

  void plain_character(char c) {
    const std::string_view rest = pattern_.substr(at_);
    if (c == '[') {
      in_class_ = true;
      class_begin_ = at_ + (rest.substr(0, 2) == "[^" ? 2 : 1);
      out_ += pattern_.substr(at_, class_begin_ - at_);
      at_ = class_begin_;
      return;
    }
    if (c == '}' && rest.size() > 1 && rest[1] == '+')
      problem_ = "a repeated interval";  // possessive in PCRE2, not in Ruby
    if (rest.substr(0, 2) == "(?") {
      const std::size_t options = rest.find_first_not_of("imx-", 2);
      const std::string_view set = rest.substr(2, options == std::string_view::npos ? 0 : options - 2);
      if (set.find_first_of("mx") != std::string_view::npos) problem_ = "the options m and x";
    }
    if (rest.substr(0, 2) == "(*") problem_ = "verbs";
    out_ += c;
    ++at_;
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::size_t class_begin_ = 0;  // a ']' here is a member, not the end
  std::string out_;
  std::string problem_;
};

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

Result<Regex> Regex::compile(std::string_view pattern) {
  Result<std::string> translated = Translator(pattern).run();
  if (!translated) return translated.error();
  int code = 0;
  PCRE2_SIZE offset = 0;
  Regex regex;
  // Ruby's ^ and $ always match at line ends.
  constexpr std::uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  regex.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                                  kOptions, &code, &offset, nullptr));
  if (regex.code_ == nullptr) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(code, message, sizeof message);
    return make_error(ErrorCode::corrupt, "regular expression \"" + std::string(pattern) +
                                              "\": " + reinterpret_cast<const char*>(message));
  }
  regex.jit_ = pcre2_jit_compile(regex.code_.get(), PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

Result<Regex> Regex::literal(std::string_view text) {
  Regex regex;
  regex.literal_ = text;
  return regex;
}

std::optional<Regex::Span> Regex::find(std::string_view subject, std::size_t from) const {
  if (code_ == nullptr) {
    const std::size_t at = literal_.empty() ? std::string_view::npos : subject.find(literal_, from);
    if (at == std::string_view::npos) return std::nullopt;
    return Span{at, at + literal_.size()};
  }
  MatchSpace& space = match_space();
  if (space.data == nullptr) return std::nullopt;
  const auto* bytes = reinterpret_cast<PCRE2_SPTR>(subject.data());
  int count = PCRE2_ERROR_JIT_STACKLIMIT;
  if (jit_) count = pcre2_jit_match(code_.get(), bytes, subject.size(), from, 0, space.data, space.context);
  if (count == PCRE2_ERROR_JIT_STACKLIMIT) {
    count = pcre2_match(code_.get(), bytes, subject.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                        space.data, space.context);
  }
  if (count < 0) return std::nullopt;
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(space.data);
  if (span[0] < from || span[1] < span[0] || span[1] > subject.size()) return std::nullopt;
  return Span{span[0], span[1]};
}

std::optional<Regex::Span> Matches::next() {
  while (from_ <= subject_.size()) {
    const auto span = regex_->find(subject_, from_);
    if (!span) break;
    from_ = span->end;
    if (span->begin == span->end) {
      from_ += span->end < subject_.size() ? code_point_at(subject_, span->end).length : 1;
      if (span->begin == last_end_) continue;
    }
    last_end_ = span->end;
    return span;
  }
  from_ = subject_.size() + 1;
  return std::nullopt;
}

}  // namespace baton::text
