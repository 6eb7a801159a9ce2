// Output assembly and response bodies.
#include "frontend/fakes.hpp"
#include "frontend/openai/response.hpp"
#include "frontend/output_stream.hpp"
#include "support/catch.hpp"

using namespace baton;
using namespace baton::frontend;

namespace {

const test::ByteTokenizer kTokenizer;

OutputRules rules(std::vector<std::string> stop, bool logprobs = true) {
  OutputRules out;
  out.stop = std::move(stop);
  out.end_tokens = {test::kEos};
  out.logprobs = logprobs;
  return out;
}

struct Collected {
  std::string text, tokens;  // tokens: of the logprob entries
  std::vector<std::size_t> offsets;
  bool stopped = false;
};

Collected collect(OutputRules given, const std::vector<TokenId>& ids) {
  OutputStream stream(kTokenizer, {}, std::move(given));
  Collected out;
  const auto take = [&](OutputPiece piece) {
    out.text += piece.text;
    out.stopped = out.stopped || piece.stopped;
    for (const LogprobEntry& entry : piece.logprobs) {
      out.tokens += entry.chosen.token + "|";
      out.offsets.push_back(entry.text_offset);
    }
    // A token's logprobs never come later than the text behind it.
    CHECK(out.offsets.size() <= ids.size());
  };
  for (const TokenId id : ids) take(stream.push({id, -1.0F, {}}));
  take(stream.finish());
  return out;
}

nlohmann::json payload(const std::string& frame) {
  REQUIRE(frame.starts_with("data: "));
  REQUIRE(frame.ends_with("\n\n"));
  return nlohmann::json::parse(frame.substr(6));
}

}  // namespace

TEST_CASE("a stop string across tokens cuts the text and the logprobs at its beginning") {
  const Collected out = collect(rules({"END"}), test::ids_of("abENEND!"));
  CHECK(out.text == "abEN");
  CHECK(out.tokens == "a|b|E|N|");
  CHECK(out.stopped);
  const Collected none = collect(rules({"END"}), test::ids_of("abEN"));
  CHECK(none.text == "abEN");
  CHECK(none.tokens == "a|b|E|N|");
  CHECK_FALSE(none.stopped);
}

TEST_CASE("a token that holds a stop string's beginning keeps its logprobs") {
  const Collected out = collect(rules({"xxx"}), {'a', test::kLong, 'b'});
  CHECK(out.text == "a");
  CHECK(out.tokens == "a|");
  const Collected part = collect(rules({"xb"}), {'a', test::kLong, 'b', 'c'});
  CHECK(part.text == "a" + std::string(199, 'x'));
  CHECK(part.offsets == std::vector<std::size_t>{0, 1});
}

TEST_CASE("characters stay whole and offsets count them") {
  const Collected out = collect(rules({}), test::ids_of("\xc3\xa9\xe2\x82\xac!"));
  CHECK(out.text == "\xc3\xa9\xe2\x82\xac!");
  CHECK(out.tokens == "bytes:\\xc3|bytes:\\xa9|bytes:\\xe2|bytes:\\x82|bytes:\\xac|!|");
  CHECK(out.offsets == std::vector<std::size_t>{0, 0, 1, 1, 1, 2});
  const Collected broken = collect(rules({}), {'a', 0xe2, 0x82});
  CHECK(broken.text == "a\xef\xbf\xbd");
  CHECK(broken.offsets.size() == 3);
}

TEST_CASE("the token that ends the output has neither text nor logprobs") {
  OutputRules shown = rules({});
  shown.special.skip = false;
  const Collected out = collect(shown, {'a', test::kBos, test::kEos});
  CHECK(out.text == "a<s>");
  CHECK(out.tokens == "a|<s>|");
}

TEST_CASE("UTF-8 is judged as the standard says") {
  for (const char* good : {"", "a", "\xc3\xa9", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"})
    CHECK(is_valid_utf8(good));
  for (const char* bad :
       {"\x80", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80", "\xff"}) {
    CHECK_FALSE(is_valid_utf8(bad));
  }
}

TEST_CASE("chat and completion bodies have OpenAI's shapes") {
  ResponseHead head{true, "chatcmpl-1", "demo", 7, true, false};
  LogprobEntry entry{{"a", "a", -0.5F}, {{"b", "\xff", -std::numeric_limits<float>::infinity()}}, 3};
  HandoffInfo handoff{"p", "d", 3, 1, 4096, "loopback", 1.5, false};
  const ChoiceText choice{0, "a", {entry}, "stop"};
  const auto chat = nlohmann::json::parse(unary_body_of(head, {{choice}}, {5, 2, 1}, handoff));
  CHECK(chat["object"] == "chat.completion");
  CHECK(chat["choices"][0]["message"]["content"] == "a");
  CHECK(chat["choices"][0]["finish_reason"] == "stop");
  const auto& content = chat["choices"][0]["logprobs"]["content"][0];
  CHECK(content["bytes"] == nlohmann::json::array({97}));
  CHECK(content["top_logprobs"][0]["logprob"] == -9999.0);
  CHECK(chat["usage"]["total_tokens"] == 6);
  CHECK(chat["usage"]["prompt_tokens_details"]["cached_tokens"] == 2);
  CHECK(chat["baton"]["kv_blocks"] == 3);
  CHECK(chat["baton"]["transport"] == "loopback");
  head.chat = false;
  const auto text = nlohmann::json::parse(unary_body_of(head, {{choice}}, {5, 2, 1}, std::nullopt));
  CHECK(text["object"] == "text_completion");
  CHECK(text["choices"][0]["text"] == "a");
  CHECK(text["choices"][0]["logprobs"]["top_logprobs"][0]["a"] == -0.5);
  CHECK(text["choices"][0]["logprobs"]["text_offset"][0] == 3);
  CHECK_FALSE(text.contains("baton"));
}

TEST_CASE("frames say null usage only where usage was asked for") {
  ResponseHead head{true, "chatcmpl-1", "demo", 7, false, true};
  const auto role = payload(role_frame(head, 1));
  CHECK(role["object"] == "chat.completion.chunk");
  CHECK(role["choices"][0]["delta"]["role"] == "assistant");
  CHECK(role["choices"][0]["index"] == 1);
  CHECK(role["usage"].is_null());
  CHECK(payload(usage_frame(head, {1, 0, 2}))["choices"].empty());
  head.include_usage = false;
  CHECK_FALSE(payload(role_frame(head, 1)).contains("usage"));
  const auto end = payload(text_frame(head, {0, "", {}, "length"}, std::nullopt));
  CHECK(end["choices"][0]["delta"].empty());
  CHECK(end["choices"][0]["finish_reason"] == "length");
  // Bytes that are no UTF-8 must not break the body.
  CHECK_NOTHROW(payload(text_frame(head, {0, "\xff", {}, {}}, std::nullopt)));
}
