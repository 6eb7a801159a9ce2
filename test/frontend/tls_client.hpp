// A TLS client over a blocking socket, and self-signed certificates to meet it with: OpenSSL, without Asio.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

namespace baton::test {

struct Pem {
  std::string certificate, key;
};

// For `name`, valid from an hour ago for `seconds`.
inline Pem self_signed(const std::string& name, long seconds = 86400) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), seconds - 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), subject);
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  const auto text = [](auto write) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> memory(BIO_new(BIO_s_mem()), BIO_free);
    write(memory.get());
    char* data = nullptr;
    const long size = BIO_get_mem_data(memory.get(), &data);
    return std::string(data, static_cast<std::size_t>(size));
  };
  return {text([&](BIO* out) { PEM_write_bio_X509(out, certificate.get()); }), text([&](BIO* out) {
            PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

class TlsClient {
 public:
  // Speaks no version above `newest` (0: any).
  explicit TlsClient(std::uint16_t port, int newest = 0, int receive_buffer = 0)
      : fd_(::socket(AF_INET, SOCK_STREAM, 0)), context_(SSL_CTX_new(TLS_client_method())) {
    const timeval limit{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool connected = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    SSL_CTX_set_security_level(context_, 0);  // so that old versions are offered at all
    if (newest != 0) SSL_CTX_set_max_proto_version(context_, newest);
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, fd_);
    secured_ = connected && SSL_connect(ssl_) == 1;
  }
  ~TlsClient() {
    close();
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  bool secured() const { return secured_; }
  std::string version() const { return SSL_get_version(ssl_); }
  std::string peer_name() const {
    char name[256] = {};
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl_), X509_free);
    if (certificate)
      X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name, sizeof name);
    return name;
  }
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const int n =
          SSL_write(ssl_, bytes.data(), static_cast<int>(std::min<std::size_t>(bytes.size(), 1 << 20)));
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  bool request(const std::string& start, const std::string& headers = "", const std::string& body = "") {
    return send(start + " HTTP/1.1\r\nHost: x\r\n" + headers +
                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  // What has come, once it contains `text` or the connection is over.
  const std::string& read_until(const std::string& text) {
    while (received_.find(text) == std::string::npos && more()) {
    }
    return received_;
  }
  const std::string& read_to_end() {
    while (more()) {
    }
    return received_;
  }
  bool ended_properly() const {
    return properly_;
  }  // with close_notify, so that nothing can have been cut off
  void close_notify() { SSL_shutdown(ssl_); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  bool more() {
    char block[16384];
    const int n = SSL_read(ssl_, block, sizeof block);
    if (n <= 0) {
      properly_ = SSL_get_error(ssl_, n) == SSL_ERROR_ZERO_RETURN;
      return false;
    }
    received_.append(block, static_cast<std::size_t>(n));
    return true;
  }

  int fd_;
  SSL_CTX* context_;
  SSL* ssl_ = nullptr;
  bool secured_ = false;
  bool properly_ = false;
  std::string received_;
};

}  // namespace baton::test
