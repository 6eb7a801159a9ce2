#include "app/http_client.hpp"

#include <curl/curl.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

namespace baton {
namespace {

constexpr std::size_t kMostBytes = 64 << 20;  // of an answer

struct Closer {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

std::size_t append(const char* data, std::size_t size, std::size_t count, void* into) {
  auto& text = *static_cast<std::string*>(into);
  if (text.size() + size * count > kMostBytes) return 0;  // ends the transfer with an error
  text.append(data, size * count);
  return size * count;
}

Error answered(long status, const std::string& body) {
  std::string message = "HTTP " + std::to_string(status);
  const auto document = nlohmann::json::parse(body, nullptr, false);
  if (document.is_object() && document.contains("error") && document["error"].is_object())
    message = document["error"].value("message", message);
  const ErrorCode code = status == 401   ? ErrorCode::unauthenticated
                         : status == 404 ? ErrorCode::not_found
                         : status == 429 ? ErrorCode::overloaded
                         : status < 500  ? ErrorCode::invalid_argument
                                         : ErrorCode::unavailable;
  return make_error(code, message);
}

}  // namespace

Result<std::string> http_call(const HttpCall& call) {
  const std::unique_ptr<CURL, Closer> curl(curl_easy_init());
  if (!curl) return make_error(ErrorCode::internal, "libcurl does not start");
  std::string body;
  std::unique_ptr<curl_slist, Closer> headers(curl_slist_append(nullptr, "Accept: application/json"));
  const auto add_header = [&](const std::string& line) {
    if (curl_slist* longer = curl_slist_append(headers.get(), line.c_str())) {
      (void)headers.release();
      headers.reset(longer);
    }
  };
  if (!call.api_key.empty()) add_header("Authorization: Bearer " + call.api_key);
  if (!call.body.empty()) add_header("Content-Type: application/json");
  CURL* handle = curl.get();
  curl_easy_setopt(handle, CURLOPT_URL, call.url.c_str());
  curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  if (!call.body.empty()) curl_easy_setopt(handle, CURLOPT_POSTFIELDS, call.body.c_str());
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(to_milliseconds(call.timeout)));
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &append);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &body);
  if (const CURLcode code = curl_easy_perform(handle); code != CURLE_OK)
    return make_error(ErrorCode::unavailable, call.url + ": " + curl_easy_strerror(code));
  long status = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  if (status < 200 || status >= 300) return answered(status, body);
  return body;
}

std::string api_key_or_environment(const std::string& flag) {
  if (!flag.empty()) return flag;
  const char* key = std::getenv("BATON_API_KEY");  // NOLINT(concurrency-mt-unsafe): before any thread
  return key == nullptr ? "" : key;
}

}  // namespace baton
