// The one place where an Error becomes what an HTTP client sees: a status and OpenAI's error object.
//
// Invariant: every ErrorCode has exactly one status, and every failing answer of the frontend, a stream's
// last words included, is a body made here.
#pragma once

#include <string>

#include "baton/base/result.hpp"

namespace baton::frontend {

struct ApiError {
  int status = 500;
  std::string message;
  std::string type;          // "invalid_request_error", "rate_limit_error", "server_error"
  std::string param;         // the request's field; null in the body where empty
  std::string code;          // null in the body where empty
  int retry_after_s = 0;     // Retry-After; 0: none
  bool never_retry = false;  // x-should-retry: false, for the official client
};

int http_status(ErrorCode code);
ApiError api_error(const Error& error);

// Errors of HTTP itself, which no ErrorCode stands for: unknown path, wrong method, header or body limits.
ApiError http_error(int status, std::string message);

// {"error": {"message", "type", "param", "code"}}
std::string error_body(const ApiError& error);

}  // namespace baton::frontend
