#include "baton/text/detokenizer.hpp"

#include <algorithm>
#include <utility>

#include "text/utf8.hpp"

namespace baton {
namespace {

// For Tokenizers without a stream of their own: each token contributes its bytes.
class BytesStream final : public DecodeStream {
 public:
  explicit BytesStream(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  std::string push(TokenId id) override {
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
};

}  // namespace

std::unique_ptr<DecodeStream> Tokenizer::decode_stream() const {
  return std::make_unique<BytesStream>(*this);
}

struct Detokenizer::State {
  const Tokenizer& tokenizer;
  SpecialTokens special;
  std::unique_ptr<DecodeStream> stream;

  bool is_text(TokenId id) const {
    return !special.skip || !tokenizer.is_special(id) ||
           std::find(special.shown.begin(), special.shown.end(), id) != special.shown.end();
  }
  std::string push(TokenId id) { return is_text(id) ? stream->push(id) : std::string(); }
};

Detokenizer::Detokenizer(const Tokenizer& tokenizer, std::span<const TokenId> prompt_tail,
                         SpecialTokens special)
    : state_(std::make_unique<State>(State{tokenizer, std::move(special), tokenizer.decode_stream()})) {
  for (const TokenId id : prompt_tail) state_->push(id);
  state_->stream->forget_prompt();
}

Detokenizer::~Detokenizer() = default;
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;

std::string Detokenizer::push(TokenId id) { return state_->push(id); }
std::string Detokenizer::finish() { return state_->stream->finish(); }

}  // namespace baton
