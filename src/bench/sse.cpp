#include "baton/bench/sse.hpp"

namespace baton::bench {
namespace {

constexpr std::size_t kMost = 4 << 20;

}  // namespace

void SseParser::line(const std::function<void(std::string_view)>& event) {
  if (line_.empty()) {
    if (has_data_) event(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  std::string_view text = line_;
  constexpr std::string_view kData = "data";
  if (text.starts_with(kData) && (text.size() == kData.size() || text[kData.size()] == ':')) {
    text.remove_prefix(std::min(text.size(), kData.size() + 1));
    if (text.starts_with(' ')) text.remove_prefix(1);
    if (has_data_) data_ += '\n';
    data_ += text;
    has_data_ = true;
  }
  line_.clear();
  if (data_.size() > kMost) overflowed_ = true;
}

void SseParser::feed(std::string_view bytes, const std::function<void(std::string_view)>& event) {
  while (!bytes.empty() && !overflowed_) {
    if (after_cr_ && bytes.front() == '\n') bytes.remove_prefix(1);
    after_cr_ = false;
    const std::size_t end = bytes.find_first_of("\r\n");
    line_ += bytes.substr(0, end);
    if (line_.size() > kMost) overflowed_ = true;
    if (end == bytes.npos) return;
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    line(event);
  }
}

}  // namespace baton::bench
