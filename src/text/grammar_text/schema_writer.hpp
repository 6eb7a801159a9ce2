// A JSON schema as rules of a grammar.
//
// Every schema becomes an expression, or nothing where no value can follow it; what a reference names becomes
// a rule, written after whatever refers to it, so references may go in circles through objects and arrays.
// Invariant: depth of recursion is bounded by kMaxDepth whatever the schema.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "baton/text/grammar_text.hpp"
#include "text/grammar_text/json_values.hpp"
#include "text/grammar_text/schema_errors.hpp"
#include "text/grammar_text/schema_keywords.hpp"
#include "text/grammar_text/schema_merge.hpp"

namespace baton::text {

// Where a schema stands.
struct SchemaPlace {
  std::string path;   // "properties.age"
  std::string leads;  // the rule that begins with what is written here; "" where something stands before it
  int depth = 0;

  SchemaPlace inside(std::string_view step) const { return {path_of(path, step), {}, depth + 1}; }
  SchemaPlace branch(std::string_view keyword, std::size_t index) const {
    return {path_of(path, keyword) + "[" + std::to_string(index) + "]", leads, depth + 1};
  }
};

class SchemaWriter {
 public:
  SchemaWriter(GrammarText& out, const Json& root) : out_(out), root_(root), merger_(root, errors_) {}

  Result<std::string> write();

  // For the writers of each type. An expression; none where nothing can follow the schema.
  std::optional<std::string> value(const Json& schema, const SchemaPlace& place);
  std::optional<std::string> value_of_both(const Json& a, const Json& b, const SchemaPlace& place);
  // The count that a keyword gives.
  std::size_t count(const Json& schema, const SchemaPlace& place, const std::string& keyword,
                    std::size_t otherwise);
  // Nothing can follow a schema, and why: said if in the end nothing can follow the whole.
  std::nullopt_t nothing(const SchemaPlace& place, std::string_view keyword, std::string_view why);
  GrammarText& out() { return out_; }
  SchemaErrors& errors() { return errors_; }

 private:
  static constexpr int kMaxDepth = 100;

  struct Pending {
    std::string rule;
    const Json* schema;
    std::string path;
  };
  struct Combined {
    std::string rule;
    bool used = false;     // by itself, while it was written
    bool nothing = false;  // can follow it
  };

  std::string reference(const Json& reference, const SchemaPlace& place);
  void write_pending();
  std::optional<std::string> any_of(const Json& schema, const std::string& keyword, const SchemaPlace& place);
  std::optional<std::string> combined(const Json& flat, const SchemaPlace& place);
  std::optional<std::string> by_type(const Json& schema, const SchemaPlace& place);
  JsonTypes types(const Json& schema, const SchemaPlace& place);
  void refuse_circles();

  GrammarText& out_;
  const Json& root_;
  SchemaErrors errors_;
  SchemaMerger merger_;
  std::deque<Pending> pending_;
  std::map<std::string, std::string> references_;               // rules by what refers to them
  std::map<std::string, Combined> combined_;                    // by the combined schema's text
  std::map<std::string, std::set<std::string>> begins_with_;    // rules by the rule that may begin with them
  std::map<std::string, std::string> paths_;                    // of rules
  std::optional<std::pair<std::string, std::string>> nothing_;  // path and reason
};

// One type each. `types` tells a number from an integer.
std::optional<std::string> write_object(SchemaWriter& writer, const Json& schema, const SchemaPlace& place);
std::optional<std::string> write_array(SchemaWriter& writer, const Json& schema, const SchemaPlace& place);
std::optional<std::string> write_string(SchemaWriter& writer, const Json& schema, const SchemaPlace& place);
std::optional<std::string> write_number(SchemaWriter& writer, const Json& schema, const SchemaPlace& place,
                                        bool integer);
// enum and const: those of their values that the rest of the schema lets through.
std::optional<std::string> write_constants(SchemaWriter& writer, const Json& schema, const SchemaPlace& place,
                                           JsonTypes types);

// "(a | b)"; none where there is no alternative.
std::optional<std::string> alternatives(const std::vector<std::string>& expressions);

}  // namespace baton::text
