// What calls in tags are read by: the text around them, and as much of the one that is being read as has to
// be given back where it turns out to be none.
//
// Invariant: before a call begins, all its text is held; from then on, what has not been told of it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/answer/events.hpp"
#include "text/answer/marker_search.hpp"

namespace baton::text {

class TaggedCalls {
 public:
  // `markers`: those that a call may begin with, and behind them the one that ends it.
  TaggedCalls(AnswerEvents& events, std::vector<std::string_view> markers)
      : events_(&events), end_(markers.back()), last_(markers.size() - 1), markers_(std::move(markers)) {}

  // Text around calls. Which marker of a call's beginning `c` has completed: what follows is the call's.
  std::optional<std::size_t> take_text(char c);
  void finish();  // the text has ended, outside a call or inside

  // A character of the call.
  void hold(char c) {
    if (!begun_ || !held_.empty() || !is_space(c)) held_ += c;
  }
  bool holds_too_much() const;
  std::string_view behind_marker() const { return std::string_view(held_).substr(opening_); }
  bool begun() const { return begun_; }

  // A piece of its arguments; with the first of them the call begins.
  void tell(const std::string& name, std::string_view json);
  // It is over. `open`: its end marker has yet to come.
  void end(bool open);
  // What was held fits no call. Returns what is to be read again as text: all of a call that has not begun
  // but its first marker, or what stands where a parameter should.
  std::string break_off();

 private:
  AnswerEvents* events_;
  std::string_view end_;
  std::size_t last_;  // its number among the markers
  MarkerSearch markers_;
  std::string held_;
  std::size_t opening_ = 0;  // bytes of it that are the first marker and the white space before it
  bool inside_ = false;
  bool begun_ = false;
  bool open_ = false;
  bool skip_space_ = false;  // directly behind a marker or a call
};

}  // namespace baton::text
