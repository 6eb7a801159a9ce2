// The tokenizer against goldens of Hugging Face tokenizers, the public vectors, and broken files.
#include "baton/text/tokenizer.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <thread>

#include "baton/text/detokenizer.hpp"
#include "support/catch.hpp"
#include "text/goldens.hpp"

using baton::ErrorCode;
using baton::TokenId;
using nlohmann::ordered_json;
using Ids = std::vector<TokenId>;

namespace {

const baton::Tokenizer& small_tokenizer(const std::string& name) {
  static std::map<std::string, std::unique_ptr<baton::Tokenizer>> loaded;
  auto& tokenizer = loaded[name];
  if (tokenizer == nullptr) {
    auto result = baton::load_tokenizer(baton::test::text_data() / "tokenizers" / name);
    INFO(name << (result ? "" : ": " + result.error().message));
    REQUIRE(result);
    tokenizer = std::move(*result);
  }
  return *tokenizer;
}

std::string stream(const baton::Tokenizer& tokenizer, const Ids& prompt, const Ids& ids, bool skip) {
  baton::Detokenizer detokenizer(tokenizer, prompt, {skip, {}});
  std::string text;
  for (const TokenId id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

ordered_json small_file() {
  return ordered_json::parse(
      baton::test::read_text(baton::test::text_data() / "tokenizers" / "spm" / "tokenizer.json"));
}

}  // namespace

TEST_CASE("small tokenizers encode and decode as Hugging Face tokenizers") {
  const auto cases = baton::test::read_goldens("tokenizer_goldens.json");
  REQUIRE(cases.size() > 100);
  for (const auto& golden : cases) {
    const auto& tokenizer = small_tokenizer(golden["tokenizer"]);
    INFO(golden.dump());
    const Ids all = golden["with_special"].get<Ids>();
    if (golden.contains("text")) {
      const std::string text = golden["text"];
      CHECK(tokenizer.encode(text, {.add_special_tokens = false}) == golden["ids"].get<Ids>());
      CHECK(tokenizer.encode(text) == all);
    }
    CHECK(tokenizer.decode(all, false) == golden["decoded"].get<std::string>());
    CHECK(tokenizer.decode(all, true) == golden["decoded_skip"].get<std::string>());
    CHECK(stream(tokenizer, {}, all, false) == golden["decoded"].get<std::string>());
    CHECK(stream(tokenizer, {}, all, true) == golden["decoded_skip"].get<std::string>());
  }
}

TEST_CASE("the vocabulary can be asked") {
  const auto& tokenizer = small_tokenizer("byte_level");
  const TokenId end = *tokenizer.token_to_id("<|end|>");
  CHECK(tokenizer.is_special(end));
  CHECK(tokenizer.id_to_token(end) == "<|end|>");
  CHECK_FALSE(tokenizer.token_to_id("no such token"));
  CHECK(tokenizer.id_to_token(-1).empty());
  CHECK(tokenizer.id_to_token(1 << 30).empty());
  CHECK(static_cast<TokenId>(tokenizer.vocab_size()) ==
        *tokenizer.token_to_id("word") + 1);  // added, so the last
  CHECK(tokenizer.token_bytes(*tokenizer.token_to_id("\u0120the")) == " the");
  CHECK(tokenizer.decode(Ids{-5, 1 << 30}, false).empty());
  const auto& spm = small_tokenizer("spm");
  CHECK(spm.token_bytes(*spm.token_to_id("<0xE4>")) == "\xE4");
  CHECK(spm.token_bytes(*spm.token_to_id("\u2581the")) == " the");
}

TEST_CASE("invalid UTF-8 is read as U+FFFD, one for each maximal subpart") {
  const auto& tokenizer = small_tokenizer("byte_level");
  CHECK(tokenizer.encode("a\xFFz\xE4\xBD z\xF0\x9F\xA6") == tokenizer.encode("a\uFFFDz\uFFFD z\uFFFD"));
  CHECK(tokenizer.encode("\xED\xA0\x80") == tokenizer.encode("\uFFFD\uFFFD\uFFFD"));
}

TEST_CASE("streaming never splits a character") {
  for (const char* name : {"byte_level", "gpt2", "spm"}) {
    const auto& tokenizer = small_tokenizer(name);
    const Ids ids = tokenizer.encode("x \u4F60\u597D \U0001F999 y", {.add_special_tokens = false});
    baton::Detokenizer detokenizer(tokenizer, {}, {});
    std::string text;
    for (const TokenId id : ids) {
      const std::string piece = detokenizer.push(id);
      CHECK((piece.empty() || (static_cast<unsigned char>(piece[0]) & 0xC0) != 0x80));
      CHECK(ordered_json(piece).dump().size() >= 2);  // throws for invalid UTF-8
      text += piece;
    }
    CHECK(text + detokenizer.finish() == tokenizer.decode(ids, true));
  }
}

TEST_CASE("a prompt's tail is context and yields no text") {
  const auto& spm = small_tokenizer("spm");
  const Ids prompt = spm.encode("the prefill", {.add_special_tokens = false});
  const Ids answer = spm.encode("the token", {.add_special_tokens = false});
  CHECK(stream(spm, {}, answer, true) == "the token");
  CHECK(stream(spm, prompt, answer, true) == " the token");
  // An answer may complete the character that the prompt began.
  const auto byte = [&](const char* token) { return *spm.token_to_id(token); };
  CHECK(stream(spm, {byte("<0xE4>"), byte("<0xBD>")}, {byte("<0xA0>")}, true) == "\u4F60");
  CHECK(stream(spm, {byte("<0x41>")}, {byte("<0x42>")}, true) == "B");
  CHECK(stream(spm, {}, {byte("<0xE4>"), byte("<0xBD>")}, true) == "\uFFFD\uFFFD");
  const auto& bytes = small_tokenizer("byte_level");
  const Ids whole = bytes.encode("\uA66E", {.add_special_tokens = false});
  REQUIRE(whole.size() > 1);
  CHECK(stream(bytes, {whole.begin(), whole.end() - 1}, {whole.back()}, true) == "\uA66E");
}

TEST_CASE("a long word is not quadratic and gives what short pieces give") {
  const auto& tokenizer = small_tokenizer("spm");
  std::string word;
  for (int i = 0; i < 200000; ++i) word += "ab";
  const Ids ids = tokenizer.encode(word, {.add_special_tokens = false});
  CHECK(tokenizer.decode(ids, true) == word);
  // The scan for short words and the queue for long ones agree.
  const auto& bytes = small_tokenizer("byte_level");
  const std::string pattern = "thereforeprefilldecodecachetokenblockrouteenginerequest";
  const Ids once = bytes.encode(std::string(3, 'q') + pattern.substr(0, 40), {.add_special_tokens = false});
  const Ids behind =
      bytes.encode(std::string(60, 'q') + pattern.substr(0, 40), {.add_special_tokens = false});
  REQUIRE(once.size() > 5);
  CHECK(Ids(once.end() - 5, once.end()) == Ids(behind.end() - 5, behind.end()));
}

TEST_CASE("one tokenizer serves many threads") {
  auto fresh = baton::load_tokenizer(baton::test::text_data() / "tokenizers" / "byte_level");
  REQUIRE(fresh);
  const baton::Tokenizer& tokenizer = **fresh;
  const std::string text = "the prefill engine's cache isn't full; 12345 tokens, \u4F60\u597D!";
  const Ids expected = small_tokenizer("byte_level").encode(text);
  std::vector<std::thread> threads;
  std::array<bool, 4> good{};
  for (bool& result : good) {
    threads.emplace_back([&] {
      result = true;
      for (int i = 0; i < 50; ++i) result = result && tokenizer.encode(text) == expected;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(good == std::array<bool, 4>{true, true, true, true});
}

TEST_CASE("a broken tokenizer.json is an error that names the place") {
  struct Broken {
    const char* pointer;
    ordered_json value;
    const char* field;
    ErrorCode code = ErrorCode::corrupt;
  };
  const std::vector<Broken> table = {
      {"/model", nullptr, "model"},
      {"/model", 5, "model"},
      {"/model/vocab", nullptr, "model.vocab"},
      {"/model/vocab", ordered_json::array(), "model.vocab"},
      {"/model/vocab/the", "x", "model.vocab"},
      {"/model/vocab/the", 1.5, "model.vocab"},
      {"/model/vocab/the", -1, "model.vocab"},
      {"/model/vocab/the", 2000000000, "model.vocab"},
      {"/model/vocab/the", 3, "model.vocab"},  // an id that another token has
      {"/model/merges", nullptr, "model.merges"},
      {"/model/merges/0", "nopair", "model.merges[0]"},
      {"/model/merges/0", "no pair", "model.merges[0]"},
      {"/model/merges/0", ordered_json::array({"a"}), "model.merges[1]"},
      {"/model/merges/0", ordered_json::array({"a", "b", "c"}), "model.merges[1]"},
      {"/model/merges/0", 7, "model.merges[0]"},
      {"/model/merges/0", ordered_json::object(), "model.merges[0]"},
      {"/model/unk_token", "nope", "model.unk_token"},
      {"/model/unk_token", 3, "model.unk_token"},
      {"/model/type", "Unigram", "model.type", ErrorCode::unsupported},
      {"/model/dropout", 0.1, "model.dropout", ErrorCode::unsupported},
      {"/model/byte_fallback", "yes", "model.byte_fallback"},
      {"/normalizer", {{"type", "Magic"}}, "normalizer.type", ErrorCode::unsupported},
      {"/normalizer", ordered_json::object(), "normalizer.type"},
      {"/normalizer/normalizers/1/pattern", nullptr, "normalizer.normalizers[1].pattern"},
      {"/normalizer/normalizers/1/pattern", {{"Regex", "("}}, "normalizer.normalizers[1].pattern.Regex"},
      {"/normalizer/normalizers/1/pattern",
       {{"Regex", "[a[b]]"}},
       "normalizer.normalizers[1].pattern.Regex",
       ErrorCode::unsupported},
      {"/pre_tokenizer", {{"type", "Split"}}, "pre_tokenizer.pattern"},
      {"/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", 1}}, "pre_tokenizer.pretokenizers"},
      {"/decoder", {{"type", "CTC"}}, "decoder.type", ErrorCode::unsupported},
      {"/decoder/decoders/3/content", "ab", "decoder.decoders[3].content"},
      {"/post_processor/special_tokens", ordered_json::object(), "post_processor.special_tokens"},
      {"/post_processor/single/0/SpecialToken", ordered_json::object(),
       "post_processor.single[0].SpecialToken.id"},
      {"/added_tokens", 5, "added_tokens"},
      {"/added_tokens/0", "x", "added_tokens[0]"},
      {"/added_tokens/0/content", nullptr, "added_tokens[0].content"},
      {"/added_tokens/0/lstrip", 1, "added_tokens[0].lstrip"},
  };
  for (const Broken& broken : table) {
    ordered_json file = small_file();
    file[ordered_json::json_pointer(broken.pointer)] = broken.value;
    const auto result = baton::parse_tokenizer(file.dump());
    INFO(broken.pointer << " = " << broken.value.dump());
    REQUIRE_FALSE(result);
    INFO(result.error().message);
    CHECK(result.error().field == broken.field);
    CHECK(result.error().code == broken.code);
  }
}

TEST_CASE("what is no JSON at all is an error") {
  const std::string good = small_file().dump();
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("null"), good.substr(0, good.size() / 2), good + "x",
        std::string(100000, '['), std::string("{\"a\":\"\xFF\"}")}) {
    const auto result = baton::parse_tokenizer(text);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::corrupt);
  }
  CHECK(baton::load_tokenizer("/nonexistent").error().code == ErrorCode::not_found);
}

TEST_CASE("merges as pairs and as text are the same, spaces in tokens included") {
  ordered_json file = small_file();
  file["model"]["vocab"][" "] = 600;
  file["model"]["vocab"]["  "] = 601;
  file["model"]["merges"].push_back(ordered_json::array({" ", " "}));
  file["normalizer"] = nullptr;
  ordered_json text = file;
  for (auto& merge : text["model"]["merges"]) {
    if (merge.is_array()) merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const auto pairs = baton::parse_tokenizer(file.dump());
  const auto joined = baton::parse_tokenizer(text.dump());
  REQUIRE(pairs);
  REQUIRE(joined);
  const std::string sample = "the prefill  engine";
  CHECK((*pairs)->encode(sample) == (*joined)->encode(sample));
  const Ids ids = (*pairs)->encode(sample);
  CHECK(std::find(ids.begin(), ids.end(), 601) != ids.end());
}

namespace {

// 47 inputs, separated by a line; their ids, one line each.
void check_vectors(const std::string& tokenizer_name, const std::string& vectors) {
  const auto directory = baton::test::shared_data("tokenizers/" + tokenizer_name);
  const auto inputs = baton::test::shared_data("tokenizers/vectors/" + vectors + ".inp");
  const auto outputs = baton::test::shared_data("tokenizers/vectors/" + vectors + ".out");
  if (!directory || !inputs || !outputs)
    return baton::test::skipped("tokenizer vectors " + vectors, "shared");
  const auto tokenizer = baton::load_tokenizer(*directory);
  REQUIRE(tokenizer);
  const std::string text = baton::test::read_text(*inputs);
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::istringstream lines(baton::test::read_text(*outputs));
  std::size_t count = 0;
  for (std::size_t from = 0; from < text.size(); ++count) {
    const std::size_t end = std::min(text.find(separator, from), text.size());
    const std::string input = text.substr(from, end - from);
    from = end + separator.size();
    std::string line;
    REQUIRE(std::getline(lines, line));
    std::istringstream numbers(line);
    const Ids expected{std::istream_iterator<TokenId>(numbers), std::istream_iterator<TokenId>()};
    INFO("input " << count << ": " << input);
    const Ids ids = (*tokenizer)->encode(input, {.add_special_tokens = false});
    CHECK(ids == expected);
    CHECK((*tokenizer)->decode(ids, true) == input);
  }
  CHECK(count >= 46);
}

}  // namespace

TEST_CASE("the public vectors of Llama 3") { check_vectors("llama3", "llama-bpe"); }
TEST_CASE("the public vectors of Llama 2") { check_vectors("llama2", "llama-spm"); }

TEST_CASE("the stories260K tokenizer") {
  const auto directory = baton::test::shared_data("models/stories260K");
  if (!directory) return baton::test::skipped("stories260K tokenizer", "shared");
  const auto tokenizer = baton::load_tokenizer(*directory);
  REQUIRE(tokenizer);
  CHECK((*tokenizer)->vocab_size() == 512);
  const auto golden = ordered_json::parse(baton::test::read_text(*directory / "golden.json"));
  const std::string text = "Once upon a time, there was a little girl named Lily.";
  const Ids ids = (*tokenizer)->encode(text);
  CHECK(ids.front() == 1);
  CHECK((*tokenizer)->decode(ids, true) == text);
}
