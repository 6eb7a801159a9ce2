// Stop strings over a stream of text pieces: holds back what might be the beginning of a stop string.
//
// Invariant: emitted text never contains a stop string, nor any byte behind the first match's beginning.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace baton {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);

  struct Piece {
    std::string text;      // safe to send
    bool stopped = false;  // a stop string was completed; nothing more will come
    std::string matched;   // which one
  };
  Piece push(std::string_view text);
  std::string finish();  // the held-back rest at the natural end

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace baton
