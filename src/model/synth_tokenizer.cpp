#include "model/synth_tokenizer.hpp"

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

namespace baton {
namespace {

// How GPT-2 writes each byte as a printable character: printable Latin-1 as itself, the rest from U+0100 on.
std::vector<std::string> byte_alphabet() {
  std::vector<std::string> alphabet(256);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const int code = printable ? byte : next++;
    if (code < 0x80)
      alphabet[static_cast<std::size_t>(byte)] = std::string(1, static_cast<char>(code));
    else
      alphabet[static_cast<std::size_t>(byte)] = {static_cast<char>(0xc0 | code >> 6),
                                                  static_cast<char>(0x80 | (code & 0x3f))};
  }
  return alphabet;
}

struct Piece {
  std::string text;
  int rank = 0;  // sum of its letters' places in kLetters: the lower, the likelier in English
};

constexpr std::string_view kLetters = "etaoinshrdlucmfwygpbvkxqjzETAOINSHRDLUCMFWYGPBVKXQJZ";

// Every word piece of `prefixes` plus one letter, likeliest first, up to `count`, as merges and as tokens.
std::vector<Piece> extend(const std::vector<Piece>& prefixes, std::size_t count,
                          std::vector<std::pair<std::string, std::string>>& merges) {
  std::vector<Piece> longer;
  const int letters = static_cast<int>(kLetters.size());
  const int highest = prefixes.back().rank + letters;
  for (int rank = 0; rank < highest && longer.size() < count; ++rank) {
    for (const Piece& prefix : prefixes) {
      const int letter = rank - prefix.rank;
      if (letter < 0) break;  // prefixes are in order of rank
      if (letter >= letters) continue;
      if (longer.size() == count) break;
      const std::string last(1, kLetters[static_cast<std::size_t>(letter)]);
      merges.emplace_back(prefix.text, last);
      longer.push_back({prefix.text + last, rank});
    }
  }
  return longer;
}

// Merges that only a word can contain: an optional space, then letters.
std::vector<std::pair<std::string, std::string>> make_merges(std::size_t count, const std::string& space) {
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<Piece> pieces = {{space, 0}};
  for (std::size_t i = 0; i < kLetters.size(); ++i)
    pieces.push_back({std::string(1, kLetters[i]), static_cast<int>(i)});
  while (merges.size() < count) pieces = extend(pieces, count - merges.size(), merges);
  return merges;
}

nlohmann::ordered_json added_token(std::int32_t id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

constexpr const char* kChatTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

}  // namespace

SynthTokenizer make_synth_tokenizer(std::int32_t vocab, std::int32_t max_positions) {
  using json = nlohmann::ordered_json;
  const std::vector<std::string> alphabet = byte_alphabet();
  const auto merges = make_merges(static_cast<std::size_t>(vocab - kSynthMinVocab), alphabet[' ']);

  json tokens = json::object();
  auto& entries = tokens.get_ref<json::object_t&>();  // appended to directly: a look-up per key is quadratic
  std::int32_t id = 0;
  for (const std::string& byte : alphabet) entries.emplace_back(byte, id++);
  json merge_list = json::array();
  for (const auto& [left, right] : merges) {
    entries.emplace_back(left + right, id++);
    merge_list.push_back(left + " " + right);
  }
  SynthTokenizer made;
  made.bos = id;
  made.eos = id + 2;
  const std::string specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  json added = json::array();
  for (const std::string& special : specials) added.push_back(added_token(id++, special));

  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", added},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", byte_level},
                          {"post_processor", byte_level},
                          {"decoder", byte_level},
                          {"model",
                           {{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"vocab", std::move(tokens)},
                            {"merges", std::move(merge_list)}}}};
  made.tokenizer_json = tokenizer.dump(0) + "\n";
  const json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                       {"bos_token", specials[0]},
                       {"eos_token", specials[2]},
                       {"add_bos_token", false},
                       {"clean_up_tokenization_spaces", false},
                       {"model_max_length", max_positions},
                       {"chat_template", kChatTemplate}};
  made.tokenizer_config_json = config.dump(2) + "\n";
  return made;
}

}  // namespace baton
