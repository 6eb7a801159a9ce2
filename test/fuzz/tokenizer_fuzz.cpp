// tokenizer.json from anybody: reads it, then encodes and decodes some text, whole and streamed.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "baton/text/detokenizer.hpp"
#include "baton/text/tokenizer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = baton::parse_tokenizer(input);
  if (!tokenizer) return 0;
  // The file's own bytes are text that its vocabulary knows something of.
  for (const std::string_view text :
       {std::string_view("a<s> b\xFF\n  \xE4\xBD\xA0 the 12"), input.substr(0, 2000)}) {
    const auto ids = (*tokenizer)->encode(text);
    const std::string whole = (*tokenizer)->decode(ids, false);
    baton::Detokenizer detokenizer(**tokenizer, {}, {false, {}});
    std::string streamed;
    for (const auto id : ids) {
      streamed += detokenizer.push(id);
      (void)(*tokenizer)->token_bytes(id);
    }
    streamed += detokenizer.finish();
    if (streamed != whole) std::abort();  // the detokenizer's invariant
  }
  return 0;
}
