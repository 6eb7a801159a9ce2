#include "text/grammar_text/schema_writer.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "text/grammar_text/schema_refs.hpp"

namespace baton::text {

namespace {

constexpr std::size_t kMostText = 256 << 10;  // what compiles, see GrammarLimits
constexpr const char* kTooMuchText = "takes too much text as a grammar";
constexpr const char* kNothing = "nothing can follow it";

}  // namespace

std::optional<std::string> alternatives(const std::vector<std::string>& expressions) {
  if (expressions.empty()) return std::nullopt;
  if (expressions.size() == 1) return expressions[0];
  std::string written;
  for (const std::string& one : expressions) written += (written.empty() ? "(" : " | ") + one;
  return written + ")";
}

Result<std::string> SchemaWriter::write() {
  if (nested_deeper(root_, kMaxDepth)) return make_error(ErrorCode::too_large, "a schema nested too deep");
  const std::string root = reference("#", {});
  write_pending();
  if (!errors_.any()) refuse_circles();
  if (out_.size() > kMostText) errors_.set(ErrorCode::too_large, "", kTooMuchText);
  if (errors_.any()) return errors_.first();
  return root;
}

std::string SchemaWriter::reference(const Json& reference, const SchemaPlace& place) {
  const SchemaTarget target = find_schema(root_, reference, path_of(place.path, "$ref"), errors_);
  if (target.schema == nullptr) return {};
  const auto [known, is_new] = references_.try_emplace(target.path);
  if (is_new) {
    const std::size_t last = target.path.rfind('.');
    known->second = out_.reserve(target.path.empty() ? "json" : target.path.substr(last + 1));
    paths_[known->second] = target.path;
    pending_.push_back({known->second, target.schema, target.path});
  }
  if (!place.leads.empty()) begins_with_[place.leads].insert(known->second);
  return known->second;
}

void SchemaWriter::write_pending() {
  for (; !pending_.empty() && !errors_.any(); pending_.pop_front()) {
    const Pending& next = pending_.front();
    const auto body = value(*next.schema, {next.path, next.rule, 0});
    if (!body)
      errors_.invalid(nothing_ ? nothing_->first : next.path, nothing_ ? nothing_->second : kNothing);
    out_.define(next.rule, body.value_or(""));
  }
}

std::optional<std::string> SchemaWriter::value(const Json& schema, const SchemaPlace& place) {
  errors_.spend(64);
  if (place.depth > kMaxDepth) errors_.set(ErrorCode::too_large, place.path, "nested too deep");
  if (out_.size() > kMostText) errors_.set(ErrorCode::too_large, "", kTooMuchText);
  if (errors_.any()) return "";
  if (schema == true) return json_value(out_);
  if (schema == false) return nothing(place, "", "false: nothing can follow it");
  if (!schema.is_object()) {
    errors_.invalid(place.path, "must be an object or a boolean");
    return "";
  }
  if (schema.contains("$ref") && !limits_beyond(schema, {"$ref"})) return reference(schema["$ref"], place);
  const bool one_of_all =
      schema.contains("allOf") && schema["allOf"].is_array() && schema["allOf"].size() == 1;
  if (one_of_all && !limits_beyond(schema, {"allOf"}))
    return value(schema["allOf"][0], place.branch("allOf", 0));
  for (const char* keyword : {"anyOf", "oneOf"}) {
    if (schema.contains(keyword) && !limits_beyond(schema, {keyword})) return any_of(schema, keyword, place);
  }
  for (const char* keyword : {"$ref", "allOf", "anyOf", "oneOf"}) {
    if (schema.contains(keyword)) return combined(merger_.flat(schema, place.path), place);
  }
  return by_type(schema, place);
}

std::optional<std::string> SchemaWriter::any_of(const Json& schema, const std::string& keyword,
                                                const SchemaPlace& place) {
  const Json& branches = schema[keyword];
  if (!branches.is_array() || branches.empty()) {
    errors_.invalid(path_of(place.path, keyword), "must be a list of schemas");
    return "";
  }
  std::vector<std::string> expressions;
  std::set<std::string> known;
  for (std::size_t i = 0; i < branches.size() && !errors_.any(); ++i) {
    const auto branch = value(branches[i], place.branch(keyword, i));
    if (branch && known.insert(*branch).second) expressions.push_back(*branch);
  }
  return alternatives(expressions);
}

// A schema that was put together: itself a rule, for through a reference it may contain itself again.
std::optional<std::string> SchemaWriter::combined(const Json& flat, const SchemaPlace& place) {
  if (errors_.any() || !flat.is_object()) return value(flat, place);
  const std::string text = flat.dump(-1, ' ', false, Json::error_handler_t::replace);
  errors_.spend(text.size());
  const auto [known, is_new] = combined_.try_emplace(text);
  Combined& entry = known->second;
  if (is_new) entry.rule = out_.reserve("combined");
  if (!place.leads.empty()) begins_with_[place.leads].insert(entry.rule);
  if (!is_new) {
    entry.used = true;
    return entry.nothing ? std::nullopt : std::optional(entry.rule);
  }
  paths_[entry.rule] = place.path;
  const SchemaPlace inside{place.path, entry.rule, place.depth + 1};
  std::optional<std::string> body;
  if (flat.contains("anyOf")) {
    Json rest = flat;
    rest.erase("anyOf");
    std::vector<std::string> expressions;
    const Json branches = flat["anyOf"].is_array() ? flat["anyOf"] : Json::array();
    for (std::size_t i = 0; i < branches.size() && !errors_.any(); ++i) {
      const auto branch = value_of_both(rest, branches[i], inside.branch("anyOf", i));
      if (branch) expressions.push_back(*branch);
    }
    if (branches.empty()) errors_.invalid(path_of(place.path, "anyOf"), "must be a list of schemas");
    body = alternatives(expressions);
  } else {
    body = by_type(flat, inside);
  }
  if (!body && entry.used) errors_.invalid(place.path, kNothing);
  entry.nothing = !body;
  out_.define(entry.rule, body.value_or("\"\""));
  return body ? std::optional(entry.rule) : std::nullopt;
}

std::optional<std::string> SchemaWriter::value_of_both(const Json& a, const Json& b,
                                                       const SchemaPlace& place) {
  if (!limits_beyond(a, {})) return value(b, place);
  return combined(merger_.both(merger_.flat(a, place.path), merger_.flat(b, place.path), place.path), place);
}

JsonTypes SchemaWriter::types(const Json& schema, const SchemaPlace& place) {
  JsonTypes types = 0;
  const auto found = schema.find("type");
  if (found == schema.end()) {
    // Whoever writes `properties` means an object, though the specification lets everything else through.
    for (const auto& [key, value] : schema.items()) {
      const SchemaKeyword* keyword = schema_keyword(key);
      if (keyword != nullptr && keyword->types != kAllTypes) types |= keyword->types;
    }
    return types == 0 || schema.contains("enum") || schema.contains("const") ? kAllTypes : types;
  }
  const Json list = found->is_array() ? *found : Json::array({*found});
  for (const Json& name : list) {
    const auto type = name.is_string() ? json_type(name.get_ref<const std::string&>()) : std::nullopt;
    if (!type) errors_.invalid(path_of(place.path, "type"), "must be a type's name or a list of them");
    if (type) types |= static_cast<JsonTypes>(*type);
  }
  if (list.empty()) errors_.invalid(path_of(place.path, "type"), "must not be empty");
  return types;
}

std::optional<std::string> SchemaWriter::by_type(const Json& schema, const SchemaPlace& place) {
  const JsonTypes wanted = types(schema, place);
  if (const SchemaKeyword* keyword = unsupported_keyword(schema, wanted); keyword != nullptr)
    errors_.unsupported(path_of(place.path, keyword->name), "is not supported");
  if (errors_.any()) return "";
  if (schema.contains("enum") || schema.contains("const"))
    return write_constants(*this, schema, place, wanted);
  if (wanted == kAllTypes && !limits_beyond(schema, {"type"})) return json_value(out_);
  std::vector<std::string> expressions;
  const auto add = [&](const std::optional<std::string>& expression) {
    if (expression) expressions.push_back(*expression);
  };
  if (contains(wanted, JsonType::object)) add(write_object(*this, schema, place));
  if (contains(wanted, JsonType::array)) add(write_array(*this, schema, place));
  if (contains(wanted, JsonType::string)) add(write_string(*this, schema, place));
  if (contains(wanted, JsonType::number)) {
    add(write_number(*this, schema, place, false));
  } else if (contains(wanted, JsonType::integer)) {
    add(write_number(*this, schema, place, true));
  }
  if (contains(wanted, JsonType::boolean)) add(json_boolean(out_));
  if (contains(wanted, JsonType::null)) add("\"null\"");
  return alternatives(expressions);
}

std::size_t SchemaWriter::count(const Json& schema, const SchemaPlace& place, const std::string& keyword,
                                std::size_t otherwise) {
  const auto found = schema.find(keyword);
  if (found == schema.end()) return otherwise;
  constexpr double kMost = 1e15;
  const double value = found->is_number() ? found->get<double>() : -1;
  if (value < 0 || value != static_cast<double>(static_cast<std::int64_t>(std::min(value, kMost)))) {
    errors_.invalid(path_of(place.path, keyword), "must be a whole number from 0");
    return otherwise;
  }
  return static_cast<std::size_t>(value);
}

std::nullopt_t SchemaWriter::nothing(const SchemaPlace& place, std::string_view keyword,
                                     std::string_view why) {
  nothing_.emplace(keyword.empty() ? place.path : path_of(place.path, keyword),
                   why);  // the last is the nearest
  return std::nullopt;
}

// A rule that begins with itself before it reads anything: {"$ref": "#"}.
void SchemaWriter::refuse_circles() {
  std::map<std::string, std::size_t> before;  // how many rules begin with this one
  for (const auto& [rule, first] : begins_with_) {
    before.try_emplace(rule, 0);
    for (const std::string& name : first) ++before[name];
  }
  std::vector<std::string> free;
  for (const auto& [rule, others] : before) {
    if (others == 0) free.push_back(rule);
  }
  while (!free.empty()) {
    const std::string rule = std::move(free.back());
    free.pop_back();
    before.erase(rule);
    for (const std::string& name : begins_with_[rule]) {
      if (--before[name] == 0) free.push_back(name);
    }
  }
  if (!before.empty())
    errors_.invalid(paths_[before.begin()->first],
                    "refers to itself with nothing before it: it would never end");
}

}  // namespace baton::text

namespace baton {

Result<std::string> GrammarText::json_schema(const nlohmann::ordered_json& schema) {
  return text::SchemaWriter(*this, schema).write();
}

}  // namespace baton
