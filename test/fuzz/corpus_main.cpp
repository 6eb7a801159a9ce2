// Runs a fuzz target without libFuzzer: every file of its corpus, then some seconds of seeded mutations of
// them.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;
constexpr auto kMutating = std::chrono::seconds(3);

Bytes read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Flips, cuts, repeats: enough to leave the well-formed path in most places.
Bytes mutate(Bytes bytes, std::mt19937_64& random) {
  for (std::uint64_t i = 0, n = 1 + random() % 4; i < n && !bytes.empty(); ++i) {
    const std::size_t at = random() % bytes.size();
    const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    switch (random() % 4) {
      case 0:
        *place = static_cast<std::uint8_t>(random());
        break;
      case 1:
        bytes.resize(at);
        break;
      case 2:
        bytes.erase(place);
        break;
      default:
        bytes.insert(place, static_cast<std::uint8_t>(random()));
        break;
    }
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::vector<Bytes> corpus;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) corpus.push_back(read(entry.path()));
  if (corpus.empty()) {
    std::cerr << "no corpus in " << argv[1] << '\n';
    return 1;
  }
  for (const Bytes& bytes : corpus) LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  std::mt19937_64 random(1);
  std::size_t runs = corpus.size();
  for (const auto end = std::chrono::steady_clock::now() + kMutating; std::chrono::steady_clock::now() < end;
       ++runs) {
    const Bytes bytes = mutate(corpus[random() % corpus.size()], random);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::cout << runs << " inputs\n";
  return 0;
}
