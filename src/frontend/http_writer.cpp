#include "frontend/http_writer.hpp"

#include <charconv>

namespace baton::frontend {
namespace {

void add_header(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  // A value never carries a line break into the head, whoever wrote it.
  for (const char c : value) out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c);
  out.append("\r\n");
}

std::string common_head(const HttpReply& reply, const WireOptions& options) {
  std::string out = options.version == 10 ? "HTTP/1.0 " : "HTTP/1.1 ";
  out.append(std::to_string(reply.status)).append(" ").append(reason_phrase(reply.status)).append("\r\n");
  if (!reply.content_type.empty()) add_header(out, "content-type", reply.content_type);
  if (!options.node_name.empty()) add_header(out, "x-baton-node", options.node_name);
  for (const auto& [name, value] : reply.headers) add_header(out, name, value);
  if (!options.keep_alive) {
    add_header(out, "connection", "close");
  } else if (options.version == 10) {
    add_header(out, "connection", "keep-alive");
  }
  return out;
}

}  // namespace

HttpReply error_reply(const ApiError& error) {
  HttpReply reply;
  reply.status = error.status;
  reply.body = error_body(error);
  if (error.retry_after_s > 0) reply.headers.emplace_back("retry-after", std::to_string(error.retry_after_s));
  if (error.status == 401) reply.headers.emplace_back("www-authenticate", "Bearer");
  if (error.never_retry) reply.headers.emplace_back("x-should-retry", "false");
  return reply;
}

std::string serialize(const HttpReply& reply, const WireOptions& options) {
  std::string out = common_head(reply, options);
  add_header(out, "content-length", std::to_string(reply.body.size()));
  out.append("\r\n");
  if (!options.head_only) out.append(reply.body);
  return out;
}

std::string serialize_stream_head(const HttpReply& reply, const WireOptions& options) {
  std::string out = common_head(reply, options);
  if (options.version >= 11) add_header(out, "transfer-encoding", "chunked");
  out.append("\r\n");
  return out;
}

std::string encode_chunk(std::string_view data) {
  char size[2 * sizeof(std::size_t)];
  const auto end = std::to_chars(size, size + sizeof size, data.size(), 16).ptr;
  std::string out;
  out.reserve(data.size() + 24);
  out.append(size, end).append("\r\n").append(data).append("\r\n");
  return out;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Payload Too Large";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Status";
  }
}

}  // namespace baton::frontend
