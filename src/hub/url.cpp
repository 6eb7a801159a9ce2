// The pure half of http.hpp: URLs and headers, over libcurl's own parsers.
#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "hub/http.hpp"

namespace baton::hub {
namespace {

struct Closer {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(char* text) const { curl_free(text); }
};

std::unique_ptr<CURLU, Closer> parse(const std::string& url) {
  std::unique_ptr<CURLU, Closer> parsed(curl_url());
  if (!parsed || url.find('\0') != url.npos ||
      curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
    return nullptr;
  return parsed;
}

std::string part(CURLU* url, CURLUPart which, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, flags) != CURLUE_OK) return {};
  return std::unique_ptr<char, Closer>(text).get();
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

}  // namespace

std::optional<std::string> origin_of(const std::string& url) {
  const auto parsed = parse(url);
  if (!parsed) return std::nullopt;
  const std::string scheme = lower(part(parsed.get(), CURLUPART_SCHEME));
  const std::string host = lower(part(parsed.get(), CURLUPART_HOST));
  if ((scheme != "http" && scheme != "https") || host.empty()) return std::nullopt;
  return scheme + "://" + host + ":" + part(parsed.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

std::optional<std::string> resolve_url(const std::string& base, const std::string& reference) {
  const auto parsed = parse(base);
  if (!parsed || reference.find('\0') != reference.npos ||
      curl_url_set(parsed.get(), CURLUPART_URL, reference.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
    return std::nullopt;
  return part(parsed.get(), CURLUPART_URL);
}

std::string plain_url(const std::string& url) {
  const auto parsed = parse(url);
  if (!parsed) return "a broken URL";
  for (const CURLUPart secret : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT})
    curl_url_set(parsed.get(), secret, nullptr, 0);
  return part(parsed.get(), CURLUPART_URL);
}

std::optional<Duration> parse_retry_after(const std::string& text, std::int64_t now_unix_s) {
  std::int64_t seconds = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, seconds);
  if (read.ec != std::errc() || read.ptr != end) {
    const std::int64_t when = curl_getdate(text.c_str(), nullptr);
    if (when < 0) return std::nullopt;
    seconds = when - now_unix_s;
  }
  constexpr std::int64_t kDay = 86400;
  return std::chrono::seconds(std::clamp<std::int64_t>(seconds, 0, kDay));
}

std::optional<std::uint64_t> range_begin(const std::string& content_range) {
  constexpr std::string_view kUnit = "bytes ";
  if (!lower(content_range.substr(0, kUnit.size())).starts_with(kUnit)) return std::nullopt;
  std::uint64_t begin = 0;
  const char* const end = content_range.data() + content_range.size();
  const auto read = std::from_chars(content_range.data() + kUnit.size(), end, begin);
  if (read.ec != std::errc() || read.ptr == end || *read.ptr != '-') return std::nullopt;
  return begin;
}

}  // namespace baton::hub
