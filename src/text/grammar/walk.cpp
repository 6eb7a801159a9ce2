#include "text/grammar/walk.hpp"

#include <algorithm>

namespace baton::text {
namespace {

constexpr std::size_t kMostPositions = 1024;
constexpr std::size_t kFew = 16;  // positions that are looked through one by one
constexpr std::size_t kMostFrames = 1 << 20;

Hash128 mix(Hash128 a, std::uint64_t value) {
  struct {
    std::uint64_t high, low, value;
  } const words{a.high, a.low, value};
  return hash_bytes(std::as_bytes(std::span(&words, 1)));
}

}  // namespace

void DistinctPositions::clear() {
  list_.clear();
  seen_.clear();
}

// A few are looked through; of more, `seen_` has them all.
void DistinctPositions::add(Position position) {
  const auto key = [](Position p) { return std::uint64_t{p.node} << 32 | p.parent; };
  if (list_.size() < kFew) {
    if (std::ranges::find(list_, position) == list_.end()) list_.push_back(position);
    return;
  }
  if (seen_.empty())
    for (const Position& p : list_) seen_.insert(key(p));
  if (seen_.insert(key(position)).second) list_.push_back(position);
}

void Walker::open(Position position, Positions& out) {
  const auto plain = [&](Node node) { return automaton_.calls(node).empty() && !automaton_.ends(node); };
  if (plain(position.node)) {  // the usual case
    out.at.add(position);
    return;
  }
  // opening_ holds what was found without a byte, taken or not: what is in it is not looked at twice.
  opening_.clear();
  opening_.add(position);
  for (std::size_t i = 0; i < opening_.size(); ++i) {
    if (opening_.size() > kMostPositions) lost_ = true;
    if (lost()) return;
    --credit_;
    const Position here = opening_[i];
    if (!automaton_.edges(here.node).empty()) out.at.add(here);
    for (const CallEdge& call : automaton_.calls(here.node)) {
      // Where nothing follows the call, its end is the caller's: recursion at the end costs no frame.
      const bool last = automaton_.ends(call.back) && automaton_.edges(call.back).empty() &&
                        automaton_.calls(call.back).empty();
      opening_.add({call.callee, last ? here.parent : frame(call.back, here.parent)});
    }
    if (!automaton_.ends(here.node)) continue;
    if (here.parent == kBottom) {
      out.left = true;
    } else {
      const Call& call = frames_[here.parent];
      opening_.add({call.back, call.parent});
    }
  }
}

void Walker::step(const DistinctPositions& from, std::uint8_t byte, Positions& out) {
  out.at.clear();
  out.left = false;
  for (const Position& position : from) {
    if (lost()) return;
    --credit_;
    for (const ByteEdge& edge : automaton_.edges(position.node)) {
      if (byte > edge.bytes.last) continue;
      if (byte >= edge.bytes.first) open({edge.target, position.parent}, out);
      break;
    }
  }
  if (out.at.size() > kMostPositions) lost_ = true;
}

Frame Walker::frame(Node back, Frame parent) {
  const std::uint64_t key = std::uint64_t{back} << 32 | parent;
  const auto [found, added] = by_call_.try_emplace(key, static_cast<Frame>(frames_.size()));
  if (!added) return found->second;
  if (frames_.size() >= kMostFrames) {
    lost_ = true;
    by_call_.erase(found);
    return kBottom;
  }
  frames_.push_back({back, parent});
  return found->second;
}

Hash128 Walker::identity(Frame frame, const std::vector<Node>& alike) {
  // Parents are older than their frames, so each identity finds its parent's ready.
  for (std::size_t i = identities_.size(); i <= frame; ++i) {
    const Call& call = frames_[i];
    identities_.push_back(i == kBottom ? Hash128{} : mix(identities_[call.parent], alike[call.back]));
  }
  return identities_[frame];
}

Hash128 Walker::identity(const DistinctPositions& positions, const std::vector<Node>& alike) {
  std::vector<Hash128> all;
  all.reserve(positions.size());
  for (const Position& position : positions)
    all.push_back(mix(identity(position.parent, alike), std::uint64_t{1} << 32 | alike[position.node]));
  std::ranges::sort(all);
  return hash_bytes(std::as_bytes(std::span(all)));
}

}  // namespace baton::text
