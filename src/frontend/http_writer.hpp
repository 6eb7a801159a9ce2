// HTTP/1.x bytes of replies: head, chunk framing, and the small texts around them.
#pragma once

#include <string>
#include <string_view>

#include "frontend/errors.hpp"
#include "frontend/http_message.hpp"

namespace baton::frontend {

// What the connection, not the answer, decides.
struct WireOptions {
  int version = 11;
  bool keep_alive = true;
  bool head_only = false;  // HEAD: the length is announced, the body left out
  std::string_view node_name;
};

HttpReply error_reply(const ApiError& error);

// Head and body in one piece.
std::string serialize(const HttpReply& reply, const WireOptions& options);
// The head of a body whose length is not known: chunked, or, for HTTP/1.0, ended by closing.
std::string serialize_stream_head(const HttpReply& reply, const WireOptions& options);
// One chunk; empty data would be the last chunk, so it must not be empty.
std::string encode_chunk(std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";
inline constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string_view reason_phrase(int status);

}  // namespace baton::frontend
