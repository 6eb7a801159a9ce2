// The Tokenizer that tokenizer.json describes: added tokens, normalizer, pre-tokenizer, BPE, post-processor
// and decoder put together.
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "baton/text/tokenizer.hpp"
#include "text/added_tokens.hpp"
#include "text/bpe.hpp"
#include "text/decoder.hpp"
#include "text/normalizer.hpp"
#include "text/post_processor.hpp"
#include "text/pre_tokenizer.hpp"
#include "text/utf8.hpp"

namespace baton {
namespace {

using text::kNoToken;

struct Parts {
  std::unique_ptr<text::Normalizer> normalizer;
  text::PreTokenizer pre_tokenizer;
  std::unique_ptr<text::Bpe> model;
  text::AddedTokens added;
  text::PostProcessor post_processor;
  text::Decoder decoder;
};

class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(Parts parts) : parts_(std::move(parts)) {}

  std::vector<TokenId> encode(std::string_view text, EncodeOptions options) const override {
    std::string repaired;
    if (!text::is_valid_utf8(text)) {
      repaired = text::to_valid_utf8(text);
      text = repaired;
    }
    std::vector<TokenId> ids;
    ids.reserve(text.size() / 3 + 8);
    const text::PostProcessor& around = parts_.post_processor;
    if (options.add_special_tokens) ids.insert(ids.end(), around.before.begin(), around.before.end());
    std::vector<text::Section> sections;
    parts_.added.cut(text::AddedTokens::Stage::raw, text, sections);
    for (const text::Section& section : sections) {
      if (section.id != kNoToken) {
        ids.push_back(section.id);
      } else {
        encode_section(section.text, section.text.data() == text.data(), ids);
      }
    }
    if (options.add_special_tokens) ids.insert(ids.end(), around.behind.begin(), around.behind.end());
    return ids;
  }

  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override {
    text::DecodeChain chain(parts_.decoder);
    for (const TokenId id : ids) push(id, skip_special_tokens, chain);
    chain.finish();
    return std::move(chain.text());
  }

  std::unique_ptr<DecodeStream> decode_stream() const override { return std::make_unique<Stream>(*this); }

  std::size_t vocab_size() const override { return std::max(parts_.model->id_end(), parts_.added.id_end()); }

  std::optional<TokenId> token_to_id(std::string_view token) const override {
    TokenId id = parts_.added.find(token);
    if (id == kNoToken) id = parts_.model->find(token);
    return id == kNoToken ? std::nullopt : std::optional(id);
  }
  std::string_view id_to_token(TokenId id) const override {
    if (const text::AddedToken* token = parts_.added.by_id(id)) return token->text;
    return parts_.model->spelling_of(id);
  }
  bool is_special(TokenId id) const override { return parts_.added.is_special(id); }
  std::string token_bytes(TokenId id) const override { return parts_.decoder.token_bytes(id_to_token(id)); }

 private:
  class Stream final : public DecodeStream {
   public:
    explicit Stream(const BpeTokenizer& tokenizer)
        : tokenizer_(&tokenizer), chain_(tokenizer.parts_.decoder) {}
    std::string push(TokenId id) override {
      tokenizer_->push(id, false, chain_);
      return std::exchange(chain_.text(), {});
    }
    void forget_prompt() override { chain_.forget_held(); }
    std::string finish() override {
      chain_.finish();
      return std::exchange(chain_.text(), {});
    }

   private:
    const BpeTokenizer* tokenizer_;
    text::DecodeChain chain_;
  };

  // Words go to the model as the pre-tokenizer finds them.
  class Encoder final : public text::WordSink {
   public:
    Encoder(const text::Bpe& model, std::vector<TokenId>& ids) : model_(model), ids_(ids) {}
    void word(std::string_view word) override { model_.encode(word, ids_); }

   private:
    const text::Bpe& model_;
    std::vector<TokenId>& ids_;
  };

  void encode_section(std::string_view section, bool first, std::vector<TokenId>& ids) const {
    std::string normal;
    if (parts_.normalizer != nullptr) {
      normal = section;
      parts_.normalizer->apply(normal);
      section = normal;
    }
    Encoder encoder(*parts_.model, ids);
    std::vector<text::Section> sections;
    parts_.added.cut(text::AddedTokens::Stage::normalized, section, sections);
    for (const text::Section& part : sections) {
      if (part.id != kNoToken) {
        ids.push_back(part.id);
      } else {
        parts_.pre_tokenizer.split({part.text, first && part.text.data() == section.data()}, encoder);
      }
    }
  }

  void push(TokenId id, bool skip_special_tokens, text::DecodeChain& chain) const {
    const std::string_view spelling = id_to_token(id);
    if (spelling.empty() || (skip_special_tokens && is_special(id))) return;
    chain.token(spelling);
  }

  Parts parts_;
};

text::BpeOptions read_model(const text::Fields& model, const text::TokenizerFile& file) {
  const std::string type = model.string("type", "BPE");  // the oldest files do not name it
  if (type != "BPE") model.unsupported("type", "model \"" + type + "\" is not supported; BPE is");
  if (!file.has_vocab) model.fail("vocab", "is missing or no object");
  if (!file.has_merges) model.fail("merges", "is missing or no array");
  text::BpeOptions options;
  options.byte_fallback = model.boolean("byte_fallback", false);
  options.fuse_unknown = model.boolean("fuse_unk", false);
  options.ignore_merges = model.boolean("ignore_merges", false);
  options.unknown_token = model.string("unk_token", "");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.string(affix, "").empty()) model.unsupported(affix, "is not supported");
  }
  const nlohmann::json* dropout = model.find("dropout");
  if (dropout != nullptr && *dropout != 0) model.unsupported("dropout", "is not supported");
  return options;
}

Parts read_parts(const nlohmann::json& rest, const text::TokenizerFile& file, text::FirstError& errors) {
  Parts parts;
  const text::Fields root(rest, "", errors);
  const nlohmann::json* model = root.find("model");
  if (model == nullptr) root.fail("model", "is missing");
  if (errors.failed()) return parts;
  text::BpeOptions options = read_model(text::Fields(*model, "model", errors), file);
  if (const auto* json = root.find("pre_tokenizer"))
    parts.pre_tokenizer = text::PreTokenizer(*json, "pre_tokenizer", errors);
  if (const auto* json = root.find("normalizer"))
    parts.normalizer = text::make_normalizer(*json, "normalizer", errors);
  if (const auto* json = root.find("decoder")) parts.decoder = text::Decoder(*json, "decoder", errors);
  if (const auto* json = root.find("post_processor")) {
    parts.post_processor = text::read_post_processor(*json, "post_processor", errors);
  }
  if (errors.failed()) return parts;
  options.byte_level = parts.pre_tokenizer.byte_level();
  parts.model = std::make_unique<text::Bpe>(file, std::move(options), errors);
  if (errors.failed()) return parts;
  if (const auto* list = root.find("added_tokens")) {
    parts.added = text::AddedTokens(*list, *parts.model, parts.normalizer.get(), errors);
  }
  return parts;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> parse_tokenizer(std::string_view tokenizer_json) {
  nlohmann::json rest;
  const Result<text::TokenizerFile> file = text::read_tokenizer_file(tokenizer_json, rest);
  if (!file) return file.error();
  text::FirstError errors;
  Parts parts = read_parts(rest, *file, errors);
  if (errors.failed()) return errors.get();
  return std::unique_ptr<Tokenizer>(std::make_unique<BpeTokenizer>(std::move(parts)));
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "tokenizer.json";
  std::error_code missing;
  if (!std::filesystem::exists(path, missing))
    return make_error(ErrorCode::not_found, path.string() + " does not exist");
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file) return make_error(ErrorCode::io, "cannot read " + path.string());
  Result<std::unique_ptr<Tokenizer>> tokenizer = parse_tokenizer(content.view());
  if (!tokenizer) tokenizer.error().message = directory.string() + "/" + tokenizer.error().message;
  return tokenizer;
}

}  // namespace baton
