// JSON schemas as grammars, keyword by keyword: which values follow them, and which schemas are refused.
#include <nlohmann/json.hpp>
#include <vector>

#include "baton/text/grammar.hpp"
#include "baton/text/grammar_text.hpp"
#include "goldens.hpp"
#include "support/catch.hpp"

using namespace baton;

namespace {

using Json = nlohmann::ordered_json;
using Texts = std::vector<std::string>;

std::string grammar_of(const Json& schema) {
  GrammarText grammar;
  const auto root = grammar.json_schema(schema);
  if (!root) FAIL(root.error().message);
  return grammar.text(*root);
}

bool follows(const std::string& grammar, const std::string& text) {
  const auto result = follows_grammar(grammar, text);
  if (!result) FAIL(result.error().message);
  return *result;
}

void check(const std::string& schema, const Texts& yes, const Texts& no) {
  const std::string grammar = grammar_of(Json::parse(schema));
  for (const std::string& text : yes) {
    INFO(schema << " with " << text << "\n" << grammar);
    CHECK(follows(grammar, text));
  }
  for (const std::string& text : no) {
    INFO(schema << " with " << text << "\n" << grammar);
    CHECK_FALSE(follows(grammar, text));
  }
}

void check_refused(const std::string& schema, ErrorCode code, const std::string& field) {
  GrammarText grammar;
  const auto root = grammar.json_schema(Json::parse(schema));
  INFO(schema);
  REQUIRE_FALSE(root.has_value());
  INFO(root.error().message);
  CHECK(root.error().code == code);
  CHECK(root.error().field == field);
  CHECK(root.error().message.find(field) != std::string::npos);
}
void check_unsupported(const std::string& schema, const std::string& field) {
  check_refused(schema, ErrorCode::unsupported, field);
}
void check_invalid(const std::string& schema, const std::string& field) {
  check_refused(schema, ErrorCode::invalid_argument, field);
}

}  // namespace

TEST_CASE("schemas of one type") {
  check(R"({"type": "null"})", {"null"}, {"", "0", "nul", "nulll"});
  check(R"({"type": "boolean"})", {"true", "false"}, {"True", "0"});
  check(R"({"type": "integer"})", {"0", "-0", "-7", "18446744073709551615"},
        {"1.0", "01", "+1", "1e3", "", "-", "123456789012345678901"});
  check(R"({"type": "number"})", {"0", "-0.5", "1e3", "1E+05", "2.5e-300", "1e199"},
        {".5", "1.", "1e", "1e400", "NaN", "--1"});
  check(R"({"type": "string"})",
        {R"("")", R"("a\"\\\/\b\f\n\r\t\u00E9")", "\"\u00e9\U0001F600\x7F\"", R"("\ud83D\uDe00")"},
        {"a", R"("a)", R"(""")", R"("\a")", R"("\u12")", R"("\ud83d")", R"("\ud83da")", R"("\ude00")",
         "\"\n\""});
  check(R"({"type": "array"})", {"[]", "[1,\"a\",[{}]]"}, {"{}", "[1,]", "[,1]"});
  check(R"({"type": "object"})", {"{}", R"({"a":{"b":[]}})"}, {"[]", "{1:2}"});
  check(R"({"type": ["string", "null", "integer", "number"]})", {"null", "\"a\"", "1", "1.5"},
        {"true", "[]"});
}

TEST_CASE("schemas that let everything through") {
  for (const char* schema :
       {"true", "{}", R"({"title": "t", "description": "d", "default": 1, "examples": [], "$comment": "c"})",
        R"({"$schema": "s", "$id": "i", "deprecated": true, "readOnly": true, "x-own": {"not": {}}})",
        R"({"type": ["null", "boolean", "integer", "number", "string", "array", "object"]})"})
    check(schema, {"null", "true", "1", "1.5e3", "\"a\"", "[1]", R"({"a":1})"}, {"", "nothing", "{", "1 "});
}

TEST_CASE("white space between tokens is none, a space, or a line and its indentation") {
  const char* schema =
      R"({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}, "additionalProperties": false})";
  check(schema,
        {R"({"a":[1,2]})", R"({"a": [1, 2]})", R"({ "a": [ 1, 2 ] })", "{\n  \"a\": [\n    1,\n    2\n  ]\n}",
         "{\n\t\"a\": [\n\t]\n}", "{ }", "{\n}", "{\n" + std::string(40, ' ') + "}"},
        {R"({"a" : []})", R"({"a":[1 ,2]})", R"({"a":  []})", " {}", "{} ", "{\n\n}",
         "{\n" + std::string(41, ' ') + "}", "{\n" + std::string(11, '\t') + "}", "{\t}", "{ \n}", "{\r\n}"});
}

TEST_CASE("enum and const") {
  check(R"({"enum": ["a", "b\"\n", 1, -2.5, null, true, [1, {"k": 2}], {}]})",
        {"\"a\"", R"("b\"\n")", "1", "-2.5", "null", "true", R"([1,{"k":2}])", R"([ 1, { "k": 2 } ])", "{}"},
        {"a", "2", "false", "[1]", R"("b")"});
  check(R"({"const": "x"})", {"\"x\""}, {"\"y\""});
  check(R"({"const": {"a": [], "b": 1}})", {R"({"a":[],"b":1})"}, {R"({"b":1,"a":[]})", "{}"});
  check("{\"const\": \"\u00e9\U0001F600\"}", {"\"\u00e9\U0001F600\""}, {R"("\u00e9\ud83d\ude00")"});
  check(R"({"type": ["string", "null"], "enum": ["a", 1, null]})", {"\"a\"", "null"}, {"1"});
  check(R"({"type": "integer", "enum": [1, 2.0, 2.5]})", {"1", "2.0"}, {"2.5"});
  check(R"({"enum": ["a", "b"], "const": "b"})", {"\"b\""}, {"\"a\""});
  check(R"({"enum": ["a", "abcd", "\u00e9\u00e9", "\ud83d\ude00", 5], "minLength": 2, "maxLength": 3})",
        {"\"\u00e9\u00e9\"", "5"}, {"\"a\"", "\"abcd\"", "\"\U0001F600\""});
  check(R"({"type": "number", "enum": [-1, 0.5, 7, "a"], "minimum": 0, "exclusiveMaximum": 7})", {"0.5"},
        {"-1", "7", "\"a\""});
  check(R"({"enum": ["a"], "format": "date"})", {"\"a\""}, {});
  check(R"({"enum": ["a", 1], "minItems": 3})", {"\"a\"", "1"}, {});
  check_invalid(R"({"enum": []})", "enum");
  check_invalid(R"({"enum": "a"})", "enum");
  check_invalid(R"({"type": "string", "enum": [1, 2]})", "enum");
  check_invalid(R"({"type": "string", "const": 1})", "const");
  check_unsupported(R"({"enum": ["a"], "pattern": "a"})", "pattern");
  check_unsupported(R"({"enum": [{}], "required": ["a"]})", "required");
}

TEST_CASE("properties come in the order of the schema, the required ones always") {
  check(
      R"({"type": "object", "properties": {"a": {}, "b": {}, "c": {}, "d": {}}, "required": ["c"], "additionalProperties": false})",
      {R"({"c":1})", R"({"b":1,"c":1,"d":1})", R"({"a":1,"c":1})"},
      {R"({"d":1})", R"({"a":1,"d":1})", R"({"b":1})", "{}"});
  check(
      R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "c": {"type": "integer"}},
            "required": ["c", "a"], "additionalProperties": false})",
      {R"({"a":1,"b":2,"c":3})", R"({"a":1,"c":3})"},
      {"{}", R"({"a":1})", R"({"c":3})", R"({"c":3,"a":1})", R"({"a":1,"a":1,"c":3})", R"({"a":1,"c":3,})",
       R"({,"a":1,"c":3})", R"({"a":1,,"c":3})", R"({"a":1,"c":3,"d":4})", R"({"a":"1","c":3})"});
  check(
      R"({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}}, "additionalProperties": false})",
      {"{}", R"({"a":null})", R"({"b":null})", R"({"c":null})", R"({"a":null,"b":null})",
       R"({"a":null,"c":null})", R"({"b":null,"c":null})", R"({"a":null,"b":null,"c":null})"},
      {R"({"b":null,"a":null})", R"({"c":null,"b":null})", R"({"a":null,})", R"({,"b":null})",
       R"({"d":null})"});
  check(
      R"({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"], "additionalProperties": false})",
      {R"({"a":1,"b":2})", R"({"b":2})"}, {"{}", R"({"a":1})"});
  check(
      R"({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "additionalProperties": false})",
      {R"({"a":1,"b":2})", R"({"a":2})"}, {"{}", R"({"b":1})"});
  check(
      R"({"type": "object", "properties": {"\"\\\n\u00e9": {"type": "null"}}, "required": ["\"\\\n\u00e9"]})",
      {"{\"\\\"\\\\\\n\u00e9\":null}"}, {"{}"});
  check(R"({"type": "object", "properties": {}, "additionalProperties": false})", {"{}", "{ }"},
        {R"({"a":1})"});
}

TEST_CASE("many optional properties") {
  Json schema = {{"type", "object"}, {"additionalProperties", false}, {"properties", Json::object()}};
  for (int i = 0; i < 300; ++i) schema["properties"]["key" + std::to_string(i)] = {{"type", "integer"}};
  schema["required"] = Json::array({"key123"});
  const std::string grammar = grammar_of(schema);
  CHECK(follows(grammar, R"({"key123":1})"));
  CHECK(follows(grammar,
                R"({"key0":1,"key15":1,"key16":1,"key17":1,"key122":1,"key123":1,"key255":1,"key299":1})"));
  CHECK_FALSE(follows(grammar, R"({"key0":1,"key122":1,"key255":1})"));
  CHECK_FALSE(follows(grammar, R"({"key16":1,"key15":1,"key123":1})"));
  CHECK_FALSE(follows(grammar, R"({"key16":1,"key16":1,"key123":1})"));
}

TEST_CASE("many required properties and elements") {
  Json schema = {{"type", "object"}, {"properties", Json::object()}, {"required", Json::array()}};
  Json list = {{"type", "array"}, {"prefixItems", Json::array()}, {"minItems", 500}, {"items", false}};
  std::string object;
  std::string array;
  for (int i = 0; i < 500; ++i) {
    const std::string name = "key" + std::to_string(i);
    schema["properties"][name] = {{"type", "integer"}};
    schema["required"].push_back(name);
    object += (i == 0 ? "{\"" : ",\"") + name + "\":1";
    list["prefixItems"].push_back({{"const", i}});
    array += (i == 0 ? "[" : ",") + std::to_string(i);
  }
  CHECK(follows(grammar_of(schema), object + ",\"other\":1}"));
  schema["additionalProperties"] = false;
  CHECK(follows(grammar_of(schema), object + "}"));
  CHECK_FALSE(follows(grammar_of(schema), object + ",\"other\":1}"));
  object.erase(object.rfind(','));
  CHECK_FALSE(follows(grammar_of(schema), object + "}"));
  CHECK(follows(grammar_of(list), array + "]"));
  CHECK_FALSE(follows(grammar_of(list), array + ",500]"));
  array.erase(array.rfind(','));
  CHECK_FALSE(follows(grammar_of(list), array + "]"));
}

TEST_CASE("additional properties follow behind, under names of their own") {
  check(R"({"type": "object", "properties": {"ab": {"type": "null"}, "ac": {"type": "null"}, "a": false}})",
        {"{}", R"({"ab":null})", R"({"x":1})", R"({"":1,"abc":[],"b":{}})",
         R"({"ab":null,"ac":null,"ad":1,"A":2})", "{\"\u00e9\":1}", R"({"\"":1,"a\n":2,"\u0001":3})"},
        {R"({"ab":1})", R"({"x":1,"ab":null})", R"({"ab":null,"ab":1})", R"({"a":1})", R"({"\u0061b":1})",
         R"({"a\u0062":1})", R"({"x":1,"ac":1})"});
  check(R"({"type": "object", "additionalProperties": {"type": "integer"}})", {"{}", R"({"a":1,"\u0061":2})"},
        {R"({"a":"1"})"});
  check(
      R"({"type": "object", "properties": {"": {"type": "null"}}, "required": [""], "additionalProperties": {"type": "integer"}})",
      {R"({"":null})", R"({"":null,"a":1})"}, {"{}", R"({"":null,"":1})", R"({"a":1})"});
  check(R"({"type": "object", "required": ["a"]})", {R"({"a":1})", R"({"a":1,"b":2})"}, {"{}", R"({"b":1})"});
  check(
      R"({"type": "object", "properties": {"b": {"type": "null"}}, "required": ["a", "b"], "additionalProperties": {"type": "integer"}})",
      {R"({"b":null,"a":1})"}, {R"({"b":null})", R"({"b":null,"a":null})"});
  check(R"({"type": "object", "properties": {"\"": {}, "\\": {}}, "additionalProperties": {"type": "null"}})",
        {R"({"\"":1,"\\":1,"\"\"":null,"\\n":null,"\n":null})"}, {R"({"\\":1,"\"":1})", R"({"\u0022":1})"});
  check_invalid(R"({"type": "object", "required": ["a"], "additionalProperties": false})", "required");
  check_invalid(R"({"type": "object", "properties": {"a": false}, "required": ["a"]})", "required");
  check_invalid(R"({"properties": {"o": {"properties": [1]}}})", "properties.o.properties");
  check_invalid(R"({"type": "object", "required": "a"})", "required");
  check_invalid(R"({"type": "object", "required": [1]})", "required");
}

TEST_CASE("names and numbers of properties") {
  check(
      R"({"type": "object", "propertyNames": {"pattern": "^[a-c]+$"}, "additionalProperties": {"type": "integer"}})",
      {"{}", R"({"ab":1,"c":2})"}, {R"({"d":1})"});
  check(R"({"type": "object", "propertyNames": {"enum": ["x", "y", 1]}})", {R"({"x":1,"y":[]})"},
        {R"({"z":1})", "{1:1}"});
  check(R"({"type": "object", "propertyNames": false})", {"{}"}, {R"({"a":1})"});
  check(R"({"type": "object", "minProperties": 1, "maxProperties": 2})", {R"({"a":1})", R"({"a":1,"b":2})"},
        {"{}", R"({"a":1,"b":2,"c":3})"});
  check(R"({"type": "object", "maxProperties": 0})", {"{}"}, {R"({"a":1})"});
  check(
      R"({"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": false, "minProperties": 1})",
      {R"({"a":1})", R"({"b":1})", R"({"a":1,"b":1})"}, {"{}"});
  check(
      R"({"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": false, "minProperties": 2, "maxProperties": 2})",
      {R"({"a":1,"b":1})"}, {"{}", R"({"a":1})"});
  check(R"({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"], "maxProperties": 1})",
        {R"({"b":1})"}, {"{}", R"({"a":1,"b":1})", R"({"b":1,"c":1})"});
  check(
      R"({"type": "object", "properties": {"a": {}}, "required": ["a"], "minProperties": 2, "maxProperties": 3})",
      {R"({"a":1,"b":1})", R"({"a":1,"b":1,"c":1})"}, {R"({"a":1})", R"({"a":1,"b":1,"c":1,"d":1})"});
  check_invalid(R"({"type": "object", "minProperties": 2, "maxProperties": 1})", "minProperties");
  check_invalid(
      R"({"type": "object", "properties": {"a": {}}, "additionalProperties": false, "minProperties": 2})",
      "minProperties");
  check_invalid(
      R"({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"], "maxProperties": 1})",
      "maxProperties");
  check_unsupported(R"({"type": "object", "properties": {"a": {}}, "minProperties": 2})", "minProperties");
  check_unsupported(R"({"type": "object", "properties": {"a": {}}, "maxProperties": 2})", "maxProperties");
  check_unsupported(
      R"({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": false, "minProperties": 2})",
      "minProperties");
  check_unsupported(R"({"type": "object", "properties": {"a": {}}, "propertyNames": {"pattern": "a"}})",
                    "propertyNames");
}

TEST_CASE("arrays") {
  check(R"({"type": "array", "items": {"type": "integer"}})", {"[]", "[1]", "[1,2, 3]"},
        {"[\"a\"]", "[1 2]"});
  check(R"({"type": "array", "items": {"type": "null"}, "minItems": 1})", {"[null]", "[null,null,null]"},
        {"[]"});
  check(R"({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 3})",
        {"[null,null]", "[null,null,null]"}, {"[]", "[null]", "[null,null,null,null]"});
  check(R"({"type": "array", "items": {"type": "null"}, "maxItems": 1})", {"[]", "[null]"}, {"[null,null]"});
  check(R"({"type": "array", "maxItems": 0})", {"[]", "[ ]"}, {"[1]"});
  check(R"({"type": "array", "items": false})", {"[]"}, {"[1]"});
  check(R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false})",
        {"[]", "[1]", "[1,\"a\"]"}, {"[\"a\"]", "[1,\"a\",1]"});
  check(
      R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": {"type": "null"}, "minItems": 1, "maxItems": 4})",
      {"[1]", "[1,\"a\"]", "[1,\"a\",null]", "[1,\"a\",null,null]"},
      {"[]", "[1,null]", "[1,\"a\",null,null,null]"});
  check(R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 3})",
        {"[1,\"a\",[]]", "[1,\"a\",{},1,2]"}, {"[1,\"a\"]"});
  check(
      R"({"type": "array", "prefixItems": [{"type": "null"}, {"type": "null"}, {"type": "null"}], "maxItems": 2})",
      {"[]", "[null,null]"}, {"[null,null,null]"});
  check(R"({"type": "array", "items": [{"type": "integer"}, {"type": "null"}], "additionalItems": false})",
        {"[]", "[1,null]"}, {"[1,null,1]"});
  check(R"({"type": "array", "prefixItems": [{"type": "null"}, false]})", {"[]", "[null]"}, {"[null,1]"});
  check(R"({"type": "array", "uniqueItems": false, "unevaluatedItems": true})", {"[1,1]"}, {});
  check_invalid(R"({"type": "array", "minItems": 2, "maxItems": 1})", "minItems");
  check_invalid(R"({"type": "array", "items": false, "minItems": 1})", "minItems");
  check_invalid(R"({"type": "array", "minItems": -1})", "minItems");
  check_invalid(R"({"type": "array", "maxItems": 1.5})", "maxItems");
  check_invalid(R"({"type": "array", "prefixItems": {}})", "prefixItems");
  check_invalid(R"({"type": "array", "items": {"type": "thing"}})", "items.type");
  check_refused(R"({"type": "array", "minItems": 100000})", ErrorCode::too_large, "minItems");
}

TEST_CASE("lengths of strings are in characters") {
  check(R"({"type": "string", "minLength": 2, "maxLength": 3})",
        {"\"ab\"", "\"\u00e9\u00e9\u00e9\"", "\"\U0001F600\U0001F600\"", R"("\n\"\\")",
         R"("\ud83d\ude00\u00e9")"},
        {"\"a\"", "\"abcd\"", R"("\n")", R"("\ud83d\ude00")"});
  check(R"({"type": "string", "maxLength": 0})", {"\"\""}, {"\"a\""});
  check(R"({"type": "string", "minLength": 1})", {"\"a\"", "\"aaaaaaa\""}, {"\"\""});
  check(R"({"type": "string", "minLength": 1.0})", {"\"a\""}, {"\"\""});
  check_invalid(R"({"type": "string", "minLength": 2, "maxLength": 1})", "minLength");
  check_invalid(R"({"type": "string", "maxLength": "1"})", "maxLength");
}

TEST_CASE("patterns may match anywhere, in strings as JSON writes them") {
  check(R"({"type": "string", "pattern": "b"})", {"\"b\"", "\"abc\"", R"("\"b\n")"}, {"\"\"", "\"a\""});
  check(R"({"type": "string", "pattern": "^b"})", {"\"b\"", "\"bc\""}, {"\"ab\""});
  check(R"({"type": "string", "pattern": "b$"})", {"\"b\"", "\"ab\""}, {"\"ba\""});
  check(R"({"type": "string", "pattern": "^(a|b)+$"})", {"\"a\"", "\"abba\""}, {"\"\"", "\"abc\""});
  check(R"({"type": "string", "pattern": "^a|b$"})", {"\"ax\"", "\"xb\""}, {"\"xax\""});
  check(R"({"type": "string", "pattern": ""})", {"\"\"", "\"a\""}, {});
  check(R"({"type": "string", "pattern": "^[^a]\"\\\\\\n\\x01\u00e9$"})",
        {"\"b\\\"\\\\\\n\\u0001\u00e9\"", R"("\"\"\\\n\u0001é")", R"("\u001f\"\\\n\u0001é")"},
        {R"("a\"\\\n\u0001é")", R"("b\"\\\n\u0001\u00e9")"});
  check(R"({"type": "string", "pattern": "^\\s$"})", {"\" \"", R"("\n")", R"("\u000B")", R"("\u000b")"},
        {"\"a\"", "\"\n\"", R"("\u000a")"});
  check(R"({"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4})",
        {"\"ab\"", "\"abcd\""}, {"\"a\"", "\"abcde\"", "\"1\""});
  check(R"({"type": "string", "pattern": "^[0-9]{3}-[0-9]{4}$", "minLength": 1, "maxLength": 20})",
        {"\"123-4567\""}, {"\"123\""});
  check(R"({"type": "string", "pattern": "^\\x1b[\\x1a\\x0e\\t]+$"})",
        {R"("\u001B\u001a\u001A\u000E\u000e\t")", R"("\u001b\t")"},
        {R"("\u001b\u0009")", R"("\u001a\t")", "\"\x1b\t\""});
  check_unsupported(R"({"type": "string", "pattern": "^a+b+$", "maxLength": 4})", "maxLength");
  check_unsupported(R"({"type": "string", "pattern": "a", "minLength": 4})", "minLength");
  check_unsupported(R"({"properties": {"s": {"type": "string", "pattern": "(?=a)b"}}})",
                    "properties.s.pattern");
  check_invalid(R"({"type": "string", "pattern": "("})", "pattern");
  check_invalid(R"({"type": "string", "pattern": 1})", "pattern");
  check_invalid(R"({"type": "string", "pattern": "^abc$", "maxLength": 2})", "pattern");
}

TEST_CASE("formats") {
  const auto format = [](const std::string& name, Texts yes, Texts no) {
    for (Texts* texts : {&yes, &no})
      for (std::string& text : *texts) text = Json(text).dump();
    check(R"({"type": "string", "format": ")" + name + "\"}", yes, no);
  };
  format("date", {"2024-02-29", "2000-02-29", "2023-12-31", "0000-04-30"},
         {"2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "23-01-01", "2023-1-1", "2023-00-10"});
  format("time", {"23:59:59Z", "00:00:00.123+05:30"},
         {"24:00:00Z", "12:60:00Z", "12:00:00", "12:00Z", "12:00:00z"});
  format("date-time", {"2024-02-29T12:00:00Z", "2023-01-01T00:00:00.5-08:00"},
         {"2023-02-29T12:00:00Z", "2023-01-01 00:00:00Z", "2023-01-01"});
  format("duration", {"P1D", "PT5M", "P1Y2M3DT4H5M6S", "P4W", "PT1H2M"},
         {"P", "PT", "1D", "P1YT", "PT1H2S", "P1D2Y"});
  format("uuid", {"123e4567-E89B-12d3-a456-426614174000"},
         {"123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"});
  format("ipv4", {"0.0.0.0", "255.249.199.99"}, {"256.1.1.1", "1.1.1", "01.1.1.1", "1.1.1.1.1"});
  format("ipv6",
         {"::", "::1", "1::", "1:2:3:4:5:6:7:8", "1::8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "fe80::1:2",
          "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4"},
         {"", ":", ":::", "1:2:3:4:5:6:7", "1::2::3", "12345::", "1:2:3:4:5:6:7:8:9",
          "1:2:3:4:5:6:7:8::", "::1.2.3"});
  format("hostname", {"a", "example.com", "a-b.c1"}, {"", "-a", "a-", "a..b", "a_b", std::string(64, 'a')});
  format("email", {"a@b", "first.last+tag@example.com"}, {"a", "@b", "a@", "a b@c", ".a@b", "a.@b"});
  format("uri", {"http://example.com/a?b=c#d", "urn:isbn:1", "mailto:a@b.c", "http://u:p@h:80", "file:///x"},
         {"example.com", "http://a b", "/x", "1a:b", "a:%zz"});
  format("anything-else", {"", "x"}, {});
  check(R"({"type": "string", "format": "uri", "minLength": 1})", {"\"a:b\""}, {"\"\"", "\"b\""});
  check(R"({"type": "string", "format": "date", "maxLength": 3})", {"\"abc\""}, {"\"2024-02-29\""});
  check(R"({"type": "string", "format": "date", "pattern": "^x$"})", {"\"x\""}, {"\"2024-02-29\""});
}

TEST_CASE("alternatives") {
  for (const char* keyword : {"anyOf", "oneOf"}) {
    const std::string key = std::string("{\"") + keyword + "\": ";
    check(key + R"([{"type": "string"}, {"type": "integer"}, false]})", {"\"a\"", "1"}, {"null", "1.5"});
    check(
        key +
            R"([{"required": ["a"]}, {"required": ["b"]}], "type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "additionalProperties": false})",
        {R"({"a":null})", R"({"b":null})", R"({"a":null,"b":null})"}, {"{}", R"({"a":1})"});
    check(key + R"([{"minimum": 5}, {"maximum": -5}, {"type": "string"}], "type": "integer"})", {"5", "-6"},
          {"0", "\"a\""});
    check_invalid(key + "[]}", keyword);
    check_invalid(key + R"([{"type": "string"}, {"type": "wrong"}]})", std::string(keyword) + "[1].type");
    check_unsupported(key + R"([{"not": {}}]})", std::string(keyword) + "[0].not");
  }
  check(
      R"({"anyOf": [{"type": "string"}, {"type": "integer"}], "oneOf": [{"type": "integer"}, {"type": "null"}]})",
      {"1"}, {"\"a\"", "null"});
  check(R"({"anyOf": [{"anyOf": [{"const": 1}, {"const": 2}]}, {"const": 3}], "enum": [2, 3, 4]})",
        {"2", "3"}, {"1", "4"});
  check_invalid(R"({"anyOf": [false, false]})", "anyOf[1]");
  check_invalid("false", "");
}

TEST_CASE("schemas that hold together") {
  check(R"({"allOf": [{"type": "string"}]})", {"\"a\""}, {"1"});
  check(R"({"allOf": [{"type": ["string", "integer"]}, {"type": ["number", "null"]}]})", {"1"},
        {"\"a\"", "1.5", "null"});
  check(R"({"allOf": [{"type": "number"}, {"type": "integer"}], "minimum": 1, "title": "t"})", {"1"},
        {"0", "1.5"});
  check(
      R"({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}], "type": "object"})",
      {R"({"a":1,"b":"x"})", R"({"a":1,"b":"x","c":2})"},
      {R"({"a":1})", R"({"b":"x"})", R"({"a":"x","b":"x"})"});
  check(
      R"({"type": "object", "properties": {"a": {"minimum": 3}, "b": {}}, "additionalProperties": false, "allOf": [{"properties": {"a": {"type": "integer"}, "c": {}}}]})",
      {R"({"a":3})", R"({"a":3,"b":1})"}, {R"({"a":2})", R"({"c":1})"});
  check(
      R"({"type": "array", "allOf": [{"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, {"items": {"enum": [1, "a", null]}}, {"minItems": 2}, {"minItems": 1}]})",
      {"[1,\"a\"]", "[1,\"a\",\"a\"]"}, {"[1]", "[2,\"a\"]", "[1,null]", "[1,\"b\"]"});
  check(
      R"({"type": "string", "allOf": [{"minLength": 1}, {"minLength": 2}, {"maxLength": 5}, {"maxLength": 3}]})",
      {"\"ab\"", "\"abc\""}, {"\"a\"", "\"abcd\""});
  check(R"({"enum": [1, 2, 3], "allOf": [{"enum": [2, 3, 4]}, {"const": 3}]})", {"3"}, {"2"});
  check(
      R"({"type": "object", "allOf": [{"additionalProperties": {"type": "integer"}}, {"additionalProperties": {"minimum": 3}}]})",
      {"{}", R"({"x":4})"}, {R"({"x":2})", R"({"x":"a"})"});
  check(
      R"({"type": "object", "allOf": [{"properties": {"a": {}}}, {"properties": {"a": {}, "b": {}}, "additionalProperties": false}]})",
      {R"({"a":1,"b":2})"}, {R"({"c":1})"});
  check_invalid(R"({"allOf": [{"type": "string"}, {"type": "integer"}]})", "");
  check_invalid(R"({"allOf": []})", "allOf");
  check_invalid(R"({"properties": {"a": {"allOf": [{"const": 1}, {"const": 2}]}}, "required": ["a"]})",
                "required");
  check_unsupported(R"({"allOf": [{"type": "string", "pattern": "a"}, {"pattern": "b"}]})", "pattern");
  check_unsupported(R"({"type": "string", "allOf": [{"not": {"const": "a"}}, {}]})", "not");
}

TEST_CASE("references") {
  check(R"({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}})", {"1"}, {"\"a\""});
  check(
      R"({"properties": {"n": {"$ref": "#/definitions/a%25~1b~0", "description": "d"}}, "definitions": {"a%/b~": {"type": "null"}}})",
      {R"({"n":null})"}, {R"({"n":1})"});
  check(
      R"({"properties": {"a": {"type": "integer"}, "b": {"$ref": "#/properties/a"}, "c": {"$ref": "#/anyOf/1"}}, "$comment": "", "required": ["c"], "anyOf": [true, {"type": "object"}]})",
      {R"({"b":1,"c":{}})"}, {R"({"b":"1","c":{}})", R"({"c":1})"});
  check(
      R"({"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}, "required": ["v"], "additionalProperties": false})",
      {R"({"v":1})", R"({"v":1,"next":{"v":2,"next":{"v":3}}})"}, {R"({"v":1,"next":{}})"});
  check(
      R"({"$ref": "#/$defs/tree", "$defs": {"tree": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/tree"}}]}}})",
      {"1", "[]", "[1,[2,[]],[]]"}, {"[\"a\"]", "[1"});
  // Beside a reference: both hold, also where it comes round to itself.
  check(
      R"({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"v": {}, "n": {"$ref": "#/$defs/n", "required": ["v"]}}, "additionalProperties": false}}})",
      {"{}", R"({"n":{"v":1}})", R"({"v":1,"n":{"v":1,"n":{"v":1}}})"},
      {R"({"n":{}})", R"({"n":{"v":1,"n":{}}})"});
  check_invalid(R"({"$ref": "#/$defs/b", "$defs": {"a": {}}})", "$ref");
  check_invalid(R"({"properties": {"a": {"$ref": "#/properties/a/b/0"}}})", "properties.a.$ref");
  check_invalid(R"({"$ref": 1})", "$ref");
  check_unsupported(R"({"$ref": "https://example.com/schema.json"})", "$ref");
  check_unsupported(R"({"$ref": "#anchor"})", "$ref");
  check_unsupported(R"({"properties": {"a": {"$ref": "other.json#/a"}}})", "properties.a.$ref");
}

TEST_CASE("references that never end") {
  const auto circle = [](const std::string& schema) {
    GrammarText grammar;
    const auto root = grammar.json_schema(Json::parse(schema));
    INFO(schema);
    REQUIRE_FALSE(root.has_value());
    CHECK(root.error().code == ErrorCode::invalid_argument);
  };
  circle(R"({"$ref": "#"})");
  circle(R"({"allOf": [{"$ref": "#"}]})");
  circle(R"({"allOf": [{"$ref": "#"}, {"type": "string"}]})");
  circle(R"({"anyOf": [{"$ref": "#"}, {"type": "string"}]})");
  circle(
      R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}})");
  circle(R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a", "type": "string"}}})");
  circle(R"({"type": "object", "anyOf": [{"$ref": "#"}, {"required": ["a"]}]})");
}

TEST_CASE("keywords without a type mean the type that they are for") {
  check(R"({"properties": {"a": {"type": "null"}}})", {"{}", R"({"a":null})"}, {"1", "[]"});
  check(R"({"items": {"type": "null"}})", {"[]", "[null]"}, {"1", "{}"});
  check(R"({"minimum": 3})", {"3", "4.5"}, {"2", "\"a\"", "{}"});
  check(R"({"pattern": "a"})", {"\"a\""}, {"1"});
  check(R"({"minLength": 1, "minItems": 1})", {"\"a\"", "[1]"}, {"\"\"", "[]", "{}"});
  // And those for other types say nothing.
  check(
      R"({"type": "string", "minimum": 3, "items": false, "required": ["a"], "multipleOf": 2, "uniqueItems": true})",
      {"\"\""}, {"3"});
}

TEST_CASE("keywords that are not supported are refused where they stand") {
  for (const char* keyword : {"not", "if", "$dynamicRef", "$recursiveRef"})
    check_unsupported(std::string("{\"") + keyword + "\": {}}", keyword);
  for (const char* keyword : {"patternProperties", "dependentRequired", "dependentSchemas", "dependencies"}) {
    check_unsupported(
        R"({"properties": {"a": {"type": "object", ")" + std::string(keyword) + R"(": {"b": {}}}}})",
        std::string("properties.a.") + keyword);
    check(std::string("{\"type\": \"object\", \"") + keyword + "\": {}}", {"{}"}, {});
  }
  check_unsupported(R"({"type": "object", "unevaluatedProperties": false})", "unevaluatedProperties");
  for (const char* keyword : {"uniqueItems", "contains"})
    check_unsupported(R"({"items": {"type": "array", ")" + std::string(keyword) + "\": true}}",
                      std::string("items.") + keyword);
  check_unsupported(R"({"type": "array", "unevaluatedItems": false})", "unevaluatedItems");
  check_unsupported(R"({"type": "object", "properties": {"age": {"type": "integer", "multipleOf": 5}}})",
                    "properties.age.multipleOf");
  check_unsupported(R"({"additionalProperties": {"prefixItems": [{}, {"not": {}}]}})",
                    "additionalProperties.prefixItems[1].not");
  check_unsupported(R"({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"not": {}}}}})", "$defs.a.items.not");
}

TEST_CASE("schemas that are wrong") {
  for (const char* schema : {"1", "null", "[]", "\"string\""}) check_invalid(schema, "");
  check_invalid(R"({"properties": {"a": 1}})", "properties.a");
  check_invalid(R"({"type": "text"})", "type");
  check_invalid(R"({"type": []})", "type");
  check_invalid(R"({"type": ["string", 1]})", "type");
  check_invalid(R"({"type": "integer", "minimum": "1"})", "minimum");
  check_invalid(R"({"type": "integer", "exclusiveMinimum": true})", "exclusiveMinimum");
}

TEST_CASE("schemas beyond the limits") {
  const auto too_large = [](const Json& schema) {
    GrammarText grammar;
    const auto root = grammar.json_schema(schema);
    REQUIRE_FALSE(root.has_value());
    CHECK(root.error().code == ErrorCode::too_large);
  };
  Json deep = {{"type", "null"}};
  for (int i = 0; i < 49; ++i) deep = {{"items", deep}};
  CHECK(follows(grammar_of(deep), "[[[[[]]]]]"));
  for (int i = 0; i < 100; ++i) deep = {{"items", deep}};
  too_large(deep);
  Json names = Json::object();
  for (int i = 0; i < 8'000; ++i) names["property " + std::to_string(i)] = {{"type", "integer"}};
  too_large({{"type", "object"}, {"properties", names}});
  too_large({{"type", "object"}, {"properties", {{std::string(20'000, 'a'), true}}}});
  CHECK(follows(
      grammar_of({{"type", "object"}, {"properties", {{"a", true}}}, {"title", std::string(20'000, 'a')}}),
      "{}"));
  too_large({{"enum", {std::string(256 << 10, 'a')}}});
  // Each level takes the next one with either of two names: together a million million schemas.
  Json doubling = {{"$ref", "#/$defs/0"}, {"$defs", {{"40", {{"type", "object"}}}}}};
  for (int i = 0; i < 40; ++i) {
    const std::string level = std::to_string(i);
    const std::string next = "#/$defs/" + std::to_string(i + 1);
    doubling["$defs"][level]["anyOf"] =
        Json::array({{{"$ref", next}, {"required", Json::array({"a" + level})}},
                     {{"$ref", next}, {"required", Json::array({"b" + level})}}});
  }
  too_large(doubling);
}

TEST_CASE("schemas and expressions mean what others take them for") {
  const Json goldens = test::read_goldens("schema_goldens.json");
  const auto check_texts = [](const Json& of, const std::string& grammar, const Json& texts, bool expected,
                              bool quoted = false) {
    for (const Json& text : texts) {
      const std::string written = quoted ? text.dump() : text.get<std::string>();
      INFO(of.dump() << " with " << written << "\n" << grammar);
      CHECK(follows(grammar, written) == expected);
    }
  };
  for (const Json& golden : goldens["schemas"]) {
    const std::string grammar = grammar_of(golden["schema"]);
    check_texts(golden["schema"], grammar, golden["yes"], true);
    check_texts(golden["schema"], grammar, golden["no"], false);
  }
  for (const Json& golden : goldens["expressions"]) {
    const Json& pattern = golden["pattern"];
    GrammarText whole;
    const auto root = whole.regex(pattern.get<std::string>());
    REQUIRE(root.has_value());
    check_texts(pattern, whole.text(*root), golden["matches"], true);
    check_texts(pattern, whole.text(*root), golden["found"], false);
    check_texts(pattern, whole.text(*root), golden["neither"], false);
    const std::string inside = grammar_of({{"type", "string"}, {"pattern", pattern}});
    check_texts(pattern, inside, golden["matches"], true, true);
    check_texts(pattern, inside, golden["found"], true, true);
    check_texts(pattern, inside, golden["neither"], false, true);
  }
}
