// What an AnswerParser tells, as one line of text, and that it does not matter how its text is cut.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "baton/text/answer_format.hpp"
#include "support/catch.hpp"

namespace baton::test {

// Events as text, those that belong together joined: R reasoning, C content, B a call begun, A arguments.
class Told {
 public:
  void add(const std::vector<AnswerEvent>& events) {
    for (const AnswerEvent& event : events) {
      if (const auto* reasoning = std::get_if<ReasoningText>(&event)) join('R', reasoning->text);
      if (const auto* content = std::get_if<ContentText>(&event)) join('C', content->text);
      if (const auto* call = std::get_if<CallBegun>(&event)) {
        CHECK(call->call == calls_++);
        last_ = 'B';
        text_ += "B(" + call->name + ")";
      }
      if (const auto* arguments = std::get_if<CallArguments>(&event)) {
        CHECK(arguments->call + 1 == calls_);
        join('A', arguments->text);
      }
    }
  }
  const std::string& text() const { return text_; }

 private:
  void join(char kind, const std::string& text) {
    CHECK_FALSE(text.empty());
    if (last_ == kind) {
      text_.insert(text_.size() - 1, text);
    } else {
      text_ += std::string(1, kind) + "(" + text + ")";
    }
    last_ = kind;
  }
  std::string text_;
  char last_ = 0;
  std::size_t calls_ = 0;
};

inline std::string told(const AnswerFormat& format, const std::vector<std::string_view>& pieces,
                        bool inside = false, const ParameterTypes* types = nullptr) {
  AnswerParser parser(format, inside, types);
  Told out;
  for (const std::string_view piece : pieces) out.add(parser.push(piece));
  out.add(parser.finish());
  return out.text();
}

// The JSON of the only argument of the only call, where nothing else is told.
inline std::string only_argument(const std::string& told, const std::string& function,
                                 const std::string& name) {
  const std::string begin = "B(" + function + ")A({\"" + name + "\": ", end = "})";
  INFO(told);
  REQUIRE(told.starts_with(begin));
  REQUIRE(told.ends_with(end));
  return told.substr(begin.size(), told.size() - begin.size() - end.size());
}

// Whole, in single bytes, and with every two cuts.
inline std::string parse(const AnswerFormat& format, std::string_view text, bool inside = false,
                         const ParameterTypes* types = nullptr) {
  const std::string whole = told(format, {text}, inside, types);
  std::vector<std::string_view> bytes;
  for (std::size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
  INFO(text);
  CHECK(told(format, bytes, inside, types) == whole);
  if (text.size() > 160) return whole;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    for (std::size_t k = i; k <= text.size(); ++k) {
      const std::string cut =
          told(format, {text.substr(0, i), text.substr(i, k - i), text.substr(k)}, inside, types);
      if (cut != whole) {
        INFO("cut at " << i << " and " << k);
        REQUIRE(cut == whole);
      }
    }
  }
  return whole;
}

// What is told before the text's end is known.
inline std::string at_once(const AnswerFormat& format, std::string_view text, bool inside = false,
                           const ParameterTypes* types = nullptr) {
  AnswerParser parser(format, inside, types);
  Told out;
  out.add(parser.push(text));
  return out.text();
}

}  // namespace baton::test
