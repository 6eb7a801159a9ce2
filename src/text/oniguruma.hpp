// Oniguruma (Ruby syntax) patterns rewritten for PCRE2 with UTF and UCP, so that both match the same text.
#pragma once

#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton::text {

// unsupported: something whose meaning differs and has no rewriting (nested classes, word boundaries,
// x{1,2}+). A pattern that is simply wrong passes through; PCRE2 reports it.
Result<std::string> oniguruma_to_pcre2(std::string_view pattern);

}  // namespace baton::text
