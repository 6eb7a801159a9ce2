#include "text/grammar/compiled.hpp"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

namespace baton::text {
namespace {

constexpr std::size_t kMostBytes = 4 << 20;     // of each kind of remembered masks; then all are forgotten
constexpr std::size_t kOverhead = 128;          // of one that is remembered
constexpr std::size_t kMostForToken = 1 << 15;  // positions that taking one may cost: outputs are replayed
constexpr Duration kPositionTime{40};           // of looking at one, without what is remembered
constexpr int kWide = 128;                      // first bytes of a node whose mask is worked out at once
constexpr std::size_t kAtOnce = 1 << 20;        // positions that are looked at for that: some 20 ms

constexpr std::size_t kManyOpen = 1 << 13;  // tokens that run out of a node's rule
constexpr std::size_t kAllBands = SIZE_MAX >> 1;

// Bands' masks put together.
class MaskOfBands {
 public:
  explicit MaskOfBands(std::size_t vocabulary) : bits_(mask_words(vocabulary)) {}
  // What `open` leaves open is put in anew.
  MaskOfBands(std::size_t vocabulary, const NodeMask& open) : MaskOfBands(vocabulary) {
    open.yes.add_to(bits_);
    out_.work = open.work;
  }

  bool add(std::size_t band, std::shared_ptr<const BandMask> mask) {
    if (mask == nullptr) return false;
    out_.work += mask->work;
    out_.open_entries += mask->open_entries;
    mask->yes.add_to(bits_);
    if (!mask->open.empty()) out_.open.push_back({band, std::move(mask)});
    return true;
  }
  std::size_t work() const { return out_.work; }
  std::shared_ptr<const NodeMask> take() {
    out_.yes = TokenSet(bits_);
    return std::make_shared<const NodeMask>(std::move(out_));
  }

 private:
  std::vector<std::uint32_t> bits_;
  NodeMask out_;
};

std::vector<std::size_t> lengths_of(const TokenIndex& index) {
  std::vector<std::size_t> out;
  for (const TokenBand& band : index.bands()) out.push_back(band.longest());
  if (out.empty()) out.push_back(1);
  return out;
}

// Where one output stands.
class OutputMask final : public TokenMask {
 public:
  explicit OutputMask(std::shared_ptr<const CompiledGrammar> grammar)
      : grammar_(std::move(grammar)), walker_(grammar_->automaton()) {
    walker_.open({grammar_->automaton().root(), kBottom}, here_);
  }

  bool write(std::span<std::uint32_t> allowed) override {
    std::ranges::fill(allowed, 0U);
    if (!over_ && (lost_ || !write_text(allowed))) {
      lost_ = true;
      return false;
    }
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
    if (lost_) return true;  // the next mask says so
    walker_.allow(kMostForToken);
    if (std::ranges::find(grammar_->index().ends(), token) != grammar_->index().ends().end())
      return over_ = here_.left;
    const std::string_view bytes = grammar_->index().bytes(token);
    if (bytes.empty()) return false;
    Positions at = here_, next;
    const std::size_t credit = walker_.credit();
    for (const char c : bytes) {
      walker_.step(at.at, static_cast<std::uint8_t>(c), next);
      std::swap(at, next);
    }
    most_work_ = std::max(most_work_, credit - walker_.credit());
    lost_ = walker_.lost();
    if (!lost_ && at.at.empty() && !at.left) return false;
    here_ = std::move(at);
    return true;
  }

  Duration advance_time() const override { return kPositionTime * most_work_; }

  bool ended() const override { return over_ || (here_.at.empty() && !lost_); }

 private:
  struct Question {
    Position position;
    std::shared_ptr<const NodeMask> mask;
  };

  // False: lost.
  bool write_text(std::span<std::uint32_t> allowed) {
    if (grammar_->any_lost()) {
      const auto known = grammar_->find(walker_.identity(here_.at, grammar_->alike()));
      if (known != nullptr && known->lost) return false;
    }
    std::size_t credit = grammar_->most_work();
    std::vector<Question> questions;
    for (const Position& position : here_.at) {
      std::optional<Node> back;
      if (position.parent != kBottom) back = walker_.back_of(position.parent);
      auto mask = grammar_->mask_of(position.node, back, credit);
      if (mask == nullptr) return lose();
      credit -= mask->work;
      mask->yes.add_to(allowed);
      if (!mask->open.empty()) questions.push_back({position, std::move(mask)});
    }
    if (questions.empty()) return true;
    const Hash128 identity = walker_.identity(here_.at, grammar_->alike());
    auto known = grammar_->find(identity);
    if (known == nullptr) {
      known = answer(questions, credit);
      if (known == nullptr) return lose();
      grammar_->remember(identity, known);
    }
    if (known->lost || known->work >= credit) return lose();
    known->tokens.add_to(allowed);
    return true;
  }

  std::shared_ptr<const StackMask> answer(const std::vector<Question>& questions, std::size_t credit) {
    walker_.allow(credit);
    std::vector<TokenId> tokens;
    for (const Question& question : questions)
      for (const auto& [band, mask] : question.mask->open)
        judge_open(grammar_->index().bands()[band], walker_, question.position, mask->open, tokens);
    if (walker_.lost()) return nullptr;
    return std::make_shared<StackMask>(
        StackMask{TokenSet(std::move(tokens), grammar_->index().vocabulary()), credit - walker_.credit()});
  }

  // Remembered, so that other outputs do not pay for finding out.
  bool lose() {
    StackMask lost;
    lost.lost = true;
    grammar_->remember(walker_.identity(here_.at, grammar_->alike()), std::make_shared<StackMask>(lost));
    return false;
  }

  const std::shared_ptr<const CompiledGrammar> grammar_;  // shared: the compiler may forget it first
  Walker walker_;
  Positions here_;
  std::size_t most_work_ = 0;  // positions that one token took
  bool over_ = false;          // an end-of-sequence token has come
  bool lost_ = false;          // read in more ways, or at a higher cost, than is followed
};

}  // namespace

CompiledGrammar::CompiledGrammar(Automaton automaton, std::shared_ptr<const TokenIndex> index)
    : automaton_(std::move(automaton)),
      index_(std::move(index)),
      alike_(automaton_.alike(lengths_of(*index_))) {
  work_out_the_widest();
}

void CompiledGrammar::work_out_the_widest() const {
  std::size_t credit = kAtOnce;
  for (Node node = 0; node < automaton_.size(); ++node) {
    if (alike()[node] != node) continue;
    int bytes = 0;
    for (const ByteEdge& edge : automaton_.edges(node)) bytes += edge.bytes.last - edge.bytes.first + 1;
    if (bytes < kWide) continue;
    const auto mask = mask_of(node, std::nullopt, credit);
    if (mask == nullptr) return;
    credit -= mask->work;
  }
}

// Several times what a mask takes whose tokens are read in one way.
std::size_t CompiledGrammar::most_work() const {
  constexpr std::size_t kReadings = 4;
  return kReadings * index_->total_bytes() + (std::size_t{1} << 20);
}

std::unique_ptr<TokenMask> CompiledGrammar::start() const {
  return std::make_unique<OutputMask>(shared_from_this());
}

std::shared_ptr<const NodeMask> CompiledGrammar::mask_of(Node node, std::optional<Node> back,
                                                         std::size_t credit) const {
  const Context key = context(kAllBands, alike()[node]);
  auto mask = find(nodes_, key);
  if (mask == nullptr) {
    MaskOfBands all(index_->vocabulary());
    for (std::size_t band = 0; band < index_->bands().size(); ++band)
      if (!all.add(band, mask_of(band, node, credit - all.work()))) return nullptr;
    mask = all.take();
    add(nodes_, key, mask, mask->bytes());
  }
  if (mask->work >= credit) return nullptr;
  if (!back || mask->open_entries < kManyOpen) return mask;
  return mask_behind(*mask, node, *back, credit);
}

// Where a rule is so small that most tokens run out of it (a character of a very long text), what it returns
// to says as much as it does itself.
std::shared_ptr<const NodeMask> CompiledGrammar::mask_behind(const NodeMask& open, Node node, Node back,
                                                             std::size_t credit) const {
  const Context key = context(kAllBands, alike()[node], alike()[back]);
  if (auto known = find(nodes_, key)) return known->work < credit ? known : nullptr;
  MaskOfBands all(index_->vocabulary(), open);
  for (const auto& [band, mask] : open.open) {
    if (all.work() >= credit) return nullptr;
    if (!all.add(band, mask_of(band, node, back, *mask, credit - all.work()))) return nullptr;
  }
  auto mask = all.take();
  if (mask->work >= credit) return nullptr;
  add(nodes_, key, mask, mask->bytes());
  return mask;
}

std::shared_ptr<const BandMask> CompiledGrammar::mask_of(std::size_t band, Node node,
                                                         std::size_t credit) const {
  const Node same = alike_in(band, node);
  const Context key = context(band, same);
  if (auto known = find(bands_, key)) return known->work < credit ? known : nullptr;
  auto made = mask_of_band(automaton_, index_->bands()[band], index_->vocabulary(), same, credit);
  return made ? keep(key, *std::move(made)) : nullptr;
}

std::shared_ptr<const BandMask> CompiledGrammar::mask_of(std::size_t band, Node node, Node back,
                                                         const BandMask& open, std::size_t credit) const {
  const Node same = alike_in(band, node), same_back = alike_in(band, back);
  const Context key = context(band, same, same_back);
  if (auto known = find(bands_, key)) return known->work < credit ? known : nullptr;
  auto made = mask_of_band(automaton_, index_->bands()[band], index_->vocabulary(), same, same_back,
                           open.open, credit);
  return made ? keep(key, *std::move(made)) : nullptr;
}

std::shared_ptr<const BandMask> CompiledGrammar::keep(const Context& key, BandMask made) const {
  const std::size_t bytes = made.yes.bytes() + made.open.capacity() * sizeof(EntryRange);
  auto mask = std::make_shared<const BandMask>(std::move(made));
  add(bands_, key, mask, bytes);
  return mask;
}

std::shared_ptr<const StackMask> CompiledGrammar::find(const Hash128& positions) const {
  return find(stacks_, positions);
}

void CompiledGrammar::remember(const Hash128& positions, std::shared_ptr<const StackMask> mask) const {
  if (mask->lost) any_lost_.store(true, std::memory_order_relaxed);
  const std::size_t bytes = mask->tokens.bytes();
  add(stacks_, positions, std::move(mask), bytes);
}

template <class Key, class Value>
std::shared_ptr<const Value> CompiledGrammar::find(const Remembered<Key, Value>& in, const Key& key) const {
  const std::scoped_lock lock(mutex_);
  const auto found = in.masks.find(key);
  return found == in.masks.end() ? nullptr : found->second;
}

template <class Key, class Value>
void CompiledGrammar::add(Remembered<Key, Value>& to, const Key& key, std::shared_ptr<const Value> mask,
                          std::size_t bytes) const {
  const std::scoped_lock lock(mutex_);
  if (to.bytes > kMostBytes) {
    to.masks.clear();
    to.bytes = 0;
  }
  if (to.masks.insert_or_assign(key, std::move(mask)).second) to.bytes += bytes + kOverhead;
}

}  // namespace baton::text
