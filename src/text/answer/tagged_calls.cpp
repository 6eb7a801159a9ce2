#include "text/answer/tagged_calls.hpp"

#include <utility>

namespace baton::text {
namespace {

constexpr std::size_t kMostHeld = 4096;

}  // namespace

std::optional<std::size_t> TaggedCalls::take_text(char c) {
  if (skip_space_ && is_space(c)) return std::nullopt;
  skip_space_ = false;
  std::string free;
  const auto found = markers_.take(c, free);
  events_->content(free);
  if (!found) return std::nullopt;
  held_ = markers_.take_held();
  if (*found != last_) {
    opening_ = held_.size();
    inside_ = true;
    begun_ = false;
    return found;
  }
  if (!open_) events_->content(held_);
  skip_space_ = std::exchange(open_, false);
  held_.clear();
  return std::nullopt;
}

void TaggedCalls::finish() {
  if (inside_) {
    if (!begun_) events_->content(held_);
    return;
  }
  const std::string rest = markers_.take_held();
  if (!open_ || !breaks_off_in(end_, rest)) events_->content(rest);
}

bool TaggedCalls::holds_too_much() const { return held_.size() > kMostHeld; }

void TaggedCalls::tell(const std::string& name, std::string_view json) {
  if (!begun_) events_->call(name);
  begun_ = true;
  events_->arguments(json);
  held_.clear();
  opening_ = 0;
}

void TaggedCalls::end(bool open) {
  inside_ = false;
  open_ = open;
  skip_space_ = true;
}

std::string TaggedCalls::break_off() {
  events_->content(std::string_view(held_).substr(0, opening_));
  std::string rest = std::exchange(held_, {}).substr(opening_);
  inside_ = false;
  open_ = skip_space_ = begun_;
  return rest;
}

}  // namespace baton::text
