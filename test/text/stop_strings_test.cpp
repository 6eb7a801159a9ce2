// Stop strings over pieces: whatever the cuts, the same text comes out.
#include "baton/text/stop_strings.hpp"

#include "support/catch.hpp"

using baton::StopStrings;

namespace {

struct Outcome {
  std::string text;
  std::string matched;
};

Outcome feed(const std::vector<std::string>& stops, const std::string& text, std::size_t step) {
  StopStrings filter(stops);
  Outcome outcome;
  for (std::size_t i = 0; i < text.size(); i += step) {
    const StopStrings::Piece piece = filter.push(text.substr(i, step));
    outcome.text += piece.text;
    if (!piece.stopped) continue;
    outcome.matched = piece.matched;
    CHECK(filter.push("more").text.empty());
    CHECK(filter.push("more").stopped);
    break;
  }
  outcome.text += filter.finish();
  return outcome;
}

}  // namespace

TEST_CASE("the text ends before the first stop string, however it is cut") {
  for (std::size_t step = 1; step < 12; ++step) {
    CHECK(feed({"STOP"}, "one two STOP three", step).text == "one two ");
    CHECK(feed({"STOP"}, "one STO two ST", step).text == "one STO two ST");
    CHECK(feed({"aab"}, "aaaab", step).text == "aa");
    CHECK(feed({"abab", "\n\n"}, "xaba\n\nabab", step).text == "xaba");
    CHECK(feed({"abab", "\n\n"}, "xaba\n\nabab", step).matched == "\n\n");
    CHECK(feed({"\u4F60"}, "a\u4F60b", step).text == "a");
    CHECK(feed({}, "all of it", step).text == "all of it");
    CHECK(feed({""}, "all of it", step).text == "all of it");
    CHECK(feed({"STOP"}, "STOP", step).text.empty());
  }
}

TEST_CASE("what cannot begin a stop string is not held back") {
  StopStrings filter({"</s>", "\nUser:"});
  CHECK(filter.push("hello").text == "hello");
  CHECK(filter.push(" <").text == " ");
  CHECK(filter.push("b").text == "<b");
  CHECK(filter.push("x\nUs").text == "x");
  CHECK(filter.finish() == "\nUs");
}

TEST_CASE("of two stop strings that end at once the one that began first wins") {
  CHECK(feed({"b", "ab"}, "xab", 3).text == "x");
  CHECK(feed({"b", "ab"}, "xab", 3).matched == "ab");
}
