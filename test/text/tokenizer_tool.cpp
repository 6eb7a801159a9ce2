// A pipe to our tokenizer for scripts/compare_tokenizers.py.
//
//   tokenizer_tool DIRECTORY encode|encode-special|decode|decode-skip|bench < frames > frames
//
// A frame is its length in bytes (32 bits, little endian) and that many bytes: a text, or ids of 32 bits.
// Each frame in gives one frame out. `bench` reads one frame and prints MB/s.
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "baton/text/tokenizer.hpp"

namespace {

bool read_frame(std::string& bytes) {
  std::uint32_t size = 0;
  if (!std::cin.read(reinterpret_cast<char*>(&size), sizeof size)) return false;
  bytes.resize(size);
  return static_cast<bool>(std::cin.read(bytes.data(), size));
}

void write_frame(const void* bytes, std::size_t size) {
  const auto length = static_cast<std::uint32_t>(size);
  std::cout.write(reinterpret_cast<const char*>(&length), sizeof length);
  std::cout.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void bench(const baton::Tokenizer& tokenizer, const std::string& text, double load_seconds) {
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer.encode(text);
    const double encode = seconds_since(start);
    const auto middle = std::chrono::steady_clock::now();
    const auto decoded = tokenizer.decode(ids, true);
    const double decode = seconds_since(middle);
    const double megabytes = static_cast<double>(text.size()) / 1e6;
    std::cout << "load " << load_seconds << " s; " << ids.size() << " ids; encode " << megabytes / encode
              << " MB/s; decode " << megabytes / decode << " MB/s\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  static_assert(std::endian::native == std::endian::little);
  if (argc != 3) {
    std::cerr << "usage: tokenizer_tool DIRECTORY encode|encode-special|decode|decode-skip|bench\n";
    return 2;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto tokenizer = baton::load_tokenizer(argv[1]);
  if (!tokenizer) {
    std::cerr << tokenizer.error().message << "\n";
    return 1;
  }
  const double load_seconds = seconds_since(start);
  const std::string mode = argv[2];
  std::string frame;
  while (read_frame(frame)) {
    if (mode == "bench") {
      bench(**tokenizer, frame, load_seconds);
    } else if (mode.starts_with("encode")) {
      const auto ids = (*tokenizer)->encode(frame, {.add_special_tokens = mode == "encode-special"});
      write_frame(ids.data(), ids.size() * sizeof(baton::TokenId));
    } else {
      std::vector<baton::TokenId> ids(frame.size() / sizeof(baton::TokenId));
      std::memcpy(ids.data(), frame.data(), ids.size() * sizeof(baton::TokenId));
      const std::string text = (*tokenizer)->decode(ids, mode == "decode-skip");
      write_frame(text.data(), text.size());
    }
  }
  return 0;
}
