// The subset of CBOR (RFC 8949) that peers speak: integers, byte and text strings, arrays, floats, booleans,
// null; definite lengths only. Written and read in one pass, straight from and into the message structs.
//
// Why not nlohmann's from_cbor: it recurses without a limit (a megabyte of 0x81 overflows the stack), throws
// on huge lengths even with allow_exceptions=false, and builds a node per token. Invariant: a reader never
// reads outside its span, never allocates by a claimed length, and never recurses. Interoperability with
// nlohmann is tested.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace baton::peer {

class CborWriter {
 public:
  explicit CborWriter(std::vector<std::byte>& out) : out_(out) {}

  void write_unsigned(std::uint64_t value) { head(0, value); }
  void write_signed(std::int64_t value);
  void write_bytes(std::span<const std::byte> bytes);
  void write_text(std::string_view text);
  void write_array(std::size_t items) { head(4, items); }
  void write_bool(bool value);
  void write_null();
  void write_float(float value);
  void write_double(double value);

 private:
  void head(std::uint8_t major, std::uint64_t value);  // shortest form
  void big_endian(std::uint64_t value, int bytes);

  std::vector<std::byte>& out_;
};

// Each read_* takes one item; false where the next item is of another kind, out of range or cut off (the
// position is then unspecified: give up on the whole input).
class CborReader {
 public:
  explicit CborReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  bool read_unsigned(std::uint64_t& value);
  bool read_signed(std::int64_t& value);
  bool read_bytes(std::span<const std::byte>& bytes);  // a view into the input
  bool read_text(std::string_view& text);              // likewise; UTF-8 is not checked
  bool read_array(std::size_t& items);                 // the count only; at most one per remaining byte
  bool read_bool(bool& value);
  bool read_null();  // consumes it only where it is one
  bool read_float(float& value);
  bool read_double(double& value);  // single precision is taken too
  std::size_t remaining() const { return rest_.size(); }

 private:
  struct Head {
    std::uint8_t major = 0;
    std::uint8_t info = 0;
    std::uint64_t value = 0;
  };
  bool head(Head& head);
  bool counted(std::uint8_t major, std::span<const std::byte>& bytes);

  std::span<const std::byte> rest_;
};

}  // namespace baton::peer
