// Sums over several GPUs and columns gathered on one: against the host, on threads as the ranks have them.
// Skipped where there is one GPU only.
#include <atomic>
#include <cmath>
#include <memory>
#include <random>
#include <thread>

#include "baton/tensor/tensor.hpp"
#include "device_array.hpp"
#include "kernel_tests.hpp"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/exchange.hpp"
#include "tensor/cuda/exchange.hpp"

namespace baton::gpu {
namespace {

constexpr std::size_t kUnit = 256 * cuda::kMaxExchangeRanks;
// Nanoseconds; emulated ones are longer.
constexpr std::uint64_t kPatient = 10'000'000'000, kImpatient = 2'000'000;

// Mailboxes on GPUs 0 to width - 1, and a stream on each.
class Group {
 public:
  Group(int width, std::size_t area_bytes, std::uint64_t patience = kPatient) : width_(width) {
    void* control = nullptr;
    require(cudaMallocHost(&control, static_cast<std::size_t>(width) * sizeof(cuda::ExchangeControl)),
            "pinned");
    control_ = static_cast<cuda::ExchangeControl*>(control);
    shared_.width = width;
    shared_.area_bytes = area_bytes;
    shared_.patience = patience;
    for (int rank = 0; rank < width; ++rank) {
      require(cudaSetDevice(rank), "device");
      control_[rank] = {};
      boxes_.push_back(std::make_unique<PeerMemory>());
      if (!boxes_.back()->allocate(rank, 0, width, cuda::exchange_box_bytes(area_bytes)))
        require(cudaErrorMemoryAllocation, "mailbox");
      shared_.boxes[rank] = cuda::exchange_box(boxes_.back()->data());
      streams_.emplace_back();
      require(cudaStreamCreate(&streams_.back()), "stream");
    }
  }
  ~Group() {
    for (cudaStream_t stream : streams_) cudaStreamDestroy(stream);
    cudaFreeHost(control_);
  }

  int width() const { return width_; }
  cuda::Exchange of(int rank) const {
    cuda::Exchange exchange = shared_;
    exchange.rank = rank;
    exchange.control = control_ + rank;
    return exchange;
  }
  cudaStream_t stream(int rank) const { return streams_[static_cast<std::size_t>(rank)]; }
  // body(rank) on a thread for each, which has the rank's GPU; returns when all streams have ended.
  template <class Body>
  void run(Body body) const {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < width_; ++rank)
      threads.emplace_back([&, rank] {
        require(cudaSetDevice(rank), "device");
        body(rank);
        require(cudaStreamSynchronize(stream(rank)), "stream");
      });
    for (std::thread& thread : threads) thread.join();
  }
  void be_patient() { shared_.patience = kPatient; }
  int failed() const {
    int count = 0;
    for (int rank = 0; rank < width_; ++rank)
      count += static_cast<volatile cuda::ExchangeControl*>(control_)[rank].failed != 0 ? 1 : 0;
    return count;
  }
  void abort() const {
    for (int rank = 0; rank < width_; ++rank)
      static_cast<volatile cuda::ExchangeControl*>(control_)[rank].abort = 1;
  }
  void rejoin() const {
    for (int rank = 0; rank < width_; ++rank) {
      require(cudaSetDevice(rank), "device");
      require(cudaMemset(boxes_[static_cast<std::size_t>(rank)]->data(), 0, cuda::kExchangeFlagBytes),
              "memset");
      control_[rank] = {};
    }
    require(cudaDeviceSynchronize(), "rejoin");
  }

 private:
  const int width_;
  cuda::Exchange shared_;
  cuda::ExchangeControl* control_ = nullptr;
  std::vector<std::unique_ptr<PeerMemory>> boxes_;
  std::vector<cudaStream_t> streams_;
};

// Rows of every rank, `gap` elements apart, on its GPU and on the host.
template <class T>
struct RankRows {
  RankRows(const Group& group, std::int32_t row_count, std::int32_t column_count, std::int32_t gap,
           std::uint32_t seed)
      : rows(row_count), cols(column_count), stride(column_count + gap) {
    std::mt19937 random(seed);
    for (int rank = 0; rank < group.width(); ++rank) {
      std::vector<T> values(static_cast<std::size_t>(rows) * static_cast<std::size_t>(stride));
      for (T& value : values)
        value = static_cast<T>(std::ldexp(static_cast<float>(static_cast<int>(random() % 4001) - 2000),
                                          static_cast<int>(random() % 17) - 16));  // order changes sums
      require(cudaSetDevice(rank), "device");
      device.push_back(std::make_unique<DeviceArray<T>>(values));
      host.push_back(std::move(values));
    }
  }
  cuda::Rows of(int rank) const {
    return {device[static_cast<std::size_t>(rank)]->data(), stride, rows, cols, cuda::ElementOf<T>::value};
  }
  // As it must be: in order of rank, in f32, rounded once.
  T sum(std::size_t at) const {
    float total = static_cast<float>(host[0][at]);
    for (std::size_t rank = 1; rank < host.size(); ++rank) total += static_cast<float>(host[rank][at]);
    return static_cast<T>(total);
  }
  // What is wrong on any rank after a sum; the gaps between rows must be as they were.
  std::size_t wrong() const {
    std::size_t count = 0;
    for (std::size_t rank = 0; rank < host.size(); ++rank) {
      const std::vector<T> got = device[rank]->values();
      for (std::size_t i = 0; i < got.size(); ++i) {
        const bool inside = static_cast<std::int32_t>(i % static_cast<std::size_t>(stride)) < cols;
        const T want = inside ? sum(i) : host[rank][i];
        count += static_cast<float>(got[i]) == static_cast<float>(want) ? 0 : 1;
      }
    }
    return count;
  }

  std::int32_t rows, cols, stride;
  std::vector<std::vector<T>> host;
  std::vector<std::unique_ptr<DeviceArray<T>>> device;
};

template <class T>
void sums(Expectations& expectations, const Group& group, std::int32_t rows, std::int32_t cols,
          std::int32_t gap) {
  const RankRows<T> x(group, rows, cols, gap, static_cast<std::uint32_t>(rows * 1000 + cols));
  std::atomic<int> refused = 0;
  group.run([&](int rank) {
    refused += cuda::exchange_sum(group.of(rank), x.of(rank), group.stream(rank)) != cudaSuccess;
  });
  expectations.expect(refused == 0, "%d ranks refuse", refused.load());
  expectations.expect(x.wrong() == 0, "sum of %d ranks: %d rows of %d (+ %d), %zu bytes each: %zu wrong",
                      group.width(), rows, cols, gap, sizeof(T), x.wrong());
}

void gathers(Expectations& expectations, const Group& group, std::int32_t rows, std::int32_t cols) {
  cuda::ExchangeColumns columns;
  std::vector<std::unique_ptr<RankRows<float>>> parts;
  for (int rank = 0; rank < group.width(); ++rank) {
    const Share share = share_of(cols, {rank, group.width()});
    columns.firsts[rank] = static_cast<std::int32_t>(share.first);
    parts.push_back(std::make_unique<RankRows<float>>(group, rows, static_cast<std::int32_t>(share.count),
                                                      rank, static_cast<std::uint32_t>(rank + cols)));
  }
  columns.firsts[group.width()] = cols;
  require(cudaSetDevice(0), "device");
  const DeviceArray<float> whole(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols));
  std::atomic<int> refused = 0;
  group.run([&](int rank) {
    const cuda::Rows target{rank == 0 ? whole.data() : nullptr, cols, rows, cols, cuda::Element::f32};
    const auto part = parts[static_cast<std::size_t>(rank)]->of(rank);
    refused +=
        cuda::exchange_gather(group.of(rank), part, columns, target, group.stream(rank)) != cudaSuccess;
  });
  const std::vector<float> got = whole.values();
  std::size_t wrong = 0;
  for (int rank = 0; rank < group.width(); ++rank) {
    const RankRows<float>& part = *parts[static_cast<std::size_t>(rank)];
    for (std::int32_t row = 0; row < rows; ++row)
      for (std::int32_t col = 0; col < part.cols; ++col)
        wrong += got[static_cast<std::size_t>(row) * static_cast<std::size_t>(cols) +
                     static_cast<std::size_t>(columns.firsts[rank] + col)] !=
                 part.host[static_cast<std::size_t>(rank)]
                          [static_cast<std::size_t>(row) * static_cast<std::size_t>(part.stride) +
                           static_cast<std::size_t>(col)];
  }
  expectations.expect(refused == 0 && wrong == 0, "gather of %d ranks: %d rows of %d: %zu wrong",
                      group.width(), rows, cols, wrong);
}

// One after the other without a wait in between, so that fast ranks run ahead; and again as a recording.
void many_in_a_row(Expectations& expectations, const Group& group) {
  std::vector<std::unique_ptr<RankRows<float>>> all;
  for (const std::int32_t rows : {1, 3, 70, 1, 2, 150, 1})
    all.push_back(std::make_unique<RankRows<float>>(group, rows, 64, 0, static_cast<std::uint32_t>(rows)));
  group.run([&](int rank) {
    for (const auto& x : all)
      require(cuda::exchange_sum(group.of(rank), x->of(rank), group.stream(rank)), "sum");
  });
  for (const auto& x : all)
    expectations.expect(x->wrong() == 0, "in a row: %d rows: %zu wrong", x->rows, x->wrong());

  const RankRows<float> x(group, 5, 64, 0, 1);
  group.run([&](int rank) {
    const cudaStream_t stream = group.stream(rank);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t recorded = nullptr;
    require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    require(cuda::exchange_sum(group.of(rank), x.of(rank), stream), "sum");
    require(cudaStreamEndCapture(stream, &graph), "capture");
    require(cudaGraphInstantiate(&recorded, graph, 0), "instantiate");
    // Rank 0 replays what the others launch.
    for (int round = 0; round < 3; ++round)
      require(rank == 0 ? cudaGraphLaunch(recorded, stream)
                        : cuda::exchange_sum(group.of(rank), x.of(rank), stream),
              "sum");
    require(cudaStreamSynchronize(stream), "stream");
    cudaGraphExecDestroy(recorded);
    cudaGraphDestroy(graph);
  });
  RankRows<float> expected(group, 5, 64, 0, 1);
  for (int round = 0; round < 2; ++round) {  // the third is what wrong() adds up
    for (std::size_t i = 0; i < expected.host[0].size(); ++i) {
      const float sum = expected.sum(i);
      for (auto& host : expected.host) host[i] = sum;
    }
  }
  std::size_t wrong = 0;
  for (const auto& device : x.device) {
    const std::vector<float> got = device->values();
    for (std::size_t i = 0; i < got.size(); ++i) wrong += got[i] != expected.sum(i);
  }
  expectations.expect(wrong == 0, "recorded: %zu wrong", wrong);
}

// A rank that does not come: the others end, say so, and all work again afterwards.
void failures(Expectations& expectations, int width) {
  Group impatient(width, kUnit, kImpatient);
  const RankRows<float> x(impatient, 3, 64, 0, 1);
  impatient.run([&](int rank) {
    if (rank != 1) require(cuda::exchange_sum(impatient.of(rank), x.of(rank), impatient.stream(rank)), "sum");
  });
  expectations.expect(impatient.failed() == width - 1, "without a rank %d say that they failed",
                      impatient.failed());
  impatient.rejoin();
  impatient.be_patient();
  sums<float>(expectations, impatient, 3, 64, 0);
  expectations.expect(impatient.failed() == 0, "%d fail after they have joined again", impatient.failed());

  const Group group(width, kUnit);
  const RankRows<float> y(group, 3, 64, 0, 1);
  group.run([&](int rank) {
    if (rank == 1) {
      group.abort();
      return;
    }
    for (int i = 0; i < 3; ++i)
      require(cuda::exchange_sum(group.of(rank), y.of(rank), group.stream(rank)), "sum");
  });
  expectations.expect(group.failed() == width - 1, "interrupted, %d say so", group.failed());
  group.rejoin();
  sums<float>(expectations, group, 3, 64, 0);
  gathers(expectations, group, 2, 130);

  // A rank that gave up says nothing any more: nobody may take what it has for a sum.
  const Group late(width, kUnit, kImpatient);
  const RankRows<float> z(late, 3, 64, 0, 1);
  late.run([&](int rank) {
    cuda::Exchange exchange = late.of(rank);
    if (rank == 1) exchange.patience = 0;  // at its first looks the others are not here, or they are
    for (int i = 0; i < 2; ++i) require(cuda::exchange_sum(exchange, z.of(rank), late.stream(rank)), "sum");
    // Whoever is still here waits so long that a thread's absence is no failure: one in a last call would be
    // its alone.
    exchange.patience = kPatient / 20;
    require(cuda::exchange_sum(exchange, z.of(rank), late.stream(rank)), "sum");
  });
  const bool all_or_none = late.failed() == 0 || late.failed() == width;
  expectations.expect(all_or_none, "%d of %d ranks say that they failed", late.failed(), width);
}

}  // namespace

bool exchange_tests() {
  int gpus = 0;
  require(cudaGetDeviceCount(&gpus), "GPUs");
  if (gpus < 2) {
    std::printf("BATON-SKIPPED[gpus] exchange between GPUs: this machine has one\n");
    return true;
  }
  Expectations expectations("exchange");
  for (const int width : {2, 3, 4, 8}) {
    if (width > gpus) continue;
    // Areas so small that some rows go at once, some by parts and some in several kernels.
    const Group small(width, kUnit * 2), large(width, kUnit * 256);
    for (const std::int32_t rows : {1, 2, 7, 33}) {
      sums<float>(expectations, small, rows, 64, 0);
      sums<cuda::bf16>(expectations, small, rows, 72, 8);
      sums<cuda::f16>(expectations, small, rows, 328, 0);
      // Not 16 bytes at a time.
      sums<float>(expectations, small, rows, 64, 1);
      sums<cuda::bf16>(expectations, small, rows, 61, 0);
      sums<cuda::f16>(expectations, small, rows, 64, 3);
      sums<cuda::bf16>(expectations, large, rows, 1021, 0);
    }
    // Many blocks, whose parts are not all equal.
    sums<cuda::bf16>(expectations, large, 90, 2048, 0);
    sums<cuda::bf16>(expectations, large, 91, 2056, 0);
    sums<float>(expectations, large, 40, 1004, 4);
    gathers(expectations, large, 20, 1001);
    many_in_a_row(expectations, large);
    for (const std::int32_t rows : {1, 5, 20}) {
      gathers(expectations, small, rows, 61);
      gathers(expectations, small, rows, 512);
    }
    many_in_a_row(expectations, small);
    failures(expectations, width);
  }
  require(cudaSetDevice(0), "device");
  return expectations.report();
}

}  // namespace baton::gpu
