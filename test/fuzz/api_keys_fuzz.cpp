// Fuzzes the API key file: whatever the bytes, parsing ends; a refusal names a line and repeats none; what is
// accepted has keys.
#include <cstdlib>
#include <string>
#include <string_view>

#include "baton/frontend/api_keys.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto keys = baton::ApiKeys::parse(text, "keys");
  if (!keys) {
    if (!keys.error().message.starts_with("keys:") || keys.error().message.size() > 400) std::abort();
    return 0;
  }
  if (keys->size() == 0 || keys->size() > size / 66 + 1) std::abort();
  return 0;
}
