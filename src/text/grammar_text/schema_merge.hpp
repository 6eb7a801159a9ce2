// Schemas that must hold together: allOf, and what stands beside $ref, anyOf or oneOf.
#pragma once

#include <string>

#include "text/grammar_text/json_values.hpp"
#include "text/grammar_text/schema_errors.hpp"

namespace baton::text {

class SchemaMerger {
 public:
  SchemaMerger(const Json& root, SchemaErrors& errors) : root_(root), errors_(errors) {}

  // The same schema without $ref, allOf and oneOf at its top (oneOf becomes anyOf). `false` where nothing can
  // follow it.
  Json flat(const Json& schema, const std::string& path) { return flat(schema, path, 0); }
  // Both hold. Either must be flat; so is the result. unsupported names the keyword that cannot be combined.
  Json both(const Json& a, const Json& b, const std::string& path);

 private:
  Json flat(const Json& schema, const std::string& path, int depth);
  void combine(Json& into, const std::string& key, const Json& a, const Json& b, const std::string& path);
  void combine_properties(Json& into, const Json& a, const Json& b);
  void combine_items(Json& into, const Json& a, const Json& b, const std::string& path);

  const Json& root_;
  SchemaErrors& errors_;
};

}  // namespace baton::text
