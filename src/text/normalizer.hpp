// The normalizers of tokenizer.json: text to text, before it is split.
//
// Invariant: valid UTF-8 in, valid UTF-8 out. Immutable, shared between threads.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_fields.hpp"

namespace baton::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(std::string& text) const = 0;
};

// Errors go to `errors`; the result is then of no use.
std::unique_ptr<Normalizer> make_normalizer(const nlohmann::json& json, const std::string& path,
                                            FirstError& errors);

}  // namespace baton::text
