// Server-sent events out of a byte stream, however it is cut (WHATWG HTML, 9.2: CR, LF and CRLF end lines).
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace baton::bench {

class SseParser {
 public:
  // Calls `event` with the data of each event that `bytes` completes; several data lines are joined by \n.
  void feed(std::string_view bytes, const std::function<void(std::string_view)>& event);
  bool overflowed() const { return overflowed_; }  // a line or event beyond 4 MiB: what follows is not read

 private:
  void line(const std::function<void(std::string_view)>& event);
  std::string line_, data_;
  bool has_data_ = false, after_cr_ = false, overflowed_ = false;
};

}  // namespace baton::bench
