#include "text/normalizer.hpp"

#include <nlohmann/json.hpp>

#include "text/pattern.hpp"
#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace baton::text {
namespace {

constexpr int kMaxNesting = 16;

class PrependNormalizer final : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer final : public Normalizer {
 public:
  ReplaceNormalizer(Regex pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string& text) const override { text = replace_all(text, pattern_, content_); }

 private:
  Regex pattern_;
  std::string content_;
};

class FormNormalizer final : public Normalizer {
 public:
  explicit FormNormalizer(NormalForm form) : form_(form) {}
  void apply(std::string& text) const override {
    std::string normal;
    if (normalize(form_, text, normal)) text = std::move(normal);
  }

 private:
  NormalForm form_;
};

class StripNormalizer final : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string& text) const override {
    std::size_t end = text.size();
    while (right_ && end > 0) {
      const std::size_t previous = previous_code_point(text, end);
      if (!is_white_space(code_point_at(text, previous).value)) break;
      end = previous;
    }
    text.resize(end);
    std::size_t begin = 0;
    while (left_ && begin < text.size()) {
      const CodePoint c = code_point_at(text, begin);
      if (!is_white_space(c.value)) break;
      begin += c.length;
    }
    text.erase(0, begin);
  }

 private:
  bool left_;
  bool right_;
};

class LowercaseNormalizer final : public Normalizer {
 public:
  void apply(std::string& text) const override { text = to_lower(text); }
};

class StripAccentsNormalizer final : public Normalizer {
 public:
  void apply(std::string& text) const override {
    std::string kept;
    for (std::size_t i = 0; i < text.size();) {
      const CodePoint c = code_point_at(text, i);
      if (!is_mark(c.value)) kept.append(text, i, c.length);
      i += c.length;
    }
    text = std::move(kept);
  }
};

class SequenceNormalizer final : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void apply(std::string& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

std::unique_ptr<Normalizer> make(const nlohmann::json& json, const std::string& path, FirstError& errors,
                                 int depth) {
  const Fields fields(json, path, errors);
  const std::string type = fields.string("type");
  if (errors.failed()) return nullptr;
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> steps;
    const nlohmann::json* list = fields.array("normalizers");
    if (depth >= kMaxNesting) fields.unsupported("normalizers", "nested too deep");
    if (list == nullptr || depth >= kMaxNesting) return nullptr;
    for (std::size_t i = 0; i < list->size() && !errors.failed(); ++i) {
      steps.push_back(
          make((*list)[i], fields.path_of("normalizers") + "[" + std::to_string(i) + "]", errors, depth + 1));
    }
    return std::make_unique<SequenceNormalizer>(std::move(steps));
  }
  if (type == "Prepend") return std::make_unique<PrependNormalizer>(fields.string("prepend"));
  if (type == "Replace") {
    auto pattern = read_pattern(fields, "pattern");
    std::string content = fields.string("content");
    return pattern ? std::make_unique<ReplaceNormalizer>(std::move(*pattern), std::move(content)) : nullptr;
  }
  if (type == "NFC") return std::make_unique<FormNormalizer>(NormalForm::nfc);
  if (type == "NFD") return std::make_unique<FormNormalizer>(NormalForm::nfd);
  if (type == "NFKC") return std::make_unique<FormNormalizer>(NormalForm::nfkc);
  if (type == "NFKD") return std::make_unique<FormNormalizer>(NormalForm::nfkd);
  if (type == "Strip") {
    return std::make_unique<StripNormalizer>(fields.boolean("strip_left", true),
                                             fields.boolean("strip_right", true));
  }
  if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
  if (type == "StripAccents") return std::make_unique<StripAccentsNormalizer>();
  fields.unsupported("type", "normalizer \"" + type + "\" is not supported");
  return nullptr;
}

}  // namespace

std::optional<Regex> read_pattern(const Fields& fields, std::string_view name) {
  const nlohmann::json* json = fields.find(name);
  if (json == nullptr) {
    fields.fail(name, "is missing");
    return std::nullopt;
  }
  const Fields pattern(*json, fields.path_of(name), fields.errors());
  const bool is_regex = pattern.has("Regex");
  const std::string source = pattern.string(is_regex ? "Regex" : "String");
  if (fields.errors().failed()) return std::nullopt;
  Result<Regex> regex = is_regex ? Regex::compile(source) : Regex::literal(source);
  if (regex) return std::move(*regex);
  fields.errors().set(regex.error().code, pattern.path_of("Regex"), regex.error().message);
  return std::nullopt;
}

std::string replace_all(std::string_view text, const Regex& pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  std::size_t from = 0;
  Matches matches(pattern, text);
  while (const auto match = matches.next()) {
    out.append(text.substr(from, match->begin - from)).append(content);
    from = match->end;
  }
  return out.append(text.substr(from));
}

std::unique_ptr<Normalizer> make_normalizer(const nlohmann::json& json, const std::string& path,
                                            FirstError& errors) {
  return make(json, path, errors, 0);
}

}  // namespace baton::text
