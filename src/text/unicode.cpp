#include "text/unicode.hpp"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>
#include <unicode/ustring.h>

#include "text/utf8.hpp"

namespace baton::text {
namespace {

const icu::Normalizer2* normalizer(NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  switch (form) {
    case NormalForm::nfc:
      return icu::Normalizer2::getNFCInstance(status);
    case NormalForm::nfd:
      return icu::Normalizer2::getNFDInstance(status);
    case NormalForm::nfkc:
      return icu::Normalizer2::getNFKCInstance(status);
    case NormalForm::nfkd:
      return icu::Normalizer2::getNFKDInstance(status);
  }
  return nullptr;
}

std::uint32_t category(char32_t c) { return U_GET_GC_MASK(static_cast<UChar32>(c)); }

template <class Map>
std::string map_case(std::string_view text, Map map) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    UChar from[2];
    int32_t from_length = 0;
    U16_APPEND_UNSAFE(from, from_length, static_cast<UChar32>(c.value));
    UChar to[8];
    UErrorCode status = U_ZERO_ERROR;
    const int32_t length = map(to, 8, from, from_length, "", &status);
    if (U_FAILURE(status) || length > 8) {
      out.append(text.substr(i, c.length));
    } else {
      for (int32_t k = 0; k < length;) {
        UChar32 mapped = 0;
        U16_NEXT(to, k, length, mapped);
        append_utf8(static_cast<char32_t>(mapped), out);
      }
    }
    i += c.length;
  }
  return out;
}

}  // namespace

bool normalize(NormalForm form, std::string_view text, std::string& out) {
  if (is_ascii(text)) return false;
  const icu::Normalizer2* instance = normalizer(form);
  if (instance == nullptr) return false;
  UErrorCode status = U_ZERO_ERROR;
  const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
  if (instance->isNormalizedUTF8(piece, status) && U_SUCCESS(status)) return false;
  status = U_ZERO_ERROR;
  out.clear();
  icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
  instance->normalizeUTF8(0, piece, sink, nullptr, status);
  return U_SUCCESS(status);
}

bool is_white_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0; }

bool is_word(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  return (category(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_isUAlphabetic(static_cast<UChar32>(c)) != 0 || c == 0x200C || c == 0x200D;
}

bool is_numeric(char32_t c) { return (category(c) & U_GC_N_MASK) != 0; }

bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  return (category(c) & U_GC_P_MASK) != 0;
}

bool is_mark(char32_t c) { return (category(c) & U_GC_M_MASK) != 0; }
bool is_letter(char32_t c) { return (category(c) & U_GC_L_MASK) != 0; }

std::string to_lower(std::string_view text) { return map_case(text, u_strToLower); }
std::string to_upper(std::string_view text) { return map_case(text, u_strToUpper); }

}  // namespace baton::text
