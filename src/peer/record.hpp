// One description of each message's fields serves writing and reading, so the two cannot drift apart.
//
// A type says `coder.record(field("name", value), ...)` in its `describe` (found by argument-dependent
// lookup, so it lies in the type's namespace); Encoder and Decoder walk that. On the wire a record is a CBOR
// array of its fields in order. Both sides check the same limits, so what was encoded without an error can be
// decoded. Errors carry the field's path, e.g. "submit.request.sampling.top_p".
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/hash.hpp"
#include "baton/base/result.hpp"
#include "baton/base/shared_text.hpp"
#include "baton/base/token.hpp"
#include "peer/cbor.hpp"

namespace baton::peer {

inline constexpr std::size_t kMaxText = 64 << 10;        // bytes of a string
inline constexpr std::size_t kMaxGrammar = 256 << 10;    // bytes of a grammar's text
inline constexpr std::size_t kMaxErrorText = 4 << 10;    // of an error's message; longer ones are cut
inline constexpr std::size_t kMaxTokens = 16 << 20;      // of a prompt
inline constexpr std::size_t kMaxBlockHashes = 4 << 20;  // of one block event message
inline constexpr std::size_t kMaxItems = 1 << 20;        // of any other list
inline constexpr Duration kMaxTimeSpan = std::chrono::hours(24 * 3650);

template <class T, class U>
concept Like = std::same_as<std::remove_const_t<T>, U>;

// A field and how it travels. T may be const (writing).
template <class T>
struct Plain {
  const char* name;
  T& value;
};
template <class T>
struct Limited {  // a list, byte string or text of at most `limit` items
  const char* name;
  T& value;
  std::size_t limit;
};
template <class T>
struct TokenList {  // ids are not negative
  const char* name;
  T& value;
};
template <class T>
struct Clipped {  // text for people: cut rather than refused
  const char* name;
  T& value;
};
template <class T>
struct Enumerated {
  const char* name;
  T& value;
  std::remove_const_t<T> last;
};
template <class T>
struct Finite {
  const char* name;
  T& value;
};
template <class T>
struct TimeLeft {  // nanoseconds from now, or null for TimePoint::max()
  const char* name;
  T& value;
};
template <class T>
struct TimeSince {  // nanoseconds until now
  const char* name;
  T& value;
};

// Spelled out for compilers without P1816.
template <class T>
Limited(const char*, T&, std::size_t) -> Limited<T>;
template <class T>
TokenList(const char*, T&) -> TokenList<T>;
template <class T>
Clipped(const char*, T&) -> Clipped<T>;
template <class T, class U>
Enumerated(const char*, T&, U) -> Enumerated<T>;
template <class T>
Finite(const char*, T&) -> Finite<T>;
template <class T>
TimeLeft(const char*, T&) -> TimeLeft<T>;
template <class T>
TimeSince(const char*, T&) -> TimeSince<T>;

template <class T>
Plain<T> field(const char* name, T& value) {
  return {name, value};
}

class Path {
 public:
  void push(const char* name) { parts_.push_back({name, 0}); }
  void push(std::size_t index) { parts_.push_back({nullptr, index}); }
  void pop() { parts_.pop_back(); }
  std::string text() const {
    std::string out;
    for (const Part& part : parts_) {
      if (part.name == nullptr) {
        out += '[' + std::to_string(part.index) + ']';
      } else {
        if (!out.empty()) out += '.';
        out += part.name;
      }
    }
    return out;
  }

 private:
  struct Part {
    const char* name;
    std::size_t index;
  };
  std::vector<Part> parts_;
};

// What Encoder and Decoder share: the path and the first error.
class Coder {
 public:
  explicit Coder(TimePoint now) : now_(now) {}
  bool failed() const { return error_.has_value(); }
  Error take_error() { return std::move(*error_); }
  void fail(ErrorCode code, std::string_view what) {
    if (error_) return;
    std::string at = path_.text();
    error_ = make_error(code, at + ": " + std::string(what), at);
  }

 protected:
  Path path_;
  const TimePoint now_;

 private:
  std::optional<Error> error_;
};

class Encoder : public Coder {
 public:
  Encoder(std::vector<std::byte>& out, TimePoint now) : Coder(now), out_(out) {}

  template <class... Fields>
  void record(const Fields&... fields) {
    out_.write_array(sizeof...(fields));
    (named(fields), ...);
  }
  template <class F>
  void named(const F& f) {
    path_.push(f.name);
    put(f);
    path_.pop();
  }
  CborWriter& writer() { return out_; }

 private:
  template <class T>
  void put(const Plain<T>& f) {
    item(f.value);
  }
  template <class T>
  void put(const Limited<T>& f) {
    limit(f.value.size(), f.limit);
    if constexpr (Like<T, std::string> || Like<T, SharedText>)
      out_.write_text(f.value);
    else
      item(f.value);
  }
  template <class T>
  void put(const TokenList<T>& f) {
    limit(f.value.size(), kMaxTokens);
    out_.write_array(f.value.size());
    for (const TokenId id : f.value) {
      if (id < 0) fail(ErrorCode::invalid_argument, "a negative token id");
      out_.write_signed(id);
    }
  }
  template <class T>
  void put(const Clipped<T>& f) {
    std::size_t size = f.value.size();
    if (size > kMaxErrorText) {
      size = kMaxErrorText;
      while (size > 0 && (static_cast<unsigned char>(f.value[size]) & 0xc0) == 0x80) --size;
    }
    out_.write_text(std::string_view(f.value).substr(0, size));
  }
  template <class T>
  void put(const Enumerated<T>& f) {
    out_.write_unsigned(static_cast<std::uint64_t>(f.value));
  }
  template <class T>
  void put(const Finite<T>& f) {
    if (!std::isfinite(f.value)) fail(ErrorCode::invalid_argument, "not a finite number");
    item(f.value);
  }
  template <class T>
  void put(const TimeLeft<T>& f) {
    if (f.value == TimePoint::max()) return out_.write_null();
    out_.write_signed(clamp(f.value - now_).count());
  }
  template <class T>
  void put(const TimeSince<T>& f) {
    out_.write_signed(clamp(now_ - f.value).count());
  }

  void item(bool value) { out_.write_bool(value); }
  void item(float value) { out_.write_float(value); }
  void item(double value) { out_.write_double(value); }
  void item(std::unsigned_integral auto value) { out_.write_unsigned(value); }
  void item(std::signed_integral auto value) { out_.write_signed(value); }
  void item(const std::string& value) {
    limit(value.size(), kMaxText);
    out_.write_text(value);
  }
  void item(const std::vector<std::byte>& value) { out_.write_bytes(value); }
  void item(const Hash128& value) {
    std::byte bytes[16];
    for (int i = 0; i < 8; ++i) {
      bytes[i] = static_cast<std::byte>(value.high >> (56 - 8 * i));
      bytes[8 + i] = static_cast<std::byte>(value.low >> (56 - 8 * i));
    }
    out_.write_bytes(bytes);
  }
  template <class T>
  void item(const std::vector<T>& values) {
    limit(values.size(), kMaxBlockHashes);
    out_.write_array(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      path_.push(i);
      item(values[i]);
      path_.pop();
    }
  }
  template <class A, class B>
  void item(const std::pair<A, B>& value) {
    out_.write_array(2);
    item(value.first);
    item(value.second);
  }
  template <class T>
  requires std::is_class_v<T>
  void item(const T& value) { describe(*this, value); }

  void limit(std::size_t size, std::size_t most) {
    if (size > most) fail(ErrorCode::too_large, "more than " + std::to_string(most));
  }
  static Duration clamp(Duration d) { return std::min(std::max(d, -kMaxTimeSpan), kMaxTimeSpan); }

  CborWriter out_;
};

class Decoder : public Coder {
 public:
  Decoder(std::span<const std::byte> bytes, TimePoint now) : Coder(now), in_(bytes) {}

  template <class... Fields>
  void record(const Fields&... fields) {
    std::size_t items = 0;
    if (!in_.read_array(items) || items != sizeof...(fields)) {
      return malformed("expected an array of " + std::to_string(sizeof...(fields)));
    }
    (named(fields), ...);
  }
  template <class F>
  void named(const F& f) {
    if (failed()) return;
    path_.push(f.name);
    get(f);
    path_.pop();
  }
  CborReader& reader() { return in_; }
  void malformed(std::string_view what) { fail(ErrorCode::corrupt, what); }

 private:
  template <class T>
  void get(const Plain<T>& f) {
    item(f.value);
  }
  template <class T>
  void get(const Limited<T>& f) {
    if constexpr (Like<T, std::string>)
      text(f.value, f.limit);
    else if constexpr (Like<T, SharedText>)
      shared_text(f.value, f.limit);
    else
      list(f.value, f.limit);
  }
  template <class T>
  void get(const TokenList<T>& f) {
    std::size_t count = 0;
    if (!in_.read_array(count)) return malformed("expected an array of token ids");
    if (count > kMaxTokens) return malformed("more than " + std::to_string(kMaxTokens) + " token ids");
    f.value.clear();
    f.value.reserve(count);  // an id takes at least a byte, so this is at most four times the input
    for (std::size_t i = 0; i < count; ++i) {
      std::uint64_t id = 0;
      if (!in_.read_unsigned(id) || id > std::numeric_limits<TokenId>::max()) {
        return malformed("item " + std::to_string(i) + " is no token id");
      }
      f.value.push_back(static_cast<TokenId>(id));
    }
  }
  template <class T>
  void get(const Clipped<T>& f) {
    text(f.value, kMaxErrorText);
  }
  template <class T>
  void get(const Enumerated<T>& f) {
    std::uint64_t value = 0;
    if (!in_.read_unsigned(value) || value > static_cast<std::uint64_t>(f.last)) {
      return malformed("expected a number from 0 to " + std::to_string(static_cast<std::uint64_t>(f.last)));
    }
    f.value = static_cast<T>(value);
  }
  template <class T>
  void get(const Finite<T>& f) {
    item(f.value);
    if (!failed() && !std::isfinite(f.value)) malformed("not a finite number");
  }
  template <class T>
  void get(const TimeLeft<T>& f) {
    if (in_.read_null()) {
      f.value = TimePoint::max();
      return;
    }
    f.value = now_ + span();
  }
  template <class T>
  void get(const TimeSince<T>& f) {
    f.value = now_ - span();
  }

  void item(bool& value) {
    if (!in_.read_bool(value)) malformed("expected a boolean");
  }
  void item(float& value) {
    if (!in_.read_float(value)) malformed("expected a single-precision float");
  }
  void item(double& value) {
    if (!in_.read_double(value)) malformed("expected a float");
  }
  template <std::unsigned_integral T>
  void item(T& value) {
    std::uint64_t wide = 0;
    if (!in_.read_unsigned(wide) || wide > std::numeric_limits<T>::max()) {
      return malformed("expected an unsigned integer of " + std::to_string(8 * sizeof(T)) + " bits");
    }
    value = static_cast<T>(wide);
  }
  template <std::signed_integral T>
  void item(T& value) {
    std::int64_t wide = 0;
    if (!in_.read_signed(wide) || wide > std::numeric_limits<T>::max() ||
        wide < std::numeric_limits<T>::min()) {
      return malformed("expected an integer of " + std::to_string(8 * sizeof(T)) + " bits");
    }
    value = static_cast<T>(wide);
  }
  void item(std::string& value) { text(value, kMaxText); }
  void item(Hash128& value) {
    std::span<const std::byte> bytes;
    if (!in_.read_bytes(bytes) || bytes.size() != 16) return malformed("expected 16 bytes");
    value = {};
    for (std::size_t i = 0; i < 8; ++i) {
      value.high = value.high << 8 | static_cast<std::uint8_t>(bytes[i]);
      value.low = value.low << 8 | static_cast<std::uint8_t>(bytes[8 + i]);
    }
  }
  template <class A, class B>
  void item(std::pair<A, B>& value) {
    std::size_t items = 0;
    if (!in_.read_array(items) || items != 2) return malformed("expected a pair");
    item(value.first);
    if (!failed()) item(value.second);
  }
  template <class T>
  requires std::is_class_v<T>
  void item(T& value) { describe(*this, value); }

  void list(std::vector<std::byte>& value, std::size_t limit) {
    std::span<const std::byte> bytes;
    if (!in_.read_bytes(bytes)) return malformed("expected a byte string");
    if (bytes.size() > limit) return malformed("more than " + std::to_string(limit) + " bytes");
    value.assign(bytes.begin(), bytes.end());
  }
  template <class T>
  void list(std::vector<T>& values, std::size_t limit) {
    std::size_t count = 0;
    if (!in_.read_array(count)) return malformed("expected an array");
    if (count > limit) return malformed("more than " + std::to_string(limit) + " items");
    values.clear();
    for (std::size_t i = 0; i < count && !failed(); ++i) {
      path_.push(i);
      item(values.emplace_back());
      path_.pop();
    }
  }
  void text(std::string& value, std::size_t limit) {
    std::string_view view;
    if (!in_.read_text(view)) return malformed("expected a text string");
    if (view.size() > limit) return malformed("more than " + std::to_string(limit) + " bytes");
    value = view;
  }
  void shared_text(SharedText& value, std::size_t limit) {
    std::string read;
    text(read, limit);
    value = std::move(read);
  }
  Duration span() {
    std::int64_t ns = 0;
    if (!in_.read_signed(ns) || ns > kMaxTimeSpan.count() || ns < -kMaxTimeSpan.count()) {
      malformed("expected nanoseconds within ten years");
      return Duration(0);
    }
    return Duration(ns);
  }

  CborReader in_;
};

}  // namespace baton::peer

namespace baton {

// Travels in messages and in refusals of a handshake.
void describe(auto& c, peer::Like<Error> auto& v) {
  using namespace peer;
  c.record(Enumerated{"code", v.code, ErrorCode::internal}, Clipped{"message", v.message},
           Clipped{"field", v.field});
}

}  // namespace baton
