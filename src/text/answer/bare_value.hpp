// A parameter's value as bare text that comes up to a closing marker, told as JSON. Of which type it is, the
// function's schema tells.
//
// Invariant: a string is told as it comes; another value once it is whole, or as a string once it is too
// long to wait for.
#pragma once

#include <string>
#include <string_view>

#include "baton/text/parameter_types.hpp"
#include "text/answer/events.hpp"
#include "text/answer/marker_search.hpp"

namespace baton::text {

class BareValue {
 public:
  enum class LineBreaks { of_text, of_markers };  // whose the one next to a marker is

  BareValue(AnswerEvents& events, std::string_view end, LineBreaks breaks)
      : events_(&events), end_(end), search_({end}), breaks_(breaks) {}

  // Of this function's parameter. `types`: null where nothing is known of them.
  void begin(const ParameterTypes* types, std::string_view function, std::string_view parameter);
  bool take(char c);  // whether `c` has completed the closing marker
  void finish();      // the text has ended: a marker's beginning and what is no string are not told

 private:
  void add(std::string_view text);

  AnswerEvents* events_;
  std::string_view end_;
  MarkerSearch search_;
  LineBreaks breaks_;
  std::string untold_;
  ParameterType type_ = {};
  bool is_string_ = true;
  bool at_start_ = false;
};

}  // namespace baton::text
