#include "hub/digest.hpp"

#include <openssl/evp.h>

#include <algorithm>

namespace baton::hub {
namespace {

constexpr std::string_view kSha256 = "sha256:", kGitSha1 = "git-sha1:";

EVP_MD_CTX* context_of(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

bool is_hex_digest(std::string_view hex, DigestKind kind) {
  return hex.size() == (kind == DigestKind::sha256 ? 64U : 40U) &&
         std::ranges::all_of(hex, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Result<Digest> parse_digest(std::string_view text) {
  Digest digest;
  digest.kind = text.starts_with(kGitSha1) ? DigestKind::git_sha1 : DigestKind::sha256;
  const std::string_view prefix = digest.kind == DigestKind::git_sha1 ? kGitSha1 : kSha256;
  if (!text.starts_with(prefix) || !is_hex_digest(text.substr(prefix.size()), digest.kind))
    return make_error(ErrorCode::corrupt, "no hash");
  digest.hex = text.substr(prefix.size());
  return digest;
}

void Hasher::Closer::operator()(void* context) const { EVP_MD_CTX_free(context_of(context)); }

Result<Hasher> Hasher::start(DigestKind kind, std::uint64_t size) {
  Hasher hasher(kind);
  hasher.context_.reset(EVP_MD_CTX_new());
  if (!hasher.context_ ||
      EVP_DigestInit_ex(context_of(hasher.context_.get()),
                        kind == DigestKind::sha256 ? EVP_sha256() : EVP_sha1(), nullptr) != 1)
    return make_error(ErrorCode::internal,
                      kind == DigestKind::sha256 ? "OpenSSL gives no SHA-256" : "OpenSSL gives no SHA-1");
  if (kind == DigestKind::git_sha1) {
    std::string head = "blob " + std::to_string(size);
    head += '\0';
    hasher.update(head);
  }
  return hasher;
}

void Hasher::update(std::string_view bytes) {
  EVP_DigestUpdate(context_of(context_.get()), bytes.data(), bytes.size());
}

Digest Hasher::finish() {
  constexpr char kHex[] = "0123456789abcdef";
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(context_of(context_.get()), raw, &size) != 1) size = 0;  // then it equals nothing
  Digest digest{kind_, {}};
  for (unsigned int i = 0; i < size; ++i) digest.hex += {kHex[raw[i] >> 4], kHex[raw[i] & 15]};
  return digest;
}

}  // namespace baton::hub
