// Frames of the authenticated stream: u32 length | u64 counter | u8 kind | payload | 16-byte tag, big-endian.
//
// `length` counts what follows it. The tag is an HMAC-SHA256 over everything before it, under the key of this
// direction of this connection; the counter starts at 0 and rises by one. Invariant: a frame that was
// altered, repeated, dropped or reordered is never handed out, and after an error the stream is worthless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "baton/base/result.hpp"
#include "peer/crypto.hpp"

namespace baton::peer {

enum class FrameKind : std::uint8_t {
  introduce = 1,  // who I am: Introduction
  offer = 2,      // let us use this connection (from the node with the greater name)
  accept = 3,     // we use it: messages may follow (from the node with the smaller name)
  refuse = 4,     // we do not, and why: Refusal
  goodbye = 5,    // the sender leaves on purpose
  message = 6,    // Message
};

inline constexpr std::size_t kLengthBytes = 4;
inline constexpr std::size_t kFrameOverhead = kLengthBytes + 8 + 1 + sizeof(Tag);

struct Frame {
  FrameKind kind = FrameKind::message;
  std::span<const std::byte> payload;  // a view into the input
};

class FrameSealer {
 public:
  explicit FrameSealer(const Key& key) : mac_(key) {}
  void seal(FrameKind kind, std::span<const std::byte> payload, std::vector<std::byte>& out);  // appends

 private:
  FrameMac mac_;
  std::uint64_t counter_ = 0;
};

class FrameOpener {
 public:
  // `limit` bounds a whole frame.
  FrameOpener(const Key& key, std::size_t limit) : mac_(key), limit_(limit) {}
  void set_limit(std::size_t limit) { limit_ = limit; }
  // The first frame of `input`, and in `consumed` its size; nothing (and 0) where it is not complete yet.
  // too_large: claims more than the limit. corrupt: wrong counter, tag or kind.
  Result<std::optional<Frame>> open(std::span<const std::byte> input, std::size_t& consumed);

 private:
  FrameMac mac_;
  std::size_t limit_;
  std::uint64_t counter_ = 0;
};

}  // namespace baton::peer
