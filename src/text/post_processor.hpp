// The post-processors of tokenizer.json, reduced to what one text needs: ids before and ids behind it (BOS,
// EOS).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "baton/text/tokenizer.hpp"
#include "text/json_fields.hpp"

namespace baton::text {

struct PostProcessor {
  std::vector<TokenId> before;
  std::vector<TokenId> behind;
};

// Errors go to `errors`. Ids may lie anywhere in [0, 2^31): the embedding's bounds are the model's affair.
PostProcessor read_post_processor(const nlohmann::json& json, const std::string& path, FirstError& errors);

}  // namespace baton::text
