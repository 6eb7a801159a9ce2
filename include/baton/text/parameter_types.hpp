// Of which types the parameters of a request's functions are: what a format that writes every value as bare
// text (qwen3_coder) does not tell.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace baton {

namespace text {
using JsonTypes = std::uint8_t;  // a set: text/grammar_text/schema_keywords.hpp
}

class ParameterTypes {
 public:
  ParameterTypes() = default;
  // `tools` as the API has them; what is malformed in them says nothing.
  explicit ParameterTypes(const nlohmann::ordered_json& tools);

  // Strings only where nothing is said.
  text::JsonTypes of(std::string_view function, std::string_view parameter) const;

 private:
  using Parameters = std::map<std::string, text::JsonTypes, std::less<>>;
  std::map<std::string, Parameters, std::less<>> functions_;
};

}  // namespace baton
