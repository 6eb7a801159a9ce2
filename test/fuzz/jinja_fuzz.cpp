// A chat template from anybody, rendered with a conversation that has something of everything.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "baton/text/chat_template.hpp"

namespace {

const nlohmann::ordered_json& variables() {
  static const auto parsed = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": " s "}, {"role": "user", "content": "h\u00e9llo"},
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5, true]}}}]},
                 {"role": "tool", "content": [{"type": "text", "text": "t"}]}],
    "tools": [{"function": {"name": "f", "parameters": {"type": "object"}}}], "add_generation_prompt": true, "n": -3})");
  return parsed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed =
      baton::parse_chat_template({reinterpret_cast<const char*>(data), size}, {{"bos_token", "<s>"}});
  if (parsed) (void)(*parsed)->render(variables());
  return 0;
}
