// The chat template engine against Python's jinja2, and its limits.
#include <unistd.h>

#include <map>

#include "baton/text/chat_template.hpp"
#include "support/catch.hpp"
#include "text/goldens.hpp"

using baton::ErrorCode;
using nlohmann::ordered_json;

namespace {

baton::Result<std::string> render(std::string_view source,
                                  const ordered_json& variables = ordered_json::object()) {
  const ordered_json globals = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  auto parsed = baton::parse_chat_template(source, globals);
  if (!parsed) return parsed.error();
  return (*parsed)->render(variables);
}

ErrorCode failure(std::string_view source, const ordered_json& variables = ordered_json::object()) {
  const auto result = render(source, variables);
  INFO(source.substr(0, 200));
  REQUIRE_FALSE(result);
  return result.error().code;
}

}  // namespace

TEST_CASE("templates render as jinja2 renders them") {
  const auto cases = baton::test::read_goldens("jinja_goldens.json");
  REQUIRE(cases.size() > 250);
  std::map<std::string, std::string> files;
  for (const auto& golden : cases) {
    std::string source = golden.value("template", "");
    if (golden.contains("file")) {
      source =
          baton::test::read_text(baton::test::text_data() / "templates" / golden["file"].get<std::string>());
      REQUIRE_FALSE(source.empty());
    }
    const auto result = render(source, golden["variables"]);
    INFO(golden["name"].get<std::string>() << ": " << golden.value("template", ""));
    if (golden.contains("expected")) {
      INFO((result ? std::string() : result.error().message));
      REQUIRE(result);
      CHECK(*result == golden["expected"].get<std::string>());
    } else if (golden.contains("raises")) {
      REQUIRE_FALSE(result);
      CHECK(result.error().code == ErrorCode::invalid_argument);
      CHECK(result.error().message == golden["raises"].get<std::string>());
    } else {
      INFO(golden["fails"].get<std::string>() << ", ours: " << (result ? *result : ""));
      CHECK_FALSE(result);
    }
  }
}

TEST_CASE("errors name the line and what is wrong") {
  const auto syntax = render("a\nb\n{% if x %}\n{{ 1 + }}{% endif %}");
  REQUIRE_FALSE(syntax);
  CHECK(syntax.error().code == ErrorCode::invalid_argument);
  CHECK(syntax.error().message.find("line 4") != std::string::npos);
  const auto undefined =
      render("\n{{ messages[0].content.text.more }}", {{"messages", {{{"content", "x"}}}}});
  REQUIRE_FALSE(undefined);
  CHECK(undefined.error().message.find("line 2") != std::string::npos);
  CHECK(undefined.error().message.find("'text'") != std::string::npos);
  CHECK(failure("{% include 'x' %}") == ErrorCode::unsupported);
  CHECK(failure("{{ x }}", ordered_json::array({1})) == ErrorCode::invalid_argument);
}

TEST_CASE("strftime_now formats the present") {
  const auto year = render("{{ strftime_now('%Y') }}");
  REQUIRE(year);
  CHECK(year->size() == 4);
  CHECK(year->substr(0, 2) == "20");
}

TEST_CASE("hostile templates and messages end in an error, soon") {
  CHECK(failure("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}") ==
        ErrorCode::too_large);
  CHECK(failure("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}") == ErrorCode::too_large);
  CHECK(failure("{% set ns = namespace(s='abcdefgh') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s "
                "%}{% endfor %}") == ErrorCode::too_large);
  CHECK(failure("{{ 'a' * 99999999999 }}") != ErrorCode::internal);
  CHECK(failure("{{ 'a' * 999999999 }}") == ErrorCode::too_large);
  CHECK(failure("{{ 'a'.center(99999999999) }}") == ErrorCode::too_large);
  CHECK(failure("{% for i in range(99999) %}{{ 'aaaaaaaaaaaaaaaa' * 9999 }}{% endfor %}") ==
        ErrorCode::too_large);
  // One small value that prints as 2^40 elements.
  CHECK(failure("{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = [ns.l, ns.l] %}{% "
                "endfor %}{{ ns.l }}") == ErrorCode::too_large);
  CHECK(failure(
            "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}"
            "{{ ns.l == ns.l + [] }}{{ ns.l | tojson }}") == ErrorCode::too_large);
  // Nesting without end, and a cycle.
  CHECK(failure(
            "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}") ==
        ErrorCode::invalid_argument);
  CHECK(failure("{% set ns = namespace() %}{% set ns.me = ns %}") == ErrorCode::invalid_argument);
  CHECK(failure("{% set ns = namespace() %}{% set ns.me = [ns] %}") == ErrorCode::invalid_argument);
  CHECK(failure("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}") ==
        ErrorCode::invalid_argument);
  CHECK(failure("{{ " + std::string(5000, '-') + "1 }}") == ErrorCode::invalid_argument);
  CHECK(failure("{{ 1" + std::string(100000, '+') + "1 }}") == ErrorCode::invalid_argument);
  std::string sum = "{{ 1";
  for (int i = 0; i < 50000; ++i) sum += "+1";
  CHECK(failure(sum + " }}") == ErrorCode::invalid_argument);
  std::string ifs;
  for (int i = 0; i < 5000; ++i) ifs += "{% if 1 %}";
  CHECK(failure(ifs) == ErrorCode::invalid_argument);
  ordered_json deep = 1;
  for (int i = 0; i < 5000; ++i) deep = ordered_json::array({std::move(deep)});
  CHECK(failure("x", {{"messages", std::move(deep)}}) == ErrorCode::too_large);
}

TEST_CASE("numbers beyond 64 bits are errors, not wraps") {
  CHECK(failure("{{ 9223372036854775807 + 1 }}") == ErrorCode::invalid_argument);
  CHECK(failure("{{ (0 - 9223372036854775807 - 1) // -1 }}") == ErrorCode::invalid_argument);
  CHECK(failure("{{ 10 ** 30 }}") == ErrorCode::invalid_argument);
  CHECK(*render("{{ (0 - 9223372036854775807 - 1) % -1 }}") == "0");
  CHECK(*render("{{ big }}", {{"big", 18446744073709551615ULL}}) == "1.8446744073709552e+19");
}

TEST_CASE("a model directory's template is found") {
  const auto directory =
      std::filesystem::temp_directory_path() / ("baton_template_" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  const auto write = [&](const char* name, std::string_view text) {
    std::ofstream(directory / name) << text;
  };
  CHECK(baton::load_chat_template(directory).error().code == ErrorCode::not_found);
  write("tokenizer_config.json", R"({"bos_token": {"content": "<b>"}, "chat_template": "{{ bos_token }}a"})");
  CHECK(*(*baton::load_chat_template(directory))->render({}) == "<b>a");
  write("tokenizer_config.json",
        R"({"eos_token": "<e>", "chat_template": [{"name": "tool_use", "template": "t"},
                                     {"name": "default", "template": "d{{ eos_token }}"}]})");
  CHECK(*(*baton::load_chat_template(directory))->render({}) == "d<e>");
  write("chat_template.jinja", "file {{ eos_token }}\n");
  CHECK(*(*baton::load_chat_template(directory))->render({}) == "file <e>");
  write("tokenizer_config.json", "{");
  CHECK(baton::load_chat_template(directory).error().code == ErrorCode::corrupt);
  std::filesystem::remove_all(directory);
}
