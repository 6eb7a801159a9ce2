#include "frontend/tls.hpp"

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace baton::frontend {

namespace asio = boost::asio;
using asio::ip::tcp;

struct TlsContext {
  asio::ssl::context ssl{asio::ssl::context::tls_server};
};

namespace {

class TlsStream final : public ByteStream {
 public:
  TlsStream(tcp::socket socket, std::shared_ptr<TlsContext> context)
      : context_(std::move(context)), stream_(std::move(socket), context_->ssl) {}

  asio::ssl::stream<tcp::socket>& layer() { return stream_; }
  tcp::socket& socket() override { return stream_.next_layer(); }

  void read_some(std::span<char> into, ReadHandler done) override {
    stream_.async_read_some(asio::buffer(into.data(), into.size()), std::move(done));
  }

  // A record that leaves the engine must reach the socket whole, which only the waiting write sees to.
  std::size_t write_now(std::string_view, ErrorCode&) override { return 0; }

  asio::awaitable<std::size_t> write_some(std::string_view data, ErrorCode& error) override {
    co_return co_await stream_.async_write_some(asio::buffer(data.data(), data.size()),
                                                asio::redirect_error(asio::use_awaitable, error));
  }

  // close_notify goes out at once; that Asio then waits for the peer's ends with the socket at the latest.
  void end_writing(std::function<void()> done) override {
    stream_.async_shutdown([done = std::move(done)](const ErrorCode&) { done(); });
  }

 private:
  const std::shared_ptr<TlsContext> context_;  // shared: outlives a reload
  asio::ssl::stream<tcp::socket> stream_;
};

Error unusable(const std::string& file, const std::string& why, const char* flag) {
  return make_error(ErrorCode::invalid_argument, file + ": " + why, flag);
}

}  // namespace

Result<std::shared_ptr<TlsContext>> load_tls_context(const std::string& certificate, const std::string& key) {
  auto out = std::make_shared<TlsContext>();
  SSL_CTX* native = out->ssl.native_handle();
  ByteStream::ErrorCode error;
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  // A client that renegotiates makes us do the costly part again and again.
  SSL_CTX_set_options(native,
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // OpenSSL's own callback would ask on the terminal.
  out->ssl.set_password_callback([](std::size_t, asio::ssl::context::password_purpose) { return ""; }, error);
  out->ssl.use_certificate_chain_file(certificate, error);
  if (error) return unusable(certificate, "no certificate in PEM: " + error.message(), "--tls-cert");
  out->ssl.use_private_key_file(key, asio::ssl::context::pem, error);
  if (error) {
    // This call also compares the two.
    return unusable(
        key, "no unencrypted private key in PEM, or not the one of " + certificate + ": " + error.message(),
        "--tls-key");
  }
  return out;
}

bool expired(const TlsContext& context) {
  // The context is not changed by looking at it; OpenSSL's signature is older than const.
  const X509* certificate =
      SSL_CTX_get0_certificate(const_cast<asio::ssl::context&>(context.ssl).native_handle());
  return certificate != nullptr && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

asio::awaitable<void> tls_handshake(std::unique_ptr<ByteStream>& stream, std::shared_ptr<TlsContext> context,
                                    ByteStream::ErrorCode& error) {
  auto secured = std::make_unique<TlsStream>(std::move(stream->socket()), std::move(context));
  auto& layer = secured->layer();
  stream = std::move(secured);
  co_await layer.async_handshake(asio::ssl::stream_base::server,
                                 asio::redirect_error(asio::use_awaitable, error));
}

}  // namespace baton::frontend
