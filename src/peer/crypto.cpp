#include "peer/crypto.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <algorithm>
#include <vector>

namespace baton::peer {
namespace {

const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

bool fill_random(std::span<std::byte> bytes) {
  return RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) == 1;
}

bool equal_constant_time(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Key hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> data) {
  Key out{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), raw(data), data.size(),
       reinterpret_cast<unsigned char*>(out.data()), &size);
  return out;
}

Key hkdf_extract(std::span<const std::byte> salt, std::string_view secret) {
  return hmac_sha256(salt, std::as_bytes(std::span(secret)));
}

Key hkdf_expand(const Key& pseudorandom, std::string_view label, std::span<const std::byte> context) {
  const auto text = std::as_bytes(std::span(label));
  std::vector<std::byte> info(text.begin(), text.end());
  info.insert(info.end(), context.begin(), context.end());
  info.push_back(std::byte{1});  // T(1), the first and only block
  return hmac_sha256(pseudorandom, info);
}

struct FrameMac::State {
  EVP_MAC* algorithm = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  EVP_MAC_CTX* context = EVP_MAC_CTX_new(algorithm);
  ~State() {
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(algorithm);
  }
};

FrameMac::FrameMac(const Key& key) : state_(std::make_unique<State>()) {
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0),
                               OSSL_PARAM_construct_end()};
  EVP_MAC_init(state_->context, raw(key), key.size(), params);
}
FrameMac::~FrameMac() = default;
FrameMac::FrameMac(FrameMac&&) noexcept = default;
FrameMac& FrameMac::operator=(FrameMac&&) noexcept = default;

Tag FrameMac::tag(std::span<const std::byte> data) {
  Key full{};
  std::size_t size = 0;
  EVP_MAC_init(state_->context, nullptr, 0, nullptr);  // the same key again
  EVP_MAC_update(state_->context, raw(data), data.size());
  EVP_MAC_final(state_->context, reinterpret_cast<unsigned char*>(full.data()), &size, full.size());
  Tag tag{};
  std::copy_n(full.begin(), tag.size(), tag.begin());
  return tag;
}

}  // namespace baton::peer
