#include "frontend/errors.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace baton::frontend {
namespace {

constexpr std::size_t kLongestText =
    1000;  // bytes; messages quote what the client sent, which may be megabytes

// What fits, ending between two UTF-8 characters.
std::string shortened(std::string text) {
  if (text.size() <= kLongestText) return text;
  std::size_t end = kLongestText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text + "...";
}

std::string or_default(const std::string& text, const char* fallback) {
  return text.empty() ? fallback : shortened(text);
}

std::string_view code_name(const Error& error) {
  switch (error.code) {
    case ErrorCode::invalid_argument:
      return "invalid_value";
    case ErrorCode::unsupported:
      return "unsupported_value";
    case ErrorCode::not_found:
      return error.field == "model" ? "model_not_found" : "not_found";
    case ErrorCode::unauthenticated:
      return "invalid_api_key";
    case ErrorCode::too_large:
      return "context_length_exceeded";
    default:
      return to_string(error.code);
  }
}

}  // namespace

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::unsupported:
    case ErrorCode::too_large:  // a prompt past the context; bodies past their limit are HTTP's own 413
      return 400;
    case ErrorCode::unauthenticated:
      return 401;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::overloaded:
      return 429;
    case ErrorCode::unavailable:
    case ErrorCode::out_of_memory:
    case ErrorCode::cancelled:  // by an operator: a client that cancelled reads no answer
      return 503;
    case ErrorCode::deadline_exceeded:
      return 504;
    case ErrorCode::corrupt:
    case ErrorCode::io:
    case ErrorCode::internal:
      return 500;
  }
  return 500;
}

ApiError api_error(const Error& error) {
  ApiError out;
  out.status = http_status(error.code);
  out.message = or_default(error.message, "The server could not answer this request.");
  out.param = shortened(error.field);
  out.code = code_name(error);
  const auto later = static_cast<int>(std::clamp<std::uint32_t>(error.retry_after_s, 1, 3600));
  if (out.status == 429) {
    out.type = "rate_limit_error";
    out.retry_after_s = later;
  } else {
    out.type = out.status < 500 ? "invalid_request_error" : "server_error";
    if (out.status == 503) out.retry_after_s = later;
    // The time is spent: the official client would send the same long request twice more.
    out.never_retry = out.status == 504;
  }
  return out;
}

ApiError http_error(int status, std::string message) {
  ApiError out;
  out.status = status;
  out.message = std::move(message);
  out.type = status < 500 ? "invalid_request_error" : "server_error";
  switch (status) {
    case 403:
      out.code = "insufficient_permissions";
      break;
    case 404:
      out.code = "unknown_url";
      break;
    case 405:
      out.code = "method_not_allowed";
      break;
    case 408:
      out.code = "request_timeout";
      break;
    case 413:
      out.code = "body_too_large";
      break;
    case 431:
      out.code = "headers_too_large";
      break;
    case 503:
      out.code = "unavailable";
      out.retry_after_s = 1;
      break;
    default:
      out.code = status < 500 ? "bad_request" : "internal";
  }
  return out;
}

std::string error_body(const ApiError& error) {
  using Json = nlohmann::ordered_json;
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  Json inner;
  inner["message"] = error.message;
  inner["type"] = error.type;
  inner["param"] = text_or_null(error.param);
  inner["code"] = text_or_null(error.code);
  Json body;
  body["error"] = std::move(inner);
  // Messages may quote what the client sent: replace rather than throw on broken UTF-8.
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace baton::frontend
