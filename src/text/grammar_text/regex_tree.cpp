#include "text/grammar_text/regex_tree.hpp"

#include <algorithm>
#include <utility>

namespace baton::text {

namespace {

using Kind = RegexNode::Kind;

std::size_t add(std::size_t a, std::size_t b) { return a > kNoLimit - b ? kNoLimit : a + b; }
std::size_t times(std::size_t a, std::size_t b) {
  if (a == 0 || b == 0) return 0;
  return a > kNoLimit / b ? kNoLimit : a * b;
}

bool has_anchor(const RegexNode& node) {
  return node.kind == Kind::begin || node.kind == Kind::end || std::ranges::any_of(node.children, has_anchor);
}

RegexNode any_text() { return regex_repeat(regex_chars(CharSet().complement()), 0, kNoLimit); }

// One side of the expression: where its anchor is `anchor`, that goes; elsewhere any text comes in if
// `search`.
RegexNode bind(RegexNode node, Kind anchor, bool search) {
  const bool first = anchor == Kind::begin;
  if (node.kind == anchor) return {};
  if (node.kind == Kind::choice) {
    for (RegexNode& child : node.children) child = bind(std::move(child), anchor, search);
    return node;
  }
  if (node.kind == Kind::sequence && !node.children.empty()) {
    RegexNode& edge = first ? node.children.front() : node.children.back();
    if (edge.kind != Kind::repeat && has_anchor(edge)) {
      // An anchor of the other side alone may stand here: the `^` of "^$".
      const bool other = edge.kind == Kind::begin || edge.kind == Kind::end;
      if (!other || edge.kind == anchor) {
        edge = bind(std::move(edge), anchor, search);
        return node;
      }
    }
  }
  if (!search) return node;
  RegexNode wider;
  wider.children.push_back(std::move(node));
  wider.children.insert(first ? wider.children.begin() : wider.children.end(), any_text());
  return wider;
}

}  // namespace

RegexNode regex_chars(CharSet chars) {
  RegexNode node;
  node.kind = Kind::chars;
  node.chars = std::move(chars);
  return node;
}

RegexNode regex_repeat(RegexNode what, std::size_t least, std::size_t most) {
  RegexNode node;
  node.kind = Kind::repeat;
  node.children.push_back(std::move(what));
  node.least = least;
  node.most = most;
  return node;
}

RegexLength regex_length(const RegexNode& node) {
  if (node.kind == Kind::chars) return {1, 1};
  RegexLength length;
  if (node.kind == Kind::sequence) {
    for (const RegexNode& child : node.children) {
      const RegexLength part = regex_length(child);
      length = {add(length.least, part.least), add(length.most, part.most)};
    }
  } else if (node.kind == Kind::choice) {
    length.least = kNoLimit;
    for (const RegexNode& child : node.children) {
      const RegexLength part = regex_length(child);
      length = {std::min(length.least, part.least), std::max(length.most, part.most)};
    }
  } else if (node.kind == Kind::repeat) {
    const RegexLength part = regex_length(node.children[0]);
    length = {times(part.least, node.least), times(part.most, node.most)};
  }
  return length;
}

Result<RegexNode> without_anchors(RegexNode node, bool search) {
  node = bind(std::move(node), Kind::begin, search);
  node = bind(std::move(node), Kind::end, search);
  if (has_anchor(node))
    return make_error(ErrorCode::unsupported, "an anchor in the middle of a regular expression");
  return node;
}

}  // namespace baton::text
