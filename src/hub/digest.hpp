// The two hashes by which a Hub names content: SHA-256 of what lies in large-file storage, and git's blob
// id (SHA-1 of "blob <size>\0" + content) of everything else. Over OpenSSL's EVP.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "baton/base/result.hpp"

namespace baton::hub {

enum class DigestKind : std::uint8_t { sha256, git_sha1 };

struct Digest {
  DigestKind kind = DigestKind::sha256;
  std::string hex;  // lower case

  bool operator==(const Digest&) const = default;
  std::string text() const { return (kind == DigestKind::sha256 ? "sha256:" : "git-sha1:") + hex; }
};

// 64 or 40 hex digits, lower case.
bool is_hex_digest(std::string_view hex, DigestKind kind);
// What Digest::text() gives.
Result<Digest> parse_digest(std::string_view text);

class Hasher {
 public:
  // `size` is the content's, which git's hash begins with. internal where OpenSSL lacks the hash.
  static Result<Hasher> start(DigestKind kind, std::uint64_t size);

  void update(std::string_view bytes);
  Digest finish();  // the Hasher is spent

 private:
  struct Closer {
    void operator()(void* context) const;
  };
  explicit Hasher(DigestKind kind) : kind_(kind) {}

  DigestKind kind_;
  std::unique_ptr<void, Closer> context_;  // EVP_MD_CTX
};

}  // namespace baton::hub
