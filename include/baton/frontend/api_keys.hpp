// API keys: who may ask over HTTP, and as which tenant.
//
// A key file has one line for each key: name, SHA-256 of the key in hex, attributes. It never holds a key
// itself: a key is 256 random bits, so a plain hash cannot be turned back and needs no salt. Two lines may
// share a name, so that a key can be replaced without a gap. Immutable after parsing.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "baton/base/result.hpp"

namespace baton {

using Sha256 = std::array<std::byte, 32>;

struct ApiKey {
  std::string name;  // the tenant; 1 to 64 of A-Z a-z 0-9 . _ -
  Sha256 digest{};
  bool admin = false;  // may also use the admin routes
};

class ApiKeys {
 public:
  // An error names `file` and the line, and never repeats a word of it: it could be a key.
  static Result<ApiKeys> parse(std::string_view text, const std::string& file);
  static Result<ApiKeys> load(const std::string& file);

  // Null where nobody has this key. Takes the same time whichever key it is, or none.
  const ApiKey* find(std::string_view key) const;
  std::size_t size() const { return keys_.size(); }

 private:
  std::vector<ApiKey> keys_;
};

Sha256 sha256(std::string_view text);
std::string to_hex(const Sha256& digest);  // 64 lower-case digits

// A new key: "sk-" and 64 hex digits. Fails only where the system has no randomness to give.
Result<std::string> draw_api_key();
// Its line for the file; invalid_argument where the name will not do.
Result<std::string> api_key_line(const std::string& name, std::string_view key, bool admin);

}  // namespace baton
