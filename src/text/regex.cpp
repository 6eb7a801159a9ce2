#include "text/regex.hpp"

#include "text/oniguruma.hpp"
#include "text/utf8.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace baton::text {
namespace {

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

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

Result<Regex> Regex::compile(std::string_view pattern) {
  Result<std::string> translated = oniguruma_to_pcre2(pattern);
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
