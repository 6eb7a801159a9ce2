// TLS for the HTTP listeners, over OpenSSL: 1.2 and later, a certificate chain and its key from PEM files.
// Asio's and OpenSSL's headers for it stay in tls.cpp.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>

#include "baton/base/result.hpp"
#include "frontend/byte_stream.hpp"

namespace baton::frontend {

// One certificate and key, ready for any number of connections. Immutable, thread-safe.
struct TlsContext;

// Fails where a file cannot be read, is no PEM, needs a passphrase, or the two do not belong together. An
// expired certificate loads: its clients say so better than a daemon that does not start.
Result<std::shared_ptr<TlsContext>> load_tls_context(const std::string& certificate, const std::string& key);
bool expired(const TlsContext& context);

// Puts a TLS stream in the place of a plain one that nobody is reading, and does the server's half of the
// handshake. No deadline of its own: closing the socket ends it, with an error.
boost::asio::awaitable<void> tls_handshake(std::unique_ptr<ByteStream>& stream,
                                           std::shared_ptr<TlsContext> context, ByteStream::ErrorCode& error);

}  // namespace baton::frontend
