// SharedText: a long text that travels with many copies of what it belongs to, at the price of one. Here
// because a grammar goes with each choice of a request and with every copy of it.
//
// Invariant: what it holds is never changed, so that copies may be read by several threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace baton {

class SharedText {
 public:
  SharedText() = default;
  SharedText(std::string text)
      : text_(text.empty() ? nullptr : std::make_shared<const std::string>(std::move(text))) {}
  SharedText(const char* text) : SharedText(std::string(text)) {}

  bool empty() const { return text_ == nullptr; }
  std::size_t size() const { return text_ ? text_->size() : 0; }
  const std::string& str() const {
    static const std::string none;
    return text_ ? *text_ : none;
  }
  operator std::string_view() const { return str(); }
  void clear() { text_.reset(); }
  friend bool operator==(const SharedText& a, const SharedText& b) {
    return a.text_ == b.text_ || a.str() == b.str();
  }

 private:
  std::shared_ptr<const std::string> text_;  // null: empty
};

}  // namespace baton
