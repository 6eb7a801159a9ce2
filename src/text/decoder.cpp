#include "text/decoder.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "text/byte_alphabet.hpp"
#include "text/pattern.hpp"
#include "text/utf8.hpp"

namespace baton::text {
namespace {

constexpr int kMaxNesting = 16;

// For stages that need a token whole: collects pieces where an earlier stage fused tokens.
class WholeTokenStage : public DecodeStage {
 public:
  using DecodeStage::DecodeStage;
  void piece(std::string_view text, bool begins, bool ends) final {
    if (begins && ends) return token(text);
    partial_.append(text);
    open_ = true;
    if (ends) close();
  }
  void finish() override { close(); }
  void forget_held() override { partial_.clear(); }

 protected:
  virtual void token(std::string_view text) = 0;

 private:
  void close() {
    if (!open_) return;
    open_ = false;
    const std::string whole = std::exchange(partial_, {});
    token(whole);
  }
  std::string partial_;
  bool open_ = false;
};

class ReplaceSpec final : public DecoderSpec {
 public:
  ReplaceSpec(Regex pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::unique_ptr<DecodeStage> stage(TokenSink& next) const override {
    return std::make_unique<Stage>(next, *this);
  }
  std::string token_bytes(std::string token) const override { return replace_all(token, pattern_, content_); }

 private:
  class Stage final : public WholeTokenStage {
   public:
    Stage(TokenSink& next, const ReplaceSpec& spec) : WholeTokenStage(next), spec_(&spec) {}

   private:
    void token(std::string_view text) override {
      next().piece(replace_all(text, spec_->pattern_, spec_->content_), true, true);
    }
    const ReplaceSpec* spec_;
  };
  Regex pattern_;
  std::string content_;
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
// The byte of "<0xAB>".
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high << 4 | low);
}

// Byte tokens that follow each other are one string: valid as a whole, or one U+FFFD for each byte. So a run
// is held until it ends.
class ByteFallbackSpec final : public DecoderSpec {
 public:
  std::unique_ptr<DecodeStage> stage(TokenSink& next) const override { return std::make_unique<Stage>(next); }
  std::string token_bytes(std::string token) const override {
    const auto byte = byte_of(token);
    return byte ? std::string(1, *byte) : token;
  }

 private:
  class Stage final : public WholeTokenStage {
   public:
    using WholeTokenStage::WholeTokenStage;
    void finish() override {
      WholeTokenStage::finish();
      flush();
    }
    void forget_held() override {
      WholeTokenStage::forget_held();
      run_.erase(0, run_.size() - incomplete_utf8_suffix(run_));
    }

   private:
    void token(std::string_view text) override {
      if (const auto byte = byte_of(text)) {
        run_.push_back(*byte);
        return;
      }
      flush();
      next().piece(text, true, true);
    }
    void flush() {
      if (run_.empty()) return;
      if (is_valid_utf8(run_)) {
        next().piece(run_, true, true);
      } else {
        for (std::size_t i = 0; i < run_.size(); ++i) next().piece(kReplacement, true, true);
      }
      run_.clear();
    }
    std::string run_;
  };
};

class FuseSpec final : public DecoderSpec {
 public:
  std::unique_ptr<DecodeStage> stage(TokenSink& next) const override { return std::make_unique<Stage>(next); }

 private:
  class Stage final : public DecodeStage {
   public:
    using DecodeStage::DecodeStage;
    void piece(std::string_view text, bool /*begins*/, bool /*ends*/) override {
      next().piece(text, !begun_, false);
      begun_ = true;
    }
    void finish() override { next().piece("", !begun_, true); }
    void forget_held() override {}

   private:
    bool begun_ = false;
  };
};

// All tokens' bytes are one string, made valid UTF-8.
class ByteLevelSpec final : public DecoderSpec {
 public:
  std::unique_ptr<DecodeStage> stage(TokenSink& next) const override { return std::make_unique<Stage>(next); }
  std::string token_bytes(std::string token) const override {
    return alphabet_to_bytes(token).value_or(token);
  }

 private:
  class Stage final : public WholeTokenStage {
   public:
    using WholeTokenStage::WholeTokenStage;
    void finish() override {
      WholeTokenStage::finish();
      next().piece(held_.empty() ? std::string_view() : kReplacement, !begun_, true);
      held_.clear();
    }

   private:
    void token(std::string_view text) override {
      const auto bytes = alphabet_to_bytes(text);
      held_.append(bytes ? std::string_view(*bytes) : text);
      std::string valid;
      const std::size_t incomplete = append_valid_utf8(held_, valid);
      held_.erase(0, held_.size() - incomplete);
      next().piece(valid, !begun_, false);
      begun_ = true;
    }
    std::string held_;
    bool begun_ = false;
  };
};

// At most `start` leading and `stop` trailing `content` characters of every token go.
class StripSpec final : public DecoderSpec {
 public:
  StripSpec(std::string content, std::size_t start, std::size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  std::unique_ptr<DecodeStage> stage(TokenSink& next) const override {
    return std::make_unique<Stage>(next, *this);
  }

 private:
  class Stage final : public DecodeStage {
   public:
    Stage(TokenSink& next, const StripSpec& spec) : DecodeStage(next), spec_(&spec) {}
    void piece(std::string_view text, bool begins, bool ends) override {
      const std::string_view content = spec_->content_;
      if (begins) {
        to_strip_ = spec_->start_;
        held_ = 0;
      }
      while (to_strip_ > 0 && text.starts_with(content)) {
        text.remove_prefix(content.size());
        --to_strip_;
      }
      if (!text.empty()) to_strip_ = 0;
      std::size_t trailing = 0;  // content characters at the end that the token's end may strip
      while (trailing < spec_->stop_ && text.ends_with(content)) {
        text.remove_suffix(content.size());
        ++trailing;
      }
      std::string out;
      if (text.empty()) {
        trailing += held_;
        for (; trailing > spec_->stop_; --trailing) out += content;
      } else {
        for (; held_ > 0; --held_) out += content;
        out += text;
      }
      held_ = ends ? 0 : trailing;
      next().piece(out, begins, ends);
    }
    void finish() override { held_ = 0; }
    void forget_held() override { held_ = 0; }

   private:
    const StripSpec* spec_;
    std::size_t to_strip_ = 0;
    std::size_t held_ = 0;
  };
  std::string content_;
  std::size_t start_;
  std::size_t stop_;
};

// U+2581 is a space, but vanishes in the first token where the pre-tokenizer had prepended it.
class MetaspaceSpec final : public DecoderSpec {
 public:
  MetaspaceSpec(std::string replacement, bool drop_first)
      : replacement_(std::move(replacement)), drop_first_(drop_first) {}
  std::unique_ptr<DecodeStage> stage(TokenSink& next) const override {
    return std::make_unique<Stage>(next, *this);
  }
  std::string token_bytes(std::string token) const override { return replaced(token, " "); }

 private:
  class Stage final : public DecodeStage {
   public:
    Stage(TokenSink& next, const MetaspaceSpec& spec) : DecodeStage(next), spec_(&spec) {}
    void piece(std::string_view text, bool begins, bool ends) override {
      if (begins && begun_) first_ = false;
      begun_ = true;
      next().piece(spec_->replaced(text, first_ && spec_->drop_first_ ? "" : " "), begins, ends);
    }
    void finish() override {}
    void forget_held() override {}

   private:
    const MetaspaceSpec* spec_;
    bool begun_ = false;
    bool first_ = true;
  };
  std::string replaced(std::string_view text, std::string_view by) const {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t found = std::min(text.find(replacement_, at), text.size());
      out.append(text.substr(at, found - at));
      if (found < text.size()) out.append(by);
      at = found + replacement_.size();
    }
    return out;
  }
  std::string replacement_;
  bool drop_first_;
};

class JoinSpec final : public DecoderSpec {
 public:
  std::unique_ptr<DecodeStage> stage(TokenSink& next) const override { return std::make_unique<Stage>(next); }

 private:
  class Stage final : public DecodeStage {
   public:
    using DecodeStage::DecodeStage;
    void piece(std::string_view text, bool /*begins*/, bool /*ends*/) override {
      if (begun_) next().piece(" ", true, true);
      begun_ = true;
      next().piece(text, true, true);
    }
    void finish() override {}
    void forget_held() override {}

   private:
    bool begun_ = false;
  };
};

std::unique_ptr<DecoderSpec> make_spec(const std::string& type, const Fields& fields) {
  if (type == "Replace") {
    auto pattern = read_pattern(fields, "pattern");
    std::string content = fields.string("content");
    return pattern ? std::make_unique<ReplaceSpec>(std::move(*pattern), std::move(content)) : nullptr;
  }
  if (type == "ByteFallback") return std::make_unique<ByteFallbackSpec>();
  if (type == "Fuse") return std::make_unique<FuseSpec>();
  if (type == "ByteLevel") return std::make_unique<ByteLevelSpec>();
  if (type == "Strip") {
    std::string content;
    append_utf8(fields.character("content", U' '), content);
    const auto count = [&](std::string_view name) {
      return static_cast<std::size_t>(fields.integer(name, 0, 0, 1 << 16));
    };
    return std::make_unique<StripSpec>(std::move(content), count("start"), count("stop"));
  }
  if (type == "Metaspace") {
    std::string replacement;
    append_utf8(fields.character("replacement", 0x2581), replacement);
    const bool never =
        fields.string("prepend_scheme", "always") == "never" || !fields.boolean("add_prefix_space", true);
    return std::make_unique<MetaspaceSpec>(std::move(replacement), !never);
  }
  fields.unsupported("type", "decoder \"" + type + "\" is not supported");
  return nullptr;
}

}  // namespace

Decoder::Decoder() { specs_.push_back(std::make_unique<JoinSpec>()); }

Decoder::Decoder(const nlohmann::json& json, const std::string& path, FirstError& errors) {
  add(json, path, errors, 0);
}

void Decoder::add(const nlohmann::json& json, const std::string& path, FirstError& errors, int depth) {
  const Fields fields(json, path, errors);
  const std::string type = fields.string("type");
  if (errors.failed()) return;
  if (type != "Sequence") {
    if (auto spec = make_spec(type, fields)) specs_.push_back(std::move(spec));
    return;
  }
  const nlohmann::json* list = fields.array("decoders");
  if (depth >= kMaxNesting) fields.unsupported("decoders", "nested too deep");
  if (list == nullptr || depth >= kMaxNesting) return;
  for (std::size_t i = 0; i < list->size() && !errors.failed(); ++i) {
    add((*list)[i], fields.path_of("decoders") + "[" + std::to_string(i) + "]", errors, depth + 1);
  }
}

std::string Decoder::token_bytes(std::string_view spelling) const {
  std::string bytes(spelling);
  for (const auto& spec : specs_) {
    if (!is_valid_utf8(bytes)) break;  // a byte stage made raw bytes of it: later stages see characters only
    bytes = spec->token_bytes(std::move(bytes));
  }
  return bytes;
}

DecodeChain::DecodeChain(const Decoder& decoder) {
  TokenSink* next = &out_;
  for (auto spec = decoder.specs().rbegin(); spec != decoder.specs().rend(); ++spec) {
    stages_.push_back((*spec)->stage(*next));
    next = stages_.back().get();
  }
}

void DecodeChain::token(std::string_view spelling) {
  if (stages_.empty()) {
    out_.piece(spelling, true, true);
  } else {
    stages_.back()->piece(spelling, true, true);
  }
}

void DecodeChain::finish() {
  for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) (*stage)->finish();
}

void DecodeChain::forget_held() {
  for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) (*stage)->forget_held();
  out_.text.clear();
}

}  // namespace baton::text
