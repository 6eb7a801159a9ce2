// Any text as an answer in any format, cut anywhere: the joined events are those of the text in one piece,
// and no text comes out that did not go in, but where a format's arguments are translated: those are the
// beginning of a JSON object. The first byte picks the format, the second how it is cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "baton/text/answer_format.hpp"

namespace {

using namespace baton;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

struct Answer {
  std::string reasoning, content;
  std::vector<std::pair<std::string, std::string>> calls;  // name, arguments
  friend bool operator==(const Answer&, const Answer&) = default;
};

// `in_turns`: reasoning may come behind what is none.
void add(Answer& answer, const std::vector<AnswerEvent>& events, bool in_turns) {
  for (const AnswerEvent& event : events) {
    if (const auto* reasoning = std::get_if<ReasoningText>(&event)) {
      require(!reasoning->text.empty());
      require(in_turns || (answer.content.empty() && answer.calls.empty()));
      answer.reasoning += reasoning->text;
    } else if (const auto* content = std::get_if<ContentText>(&event)) {
      require(!content->text.empty());
      answer.content += content->text;
    } else if (const auto* call = std::get_if<CallBegun>(&event)) {
      require(call->call == answer.calls.size() && !call->name.empty());
      answer.calls.emplace_back(call->name, "");
    } else if (const auto* arguments = std::get_if<CallArguments>(&event)) {
      require(!arguments->text.empty() && arguments->call + 1 == answer.calls.size());
      answer.calls.back().second += arguments->text;
    }
  }
}

// The functions' parameters where a format needs their types.
const ParameterTypes& types() {
  static const ParameterTypes kTypes(
      nlohmann::ordered_json::parse(R"([{"function": {"name": "f", "parameters":
      {"properties": {"s": {"type": "string"}, "i": {"type": "integer"}, "o": {"type": ["object", "array"]},
                      "m": {"type": ["string", "null", "boolean"]},
                      "l": {"type": ["string", "null", "number"], "enum": ["5", "a", 1.5]}}}}}])"));
  return kTypes;
}

// Tells where reading JSON failed, and where `text` ended.
class Ending : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Ending(std::size_t size) : size_(size) {}
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(std::int64_t) override { return true; }
  bool number_unsigned(std::uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth_ <= 64; }
  bool key(std::string&) override { return true; }
  bool end_object() override { return --depth_ >= 0; }
  bool start_array(std::size_t) override { return ++depth_ <= 64; }
  bool end_array() override { return --depth_ >= 0; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    cut_ = position > size_;
    return false;
  }
  bool cut() const { return cut_; }

 private:
  std::size_t size_;
  int depth_ = 0;
  bool cut_ = false;
};

bool begins_json(const std::string& text) {
  Ending ending(text.size());
  return nlohmann::json::sax_parse(text, &ending) || ending.cut();
}

// Pieces of `first`, then of 1 to 16 bytes as `seed` has it.
Answer parse(const AnswerFormat& format, bool inside, std::string_view text, std::size_t first,
             std::uint32_t seed) {
  AnswerParser parser(format, inside, &types());
  const bool harmony = format.reasoning == ReasoningFormat::harmony;
  Answer answer;
  for (std::size_t at = 0, length = first; at < text.size(); at += length, length = 1 + (seed >> 28)) {
    add(answer, parser.push(text.substr(at, length)), harmony);
    seed = seed * 1664525 + 1013904223;
  }
  add(answer, parser.finish(), harmony);
  return answer;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  AnswerFormat format{static_cast<CallFormat>((data[0] & 3) | (data[0] >> 2 & 4)),
                      static_cast<ReasoningFormat>(data[0] >> 2 & 1)};
  if ((data[0] & 32) != 0) format.reasoning = ReasoningFormat::harmony;
  const bool inside = (data[0] & 8) != 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Answer whole = parse(format, inside, text, text.size(), 0);
  require(parse(format, inside, text, data[1] % 16U + 1, data[1]) == whole);
  require(parse(format, inside, text, 1, 0) == whole);
  const bool translated = needs_types(format.calls) || format.calls == CallFormat::pythonic;
  const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return c >= 0; });
  std::size_t bytes = whole.reasoning.size() + whole.content.size();
  for (const auto& [name, arguments] : whole.calls) {
    require(!arguments.empty() && arguments.front() == '{');
    require(!translated || !ascii || begins_json(arguments));
    bytes += name.size() + (translated ? 0 : arguments.size());
  }
  require(bytes <= text.size());
  if (format == AnswerFormat{}) require(whole.content == text);
  return 0;
}
