#include "baton/frontend/api_keys.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

namespace baton {
namespace {

constexpr std::size_t kLongestName = 64;
constexpr std::string_view kAdmin = "admin";

bool good_name(std::string_view name) {
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= kLongestName &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

std::optional<Sha256> digest_from_hex(std::string_view hex) {
  Sha256 out{};
  if (hex.size() != 2 * out.size()) return std::nullopt;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = digit(hex[2 * i]);
    const int low = digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out[i] = static_cast<std::byte>(high * 16 + low);
  }
  return out;
}

std::string hex(const std::byte* bytes, std::size_t size) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < size; ++i) {
    out.push_back(kDigits[std::to_integer<int>(bytes[i]) >> 4]);
    out.push_back(kDigits[std::to_integer<int>(bytes[i]) & 15]);
  }
  return out;
}

std::vector<std::string_view> words_of(std::string_view line) {
  line = line.substr(0, line.find('#'));
  constexpr std::string_view kBlank = " \t\r";
  std::vector<std::string_view> words;
  for (std::size_t at = line.find_first_not_of(kBlank); at != std::string_view::npos;
       at = line.find_first_not_of(kBlank)) {
    line.remove_prefix(at);
    const std::size_t end = std::min(line.find_first_of(kBlank), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  return words;
}

// What is wrong with one line, without a word of it.
Result<ApiKey> parse_line(const std::vector<std::string_view>& words) {
  const auto bad = [](const char* what) { return make_error(ErrorCode::invalid_argument, what); };
  constexpr const char* kPlaintext =
      "expected a name and the SHA-256 of its key in 64 hex digits. Keys never stand here themselves: "
      "`baton api-key NAME` draws one and prints its line, `printf %s KEY | sha256sum` hashes one";
  if (words.size() < 2) return bad(kPlaintext);
  if (!good_name(words[0])) return bad("the name must be 1 to 64 letters, digits, dots, dashes, underscores");
  const auto digest = digest_from_hex(words[1]);
  if (!digest) return bad(kPlaintext);
  ApiKey key{std::string(words[0]), *digest, false};
  for (std::size_t i = 2; i < words.size(); ++i) {
    if (words[i] != kAdmin) return bad("unknown attribute after the hash; there is only 'admin'");
    key.admin = true;
  }
  return key;
}

}  // namespace

Result<ApiKeys> ApiKeys::parse(std::string_view text, const std::string& file) {
  ApiKeys out;
  const auto bad = [&](std::size_t line, const std::string& what) {
    return make_error(ErrorCode::invalid_argument, file + ":" + std::to_string(line) + ": " + what,
                      "--api-key-file");
  };
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto words = words_of(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (words.empty()) continue;
    auto key = parse_line(words);
    if (!key) return bad(number, key.error().message);
    const auto same = [&](const ApiKey& other) { return other.digest == key->digest; };
    if (std::ranges::any_of(out.keys_, same)) return bad(number, "this key stands here twice");
    out.keys_.push_back(std::move(*key));
  }
  // An empty file is far likelier a file being written than the wish to lock everybody out.
  if (out.keys_.empty())
    return make_error(ErrorCode::invalid_argument, file + ": there is no key in it", "--api-key-file");
  return out;
}

Result<ApiKeys> ApiKeys::load(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text;
  if (in) text.assign(std::istreambuf_iterator<char>(in), {});
  if (!in || in.bad())
    return make_error(ErrorCode::io, file + ": cannot be read: " + std::strerror(errno), "--api-key-file");
  return parse(text, file);
}

const ApiKey* ApiKeys::find(std::string_view key) const {
  const Sha256 digest = sha256(key);
  const ApiKey* found = nullptr;
  for (const ApiKey& candidate : keys_) {  // all of them, every time
    const bool same = CRYPTO_memcmp(candidate.digest.data(), digest.data(), digest.size()) == 0;
    found = same ? &candidate : found;
  }
  return found;
}

Sha256 sha256(std::string_view text) {
  Sha256 out{};
  EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(out.data()), nullptr, EVP_sha256(),
             nullptr);
  return out;
}

std::string to_hex(const Sha256& digest) { return hex(digest.data(), digest.size()); }

Result<std::string> draw_api_key() {
  std::array<std::byte, 32> bytes{};
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size()) != 1)
    return make_error(ErrorCode::io, "the system has no randomness to give");
  return "sk-" + hex(bytes.data(), bytes.size());
}

Result<std::string> api_key_line(const std::string& name, std::string_view key, bool admin) {
  if (!good_name(name))
    return make_error(ErrorCode::invalid_argument,
                      "a name is 1 to 64 letters, digits, dots, dashes and underscores", "NAME");
  return name + " " + to_hex(sha256(key)) + (admin ? " " + std::string(kAdmin) : std::string());
}

}  // namespace baton
