#include "peer/frame.hpp"

#include <string>

#include "peer/big_endian.hpp"

namespace baton::peer {

void FrameSealer::seal(FrameKind kind, std::span<const std::byte> payload, std::vector<std::byte>& out) {
  const std::size_t start = out.size();
  put_big_endian(static_cast<std::uint32_t>(kFrameOverhead - kLengthBytes + payload.size()), out);
  put_big_endian(counter_++, out);
  out.push_back(static_cast<std::byte>(kind));
  out.insert(out.end(), payload.begin(), payload.end());
  const Tag tag = mac_.tag(std::span(out).subspan(start));
  out.insert(out.end(), tag.begin(), tag.end());
}

Result<std::optional<Frame>> FrameOpener::open(std::span<const std::byte> input, std::size_t& consumed) {
  consumed = 0;
  if (input.size() < kLengthBytes) return std::optional<Frame>();
  const std::size_t size = kLengthBytes + get_big_endian<std::uint32_t>(input);
  if (size < kFrameOverhead)
    return make_error(ErrorCode::corrupt, "a frame shorter than its own header", "length");
  if (size > limit_) {
    return make_error(ErrorCode::too_large,
                      "a frame of " + std::to_string(size) + " bytes, the limit is " + std::to_string(limit_),
                      "length");
  }
  if (input.size() < size) return std::optional<Frame>();

  const auto signed_part = input.first(size - sizeof(Tag));
  if (!equal_constant_time(mac_.tag(signed_part), input.subspan(signed_part.size(), sizeof(Tag)))) {
    return make_error(ErrorCode::corrupt, "a frame was altered on its way (its tag does not fit)", "tag");
  }
  const auto counter = get_big_endian<std::uint64_t>(input.subspan(kLengthBytes));
  if (counter != counter_) {
    return make_error(
        ErrorCode::corrupt,
        "frame " + std::to_string(counter) + " came where " + std::to_string(counter_) + " was due",
        "counter");
  }
  const auto kind = static_cast<std::uint8_t>(input[kLengthBytes + 8]);
  if (kind < static_cast<std::uint8_t>(FrameKind::introduce) ||
      kind > static_cast<std::uint8_t>(FrameKind::message)) {
    return make_error(ErrorCode::corrupt, "a frame of unknown kind " + std::to_string(kind), "kind");
  }
  ++counter_;
  consumed = size;
  return std::optional(Frame{static_cast<FrameKind>(kind), signed_part.subspan(kLengthBytes + 9)});
}

}  // namespace baton::peer
