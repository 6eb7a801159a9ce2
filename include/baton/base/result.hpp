// Result<T> and Error: what every function returns that the outside world can make fail.
//
// std::expected's interface, until C++23. An Error carries a code (mapped to an HTTP status in one place,
// frontend/errors), a message for people, and the name of the offending field where there is one. Invariant:
// a Result holds either a value or an Error, and Error never holds code "ok".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace baton {

enum class ErrorCode : std::uint8_t {
  invalid_argument,   // the caller's input is wrong; Error::field names where
  not_found,          // no such model, file, peer, request
  unauthenticated,    // wrong or missing secret or key
  too_large,          // a body, prompt or frame over its limit
  overloaded,         // a bounded queue is full; retry later
  deadline_exceeded,  // a wait ran out
  cancelled,          // the client or an operator asked for it
  unavailable,        // a peer, device or transport is gone; retry elsewhere
  corrupt,            // data that contradicts itself: digest, offsets, encoding
  unsupported,        // well formed, but not something Baton can do
  out_of_memory,      // blocks, device or host memory exhausted
  io,                 // the operating system said no
  internal,           // our own bug
};

std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::string field;  // the JSON path, flag, key or tensor that is wrong; empty where none applies
  std::uint32_t retry_after_s = 0;  // with overloaded or unavailable: when it may go better; 0: unknown
};

inline Error make_error(ErrorCode code, std::string message, std::string field = {}) {
  return Error{code, std::move(message), std::move(field), 0};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Error& error() & { return std::get<1>(state_); }
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

  template <class U>
  T value_or(U&& fallback) const& {
    return has_value() ? value() : static_cast<T>(std::forward<U>(fallback));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  void value() const {}

  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return *std::move(error_); }

 private:
  std::optional<Error> error_;
};

}  // namespace baton
