#include "text/post_processor.hpp"

#include <nlohmann/json.hpp>

namespace baton::text {
namespace {

constexpr int kMaxNesting = 16;

class Reader {
 public:
  explicit Reader(FirstError& errors) : errors_(errors) {}

  PostProcessor result() && { return std::move(result_); }

  void read(const nlohmann::json& json, const std::string& path, int depth) {
    const Fields fields(json, path, errors_);
    const std::string type = fields.string("type");
    if (errors_.failed() || type == "ByteLevel")
      return;  // ByteLevel only moves offsets, which nobody here reads
    if (type == "Sequence") return sequence(fields, depth);
    if (type == "TemplateProcessing") return template_processing(fields);
    if (type == "RobertaProcessing" || type == "BertProcessing") return surround(fields);
    fields.unsupported("type", "post-processor \"" + type + "\" is not supported");
  }

 private:
  void sequence(const Fields& fields, int depth) {
    const nlohmann::json* list = fields.array("processors");
    if (depth >= kMaxNesting) fields.unsupported("processors", "nested too deep");
    if (list == nullptr || depth >= kMaxNesting) return;
    for (std::size_t i = 0; i < list->size() && !errors_.failed(); ++i) {
      read((*list)[i], fields.path_of("processors") + "[" + std::to_string(i) + "]", depth + 1);
    }
  }

  void template_processing(const Fields& fields) {
    const nlohmann::json* single = fields.array("single");
    if (single == nullptr) return;
    PostProcessor around;
    int sequences = 0;
    for (std::size_t i = 0; i < single->size() && !errors_.failed(); ++i) {
      const Fields part((*single)[i], fields.path_of("single") + "[" + std::to_string(i) + "]", errors_);
      if (part.has("Sequence")) {
        ++sequences;
      } else if (const nlohmann::json* token = part.find("SpecialToken")) {
        const Fields special(*token, part.path_of("SpecialToken"), errors_);
        append_special(fields, special.string("id"), sequences == 0 ? around.before : around.behind);
      } else {
        part.fail("", "must hold a Sequence or a SpecialToken");
      }
    }
    if (sequences != 1) fields.unsupported("single", "must hold the sequence once");
    add(around);
  }

  void append_special(const Fields& fields, const std::string& name, std::vector<TokenId>& out) {
    const nlohmann::json* all = fields.find("special_tokens");
    const std::string path = fields.path_of("special_tokens");
    if (all == nullptr || !all->is_object() || !all->contains(name)) {
      return errors_.set(ErrorCode::corrupt, path, "\"" + name + "\" is missing");
    }
    const Fields entry((*all)[name], path + "." + name, errors_);
    const nlohmann::json* ids = entry.array("ids");
    if (ids == nullptr) return;
    for (const auto& id : *ids) append_id(id, entry.path_of("ids"), out);
  }

  void append_id(const nlohmann::json& id, const std::string& path, std::vector<TokenId>& out) {
    const bool good = id.is_number_integer() && id >= 0 && id <= INT32_MAX;
    if (!good) return errors_.set(ErrorCode::corrupt, path, "must hold token ids");
    out.push_back(id.get<TokenId>());
  }

  // {"cls": ["<s>", 0], "sep": ["</s>", 2]}
  void surround(const Fields& fields) {
    PostProcessor around;
    for (const auto& [name, out] : {std::pair{"cls", &around.before}, {"sep", &around.behind}}) {
      const nlohmann::json* pair = fields.array(name);
      if (pair == nullptr) return;
      if (pair->size() != 2) return fields.fail(name, "must be a token and its id");
      append_id((*pair)[1], fields.path_of(name), *out);
    }
    add(around);
  }

  // A later processor wraps what the earlier ones made.
  void add(const PostProcessor& around) {
    result_.before.insert(result_.before.begin(), around.before.begin(), around.before.end());
    result_.behind.insert(result_.behind.end(), around.behind.begin(), around.behind.end());
  }

  FirstError& errors_;
  PostProcessor result_;
};

}  // namespace

PostProcessor read_post_processor(const nlohmann::json& json, const std::string& path, FirstError& errors) {
  Reader reader(errors);
  reader.read(json, path, 0);
  return std::move(reader).result();
}

}  // namespace baton::text
