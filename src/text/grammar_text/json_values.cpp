#include "text/grammar_text/json_values.hpp"

#include "text/grammar_text/regex_tree.hpp"

namespace baton::text {

namespace {

// Lone surrogates are no text, and parsers of JSON refuse them: they come in pairs.
constexpr std::string_view kCharacter =
    R"([^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2} | )"
    R"([dD] [89abAB] hex{2} "\\u" [dD] [c-fC-F] hex{2})))";
// 64-bit integers have up to 20 digits. The exponents stay below what a double can hold.
constexpr std::string_view kInteger = R"("-"? ("0" | [1-9] [0-9]{0,19}))";
constexpr std::string_view kNumber = R"( ("." [0-9]{1,20})? ([eE] ("+"? "1"? [0-9]{1,2} | "-" [0-9]{1,3}))?)";

constexpr std::string_view kObjectForm = "form: a JSON object";

std::string replaced(std::string_view text, std::string_view what, std::string_view by) {
  std::string written(text);
  for (std::size_t at = written.find(what); at != std::string::npos;
       at = written.find(what, at + by.size())) {
    written.replace(at, what.size(), by);
  }
  return written;
}

}  // namespace

std::string json_space(GrammarText& out) {
  return out.rule("space", R"((" " | "\n" (" "{0,40} | "\t"{1,10}))?)");
}

std::string json_character(GrammarText& out) {
  return out.rule("character", replaced(kCharacter, "hex", out.rule("hex", "[0-9a-fA-F]")));
}

std::string json_string(GrammarText& out) {
  return out.rule("string", R"("\"" )" + json_character(out) + R"(* "\"")");
}

std::string json_integer(GrammarText& out) { return out.rule("integer", kInteger); }

std::string json_number(GrammarText& out) {
  return out.rule("number", json_integer(out) + std::string(kNumber));
}

std::string json_boolean(GrammarText& out) { return out.rule("boolean", R"("true" | "false")"); }

std::string json_value(GrammarText& out) {
  constexpr std::string_view kForm = "form: a JSON value";
  if (const std::string* same = out.known(kForm); same != nullptr) return *same;
  std::string value = out.reserve("value");
  out.keep(kForm, value);
  const std::string comma = "(\",\" " + json_space(out) + " ";
  const std::string member = out.rule("member", json_string(out) + " \":\" " + json_space(out) + " " + value);
  const std::string object =
      out.rule("object", json_enclosed(out, "{}", member + " " + comma + member + ")*", true));
  out.keep(kObjectForm, object);
  const std::string array =
      out.rule("array", json_enclosed(out, "[]", value + " " + comma + value + ")*", true));
  out.define(value, json_string(out) + " | " + json_number(out) + " | " + json_boolean(out) +
                        " | \"null\" | " + object + " | " + array);
  return value;
}

std::string json_constant(GrammarText& out, const Json& value) {
  if (value.is_string()) return GrammarText::literal(json_quoted(value.get_ref<const std::string&>()));
  if (!value.is_structured()) return GrammarText::literal(value.dump());
  std::string members;
  for (const auto& [key, member] : value.items()) {
    if (!members.empty()) members += " \",\" " + json_space(out) + " ";
    if (value.is_object())
      members += GrammarText::literal(json_quoted(key) + ":") + " " + json_space(out) + " ";
    members += json_constant(out, member);
  }
  return json_enclosed(out, value.is_object() ? "{}" : "[]", members, false);
}

std::string json_enclosed(GrammarText& out, std::string_view brackets, const std::string& members,
                          bool optional) {
  const std::string space = json_space(out);
  std::string inside = space;
  if (!members.empty()) {
    inside += optional ? " (" : " ";
    inside += members + " " + space + (optional ? ")?" : "");
  }
  return GrammarText::literal(brackets.substr(0, 1)) + " " + inside + " " +
         GrammarText::literal(brackets.substr(1, 1));
}

std::string repeated(std::size_t least, std::size_t most) {
  if (least == 0 && most == kNoLimit) return "*";
  if (least == 1 && most == kNoLimit) return "+";
  if (least == 0 && most == 1) return "?";
  if (least == 1 && most == 1) return "";
  if (least == most) return "{" + std::to_string(least) + "}";
  return "{" + std::to_string(least) + "," + (most == kNoLimit ? "" : std::to_string(most)) + "}";
}

std::string json_quoted(std::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace baton::text

namespace baton {

std::string GrammarText::json_object() {
  (void)text::json_value(*this);
  return *known(text::kObjectForm);
}

}  // namespace baton
