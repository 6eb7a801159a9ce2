// Blocks per second from one process to another over UCX: scattered blocks, as the engine sends them.
//
//   transfer_bench [--bytes N] [--count N] [--digests on|ahead|off] [--source scattered|one]
//                  [--piece-bytes N] [--rendezvous on|off]
//
// --digests ahead: the sender's half was computed when the block was finished, before the clock ran, as a
// prefill engine does; on: it is computed when the block is sent, as for blocks of the prefix cache.
// --source one: one block is sent again and again, as ucx_perftest does, and stays in the processor's cache.
// The parent receives and measures; it starts itself again as the sender. Transfers of 32 blocks, a few of
// them expected ahead, blocks scattered over a pool twice as large as they are. Prints one number: MiB/s, as
// ucx_perftest does. UCX_TLS and the other UCX_* variables apply to both.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "baton/transfer/ucx_transport.hpp"
#include "transfer/child.hpp"

using namespace baton;
using namespace baton::test;

namespace {

constexpr std::size_t kTransferBlocks = 32, kAhead = 4, kWarmUp = 8;  // transfers

struct Settings {
  std::size_t bytes = 512 << 10, count = 4096, piece_bytes = 2048;
  bool digests = true, ahead = false, one_source = false, rendezvous = false, sender = false;
  std::size_t transfers() const { return count / kTransferBlocks + kWarmUp; }
};

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--sender") settings.sender = true;
    if (i + 1 >= argc) break;
    const std::string value = argv[i + 1];
    if (flag == "--bytes") settings.bytes = std::stoul(value);
    if (flag == "--count") settings.count = std::stoul(value);
    if (flag == "--piece-bytes") settings.piece_bytes = std::stoul(value);
    if (flag == "--rendezvous") settings.rendezvous = value == "on";
    if (flag == "--digests") settings.digests = value != "off", settings.ahead = value == "ahead";
    if (flag == "--source") settings.one_source = value == "one";
  }
  return settings;
}

// kAhead transfers' worth of blocks at shuffled places, every second place left empty. In huge pages where
// the kernel has them, as the engine's KV pool is.
struct Pool {
  explicit Pool(std::size_t block_bytes) {
    const std::size_t size = 2 * kAhead * kTransferBlocks * block_bytes;
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::exit(1);
    (void)madvise(memory, size, MADV_HUGEPAGE);
    std::memset(memory, 1, size);
    bytes = {static_cast<std::byte*>(memory), size};
    for (std::size_t i = 0; i < kAhead * kTransferBlocks; ++i)
      places.push_back(bytes.subspan(2 * i * block_bytes, block_bytes));
    std::ranges::shuffle(places, std::mt19937(1));
  }
  std::span<std::byte> block(std::size_t transfer, std::size_t i) {
    return places[(transfer % kAhead) * kTransferBlocks + i];
  }
  std::span<std::byte> bytes;  // lives as long as the process
  std::vector<std::span<std::byte>> places;
};

std::unique_ptr<KvTransport> make(const Settings& settings, Pool& pool) {
  UcxOptions options;
  options.transport.interface_address = "127.0.0.1";
  options.transport.digests = settings.digests;
  options.transport.piece_bytes = settings.piece_bytes;
  options.force_rendezvous = settings.rendezvous;
  options.pool = pool.bytes.data();
  options.pool_bytes = pool.bytes.size();
  auto made = make_ucx_transport(options, null_logger());
  if (!made) {
    std::cerr << made.error().message << std::endl;
    std::exit(1);
  }
  return std::move(*made);
}

TransferId id_of(std::size_t transfer) { return {0xbe4c, transfer}; }

int run_sender(const Settings& settings) {
  Pool pool(settings.bytes);
  auto transport = make(settings, pool);
  std::cout << "address " << hex_of(transport->address()) << std::endl;
  std::string line;
  std::getline(std::cin, line);
  if (!transport->connect("receiver", bytes_of(line))) return 1;
  std::vector<std::optional<Hash128>> contents(kAhead * kTransferBlocks);
  for (std::size_t i = 0; settings.ahead && i < contents.size(); ++i)
    contents[i] = transport->content_digest(pool.block(i / kTransferBlocks, i % kTransferBlocks));
  for (std::size_t transfer = 0; std::getline(std::cin, line) && line == "go"; ++transfer)
    for (std::uint32_t i = 0; i < kTransferBlocks; ++i) {
      const std::size_t source = settings.one_source ? 0 : (transfer % kAhead) * kTransferBlocks + i;
      transport->send("receiver", {id_of(transfer), i, {1, i}, pool.block(0, source), contents[source]},
                      nullptr);
    }
  return 0;
}

class CountingSink final : public ReceiveSink {
 public:
  void on_block(TransferId, std::uint32_t, Result<void> outcome) override {
    if (!outcome) std::cerr << outcome.error().message << std::endl;
    if (landed_.fetch_add(1) + 1 < kTransferBlocks) return;
    std::lock_guard lock(mutex_);
    ready_.notify_one();
  }
  void on_closed(TransferId) override {}
  void wait() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return landed_.load() >= kTransferBlocks; });
  }

 private:
  std::atomic<std::size_t> landed_{0};
  std::mutex mutex_;
  std::condition_variable ready_;
};

int run_receiver(const Settings& settings, int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  arguments.insert(arguments.begin(), "--sender");
  Pool pool(settings.bytes);
  auto transport = make(settings, pool);
  Child sender("transfer_bench", arguments);
  const auto address = sender.hear_until("address ");
  if (!address || !transport->connect("sender", bytes_of(address->substr(8)))) return 1;
  sender.say(hex_of(transport->address()));
  std::vector<std::shared_ptr<CountingSink>> sinks;
  const auto expect = [&](std::size_t transfer) {
    std::vector<ExpectedBlock> blocks;
    for (std::uint32_t i = 0; i < kTransferBlocks; ++i)
      blocks.push_back({i, {1, i}, pool.block(transfer, i)});
    sinks.push_back(std::make_shared<CountingSink>());
    if (!transport->expect(id_of(transfer), blocks, sinks.back())) std::exit(1);
    sender.say("go");
  };
  auto start = std::chrono::steady_clock::now();
  for (std::size_t ahead = 0; ahead < kAhead; ++ahead) expect(ahead);
  for (std::size_t transfer = 0; transfer < settings.transfers(); ++transfer) {
    if (transfer == kWarmUp) start = std::chrono::steady_clock::now();
    sinks[transfer]->wait();
    transport->close(id_of(transfer));
    if (transfer + kAhead < settings.transfers()) expect(transfer + kAhead);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double bytes =
      static_cast<double>((settings.transfers() - kWarmUp) * kTransferBlocks * settings.bytes);
  std::printf("%.1f\n", bytes / seconds.count() / (1 << 20));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = parse(argc, argv);
  return settings.sender ? run_sender(settings) : run_receiver(settings, argc, argv);
}
