#include "baton/text/detokenizer.hpp"

#include "text/utf8.hpp"

namespace baton {
namespace {

// For Tokenizers without a stream of their own: each token contributes its bytes.
class BytesStream final : public DecodeStream {
 public:
  BytesStream(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}
  std::string push(TokenId id) override {
    if (skip_special_tokens_ && tokenizer_->is_special(id)) return {};
    held_ += tokenizer_->token_bytes(id);
    std::string out;
    const std::size_t incomplete = text::append_valid_utf8(held_, out);
    held_.erase(0, held_.size() - incomplete);
    return out;
  }
  void forget_prompt() override {}
  std::string finish() override { return text::to_valid_utf8(std::exchange(held_, {})); }

 private:
  const Tokenizer* tokenizer_;
  std::string held_;
  bool skip_special_tokens_;
};

}  // namespace

std::unique_ptr<DecodeStream> Tokenizer::decode_stream(bool skip_special_tokens) const {
  return std::make_unique<BytesStream>(*this, skip_special_tokens);
}

struct Detokenizer::State {
  std::unique_ptr<DecodeStream> stream;
};

Detokenizer::Detokenizer(const Tokenizer& tokenizer, std::span<const TokenId> prompt_tail,
                         bool skip_special_tokens)
    : state_(std::make_unique<State>(State{tokenizer.decode_stream(skip_special_tokens)})) {
  for (const TokenId id : prompt_tail) state_->stream->push(id);
  state_->stream->forget_prompt();
}

Detokenizer::~Detokenizer() = default;
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;

std::string Detokenizer::push(TokenId id) { return state_->stream->push(id); }
std::string Detokenizer::finish() { return state_->stream->finish(); }

}  // namespace baton
