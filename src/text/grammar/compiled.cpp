#include "text/grammar/compiled.hpp"

#include <algorithm>
#include <utility>

namespace baton::text {
namespace {

constexpr std::size_t kMostNodeBytes = 32 << 20;  // of remembered masks of one grammar; then all are
constexpr std::size_t kMostStackBytes = 8 << 20;  // forgotten
constexpr Duration kPositionTime{40};             // of looking at one, without what is remembered
constexpr std::size_t kCreditPerToken = 1 << 16;  // positions: 2 ms
constexpr int kWide = 128;                        // first bytes of a node whose mask is worked out at once
constexpr int kMostWide = 16;

// Where one output stands.
class OutputMask final : public TokenMask {
 public:
  explicit OutputMask(std::shared_ptr<const CompiledGrammar> grammar)
      : grammar_(std::move(grammar)), walker_(grammar_->automaton()) {
    walker_.open({grammar_->automaton().root(), kBottom}, here_);
  }

  bool write(std::span<std::uint32_t> allowed) override {
    std::ranges::fill(allowed, 0U);
    if (walker_.lost()) return false;
    if (!over_) write_text(allowed);
    if (walker_.lost()) return false;
    if (here_.left || over_) {
      for (const TokenId end : grammar_->index().ends()) {
        const auto word = static_cast<std::size_t>(end) / 32;
        if (end >= 0 && word < allowed.size()) allowed[word] |= 1U << (end % 32);
      }
    }
    return std::ranges::any_of(allowed, [](std::uint32_t word) { return word != 0; });
  }

  bool advance(TokenId token) override {
    if (over_) return false;
    if (walker_.lost()) return true;  // the next mask says so
    walker_.earn(kCreditPerToken);
    if (std::ranges::find(grammar_->index().ends(), token) != grammar_->index().ends().end())
      return over_ = here_.left;
    const Entry entry = grammar_->index().entry_of(token);
    if (entry == TokenIndex::kNone) return false;
    Positions at = here_, next;
    const std::size_t credit = walker_.credit();
    for (const char c : grammar_->index().bytes(entry)) {
      walker_.step(at.at, static_cast<std::uint8_t>(c), next);
      std::swap(at, next);
    }
    most_work_ = std::max(most_work_, credit - walker_.credit());
    if (!walker_.lost() && at.at.empty() && !at.left) return false;
    here_ = std::move(at);
    return true;
  }

  Duration advance_time() const override { return kPositionTime * most_work_; }

  bool ended() const override { return over_ || (here_.at.empty() && !walker_.lost()); }

 private:
  struct Question {
    Position position;
    std::shared_ptr<const NodeMask> mask;
  };

  void write_text(std::span<std::uint32_t> allowed) {
    std::vector<Question> questions;
    for (const Position& position : here_.at) {
      auto mask = grammar_->mask_of(grammar_->alike()[position.node], walker_);
      if (mask == nullptr) return;
      mask->yes.add_to(allowed);
      if (!mask->open.empty()) questions.push_back({position, std::move(mask)});
    }
    if (questions.empty()) return;
    const Hash128 identity = walker_.identity(here_.at, grammar_->alike());
    auto known = grammar_->find(identity);
    if (known == nullptr) {
      std::vector<TokenId> tokens;
      for (const Question& question : questions)
        judge_open(grammar_->index(), walker_, question.position, question.mask->open, tokens);
      if (walker_.lost()) return;
      known = std::make_shared<TokenSet>(std::move(tokens), grammar_->index().vocabulary());
      grammar_->remember(identity, known);
    }
    known->add_to(allowed);
  }

  const std::shared_ptr<const CompiledGrammar> grammar_;  // shared: the compiler may forget it first
  Walker walker_;
  Positions here_;
  std::size_t most_work_ = 0;  // positions that one token took
  bool over_ = false;          // an end-of-sequence token has come
};

}  // namespace

CompiledGrammar::CompiledGrammar(Automaton automaton, std::shared_ptr<const TokenIndex> index)
    : automaton_(std::move(automaton)),
      index_(std::move(index)),
      alike_(automaton_.alike(index_->longest())) {
  int wide = 0;
  for (Node node = 0; node < automaton_.size() && wide < kMostWide; ++node) {
    if (alike_[node] != node) continue;
    int bytes = 0;
    for (const ByteEdge& edge : automaton_.edges(node)) bytes += edge.bytes.last - edge.bytes.first + 1;
    if (bytes < kWide) continue;
    Walker walker(automaton_);  // one each: what is too wide is left to those who get there
    mask_of(node, walker);
    ++wide;
  }
}

std::unique_ptr<TokenMask> CompiledGrammar::start() const {
  return std::make_unique<OutputMask>(shared_from_this());
}

std::shared_ptr<const NodeMask> CompiledGrammar::mask_of(Node node, Walker& walker) const {
  {
    const std::scoped_lock lock(mutex_);
    const auto found = nodes_.find(node);
    if (found != nodes_.end()) return found->second;
  }
  auto mask = std::make_shared<const NodeMask>(mask_of_node(automaton_, *index_, walker, node));
  if (walker.lost()) return nullptr;
  const std::scoped_lock lock(mutex_);
  if (node_bytes_ > kMostNodeBytes) {
    nodes_.clear();
    node_bytes_ = 0;
  }
  if (nodes_.emplace(node, mask).second)
    node_bytes_ += mask->yes.bytes() + mask->open.capacity() * sizeof(EntryRange);
  return mask;
}

std::shared_ptr<const TokenSet> CompiledGrammar::find(const Hash128& positions) const {
  const std::scoped_lock lock(mutex_);
  const auto found = stacks_.find(positions);
  return found == stacks_.end() ? nullptr : found->second;
}

void CompiledGrammar::remember(const Hash128& positions, std::shared_ptr<const TokenSet> tokens) const {
  constexpr std::size_t kOverhead = 128;  // of an entry of the map
  const std::scoped_lock lock(mutex_);
  if (stack_bytes_ > kMostStackBytes) {
    stacks_.clear();
    stack_bytes_ = 0;
  }
  const std::size_t bytes = tokens->bytes() + kOverhead;
  if (stacks_.emplace(positions, std::move(tokens)).second) stack_bytes_ += bytes;
}

}  // namespace baton::text
