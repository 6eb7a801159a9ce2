// Of which types the parameters of a request's functions are: what a format that writes every value as bare
// text (qwen3_coder, glm45) does not tell.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace baton {

namespace text {
using JsonTypes = std::uint8_t;  // a set: text/grammar_text/schema_keywords.hpp
}

struct ParameterType {
  text::JsonTypes types;
  // What a text may be read as besides a string, where the schema lists its values; null: by the types.
  std::shared_ptr<const nlohmann::ordered_json> others;
};

class ParameterTypes {
 public:
  ParameterTypes() = default;
  // `tools` as the API has them; what is malformed in them says nothing, nor does what stands behind more
  // than sensible schemas need.
  explicit ParameterTypes(const nlohmann::ordered_json& tools);

  // Strings only where nothing is said.
  ParameterType of(std::string_view function, std::string_view parameter) const;

 private:
  using Parameters = std::map<std::string, ParameterType, std::less<>>;
  std::map<std::string, Parameters, std::less<>> functions_;
};

}  // namespace baton
