// Clusters, one after the other on each of the host's processors, and what their blocks share.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>

#include "machine.hpp"

namespace baton::emulator {

Phases& Block::phases_of(std::uint32_t mbarrier) {
  for (auto& [address, phases] : mbarriers) {
    if (address == mbarrier) return phases;
  }
  mbarriers.emplace_back(mbarrier, Phases{});
  return mbarriers.back().second;
}

void Cluster::release() {
  std::uint32_t expected = 0;
  for (const auto& block : blocks) expected += block->threads - block->ended;
  if (arrived == 0 || arrived < expected) return;
  arrived = 0;
  ++generation;
  opened = std::move(barrier);
  barrier.clear();
}

void Block::release(Barrier& barrier, std::uint32_t expected) {
  if (barrier.arrived < expected) return;
  barrier.arrived = 0;
  ++barrier.generation;
  barrier.result = barrier.any;
  barrier.any = false;
  barrier.opened = std::move(barrier.gathering);
  barrier.gathering.clear();
}

// Threads that have ended are not waited for.
void Block::thread_ended(std::uint32_t count) {
  ended += count;
  if (barriers[0].arrived > 0) release(barriers[0], threads - ended);
  cluster->release();
}

namespace {

void prepare(Cluster& cluster, const Launch& launch) {
  const std::uint64_t size = launch.cluster.count();
  cluster.launch = &launch;
  const auto threads = static_cast<std::uint32_t>(launch.block.count());
  cluster.warps_per_block = (threads + kLanes - 1) / kLanes;
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    auto block = std::make_unique<Block>();
    block->cluster = &cluster;
    block->rank = rank;
    block->threads = threads;
    const std::size_t bytes = launch.program->shared_bytes + launch.dynamic_shared_bytes;
    block->memory.resize(bytes + 1024);
    block->shadows.resize((kSharedStart + bytes + 3) / 4);
    block->shared_end = kSharedStart + bytes;
    // Generic addresses of shared memory must keep its alignment: address 0 lies at a multiple of 1024.
    const auto begin = reinterpret_cast<std::uint64_t>(block->memory.data());
    block->shared = block->memory.data() + ((begin + 1023) / 1024 * 1024 - begin) - kSharedStart;
    for (std::uint32_t warp = 0; warp < cluster.warps_per_block; ++warp)
      block->warps.push_back(std::make_unique<Warp>(*block, warp, *launch.program));
    cluster.blocks.push_back(std::move(block));
  }
}

void start(Cluster& cluster, std::array<std::uint32_t, 3> first) {
  const Launch& launch = *cluster.launch;
  cluster.arrived = 0;
  cluster.generation = 0;
  cluster.barrier.clear();
  cluster.opened.clear();
  cluster.copies.clear();
  for (auto& block : cluster.blocks) {
    const std::uint32_t rank = block->rank;
    block->index = {first[0] + rank % launch.cluster.x, first[1] + rank / launch.cluster.x % launch.cluster.y,
                    first[2] + rank / launch.cluster.x / launch.cluster.y};
    block->ended = 0;
    block->barriers = {};
    block->mbarriers.clear();
    std::fill(block->memory.begin(), block->memory.end(), std::byte{0xff});
    for (Shadow& shadow : block->shadows) shadow = {};
    for (auto& warp : block->warps) warp->start();
  }
}

void finish(Cluster& cluster) {
  std::vector<Warp*> running;
  for (auto& block : cluster.blocks) {
    for (auto& warp : block->warps) running.push_back(warp.get());
  }
  while (!running.empty()) {
    bool any = false;
    for (Warp* warp : running) any = warp->advance() || any;
    std::erase_if(running, [](const Warp* warp) { return warp->done(); });
    if (any) continue;
    if (!cluster.copies.empty()) {  // nobody can go on without them
      const auto copies = std::move(cluster.copies);
      cluster.copies.clear();
      for (const auto& copy : copies) copy();
      continue;
    }
    std::string text = "a deadlock in " + cluster.launch->program->name + "\n";
    for (const Warp* warp : running) text += warp->where();
    throw Fault(text);
  }
  if (!cluster.copies.empty())
    throw Fault("blocks ended before their copies did, in " + cluster.launch->program->name);
}

}  // namespace

void run(const Launch& launch) {
  if (launch.grid.x % launch.cluster.x != 0 || launch.grid.y % launch.cluster.y != 0 ||
      launch.grid.z % launch.cluster.z != 0)
    throw Fault("a grid that its clusters do not divide");
  const Dimensions clusters{launch.grid.x / launch.cluster.x, launch.grid.y / launch.cluster.y,
                            launch.grid.z / launch.cluster.z};
  std::vector<std::uint64_t> order(clusters.count());
  std::iota(order.begin(), order.end(), 0);
  if (const char* seed = std::getenv("BATON_EMULATOR_SEED"); seed != nullptr)  // no order is promised
    std::shuffle(order.begin(), order.end(), std::mt19937_64(std::strtoull(seed, nullptr, 10)));
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&] {
    try {
      Cluster cluster;
      prepare(cluster, launch);
      for (std::size_t i = next++; i < order.size(); i = next++) {
        const std::uint64_t number = order[i];
        start(cluster, {static_cast<std::uint32_t>(number % clusters.x) * launch.cluster.x,
                        static_cast<std::uint32_t>(number / clusters.x % clusters.y) * launch.cluster.y,
                        static_cast<std::uint32_t>(number / clusters.x / clusters.y) * launch.cluster.z});
        finish(cluster);
      }
    } catch (...) {
      next = order.size();
      const std::lock_guard lock(failure_mutex);
      if (failure == nullptr) failure = std::current_exception();
    }
  };
  // A block counts as much work as starting a thread from a few tens of clusters on.
  const std::size_t most = order.size() < 8 ? 1 : std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < std::min(most, order.size()); ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  if (failure != nullptr) std::rethrow_exception(failure);
}

}  // namespace baton::emulator
