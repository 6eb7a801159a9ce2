#include "exchange.hpp"

#include <cassert>
#include <string>

#include "baton/tensor/group.hpp"
#include "ops.hpp"
#include "runtime.hpp"
#include "tensor/backend_cuda.hpp"
#include "views.hpp"

namespace baton {

static_assert(kMostRanks <= cuda::kMaxExchangeRanks);

namespace {

constexpr std::size_t kAreaBytes = std::size_t{8} << 20;
// A minute. What keeps a rank so long has failed.
constexpr std::uint64_t kPatience = 60'000'000'000;

volatile std::uint32_t& word(std::uint32_t& value) { return value; }

}  // namespace

Result<std::unique_ptr<CudaExchange>> CudaExchange::make(Device first, std::int32_t width) {
  std::unique_ptr<CudaExchange> exchange(new CudaExchange(first));
  if (auto reached = exchange->check_peers(width); !reached) return std::move(reached).error();
  if (auto allocated = exchange->allocate(width); !allocated) return std::move(allocated).error();
  return exchange;
}

CudaExchange::~CudaExchange() { cudaFreeHost(control_); }

Result<void> CudaExchange::check_peers(std::int32_t width) const {
  for (std::int32_t from = first_.index; from < first_.index + width; ++from) {
    for (std::int32_t to = first_.index; to < first_.index + width; ++to) {
      int can = to == from ? 1 : 0;
      const cudaError_t asked = to == from ? cudaSuccess : cudaDeviceCanAccessPeer(&can, from, to);
      if (asked != cudaSuccess) return cuda_error(asked, "cannot ask which GPUs reach each other");
      if (can == 0)
        return make_error(ErrorCode::unsupported,
                          "GPU " + std::to_string(from) + " cannot reach the memory of GPU " +
                              std::to_string(to) + ": one engine cannot span them",
                          "--tensor-parallel");
    }
  }
  return {};
}

PeerMemory::~PeerMemory() {
  const CurrentDevice current(device_);
  if (data_) cudaFreeAsync(data_, nullptr);
  cudaStreamSynchronize(nullptr);
  if (pool_) cudaMemPoolDestroy(pool_);
}

Result<void> PeerMemory::allocate(int device, int first_peer, int peers, std::size_t bytes) {
  device_ = device;
  const CurrentDevice current(device);
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location = {cudaMemLocationTypeDevice, device};
  cudaError_t done = cudaMemPoolCreate(&pool_, &properties);
  std::vector<cudaMemAccessDesc> others;
  for (int peer = first_peer; peer < first_peer + peers; ++peer)
    if (peer != device)
      others.push_back({{cudaMemLocationTypeDevice, peer}, cudaMemAccessFlagsProtReadWrite});
  if (done == cudaSuccess) done = cudaMemPoolSetAccess(pool_, others.data(), others.size());
  void* data = nullptr;
  if (done == cudaSuccess) done = cudaMallocFromPoolAsync(&data, bytes, pool_, nullptr);
  data_ = static_cast<std::byte*>(data);
  if (done == cudaSuccess) done = cudaMemsetAsync(data_, 0, bytes, nullptr);
  if (done == cudaSuccess) done = cudaStreamSynchronize(nullptr);
  if (done != cudaSuccess)
    return cuda_error(done, "no memory on GPU " + std::to_string(device) + " that other GPUs reach");
  return {};
}

Result<void> CudaExchange::allocate(std::int32_t width) {
  void* control = nullptr;
  if (const cudaError_t made =
          cudaMallocHost(&control, static_cast<std::size_t>(width) * sizeof(cuda::ExchangeControl));
      made != cudaSuccess)
    return cuda_error(made, "no pinned memory for a group of GPUs");
  control_ = static_cast<cuda::ExchangeControl*>(control);
  cuda::Exchange shared;
  shared.width = width;
  shared.area_bytes = kAreaBytes;
  shared.patience = kPatience;
  for (std::int32_t rank = 0; rank < width; ++rank) {
    boxes_.push_back(std::make_unique<PeerMemory>());
    auto box = boxes_.back()->allocate(first_.index + rank, first_.index, width,
                                       cuda::exchange_box_bytes(kAreaBytes));
    if (!box) return box;
    shared.boxes[rank] = cuda::exchange_box(boxes_.back()->data());
    control_[rank] = {};
  }
  for (std::int32_t rank = 0; rank < width; ++rank) {
    shared.rank = rank;
    shared.control = control_ + rank;
    ranks_.push_back(shared);
  }
  return {};
}

bool CudaExchange::failed(std::int32_t rank) const noexcept {
  return word(control_[rank].failed) != 0 || word(control_[rank].abort) != 0;
}

void CudaExchange::interrupt() noexcept {
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) word(control_[rank].abort) = 1;
}

void CudaExchange::rejoin() noexcept {
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    const CurrentDevice current(first_.index + static_cast<int>(rank));
    cudaMemset(boxes_[rank]->data(), 0, cuda::kExchangeFlagBytes);
    cudaDeviceSynchronize();
    word(control_[rank].abort) = 0;
    word(control_[rank].failed) = 0;
  }
}

namespace {

class CudaGroup final : public OpsGroup {
 public:
  explicit CudaGroup(std::unique_ptr<CudaExchange> exchange) : exchange_(std::move(exchange)) {}
  Result<void> add_ranks(OpsOptions options, std::int32_t width) {
    const std::int32_t first = options.device.index;
    for (std::int32_t rank = 0; rank < width; ++rank) {
      options.device.index = first + rank;
      auto made = CudaOps::make(options, {rank, width}, exchange_.get());
      if (!made) return std::move(made).error();
      ranks_.push_back(*std::move(made));
    }
    return {};
  }
  std::int32_t width() const override { return static_cast<std::int32_t>(ranks_.size()); }
  Ops& rank(std::int32_t index) override { return *ranks_[static_cast<std::size_t>(index)]; }
  void interrupt() noexcept override { exchange_->interrupt(); }
  bool gave_up() const noexcept override {
    for (std::int32_t rank = 0; rank < width(); ++rank)
      if (exchange_->failed(rank)) return true;
    return false;
  }
  void rejoin() noexcept override { exchange_->rejoin(); }

 private:
  std::unique_ptr<CudaExchange> exchange_;
  std::vector<std::unique_ptr<CudaOps>> ranks_;
};

// Results are equal on all ranks only where their GPUs are.
Result<void> check_gpus(Device first, std::int32_t width) {
  const auto gpus = list_gpus();
  if (!gpus) return gpus.error();
  if (first.index < 0 || static_cast<std::size_t>(first.index + width) > gpus->size())
    return make_error(ErrorCode::unsupported,
                      "there are no " + std::to_string(width) + " GPUs from GPU " +
                          std::to_string(first.index) + " on; this machine has " +
                          std::to_string(gpus->size()),
                      "--tensor-parallel");
  const auto gpu = [&](std::int32_t rank) -> const GpuInfo& {
    return (*gpus)[static_cast<std::size_t>(first.index + rank)];
  };
  for (std::int32_t rank = 1; rank < width; ++rank)
    if (gpu(rank).compute_capability != gpu(0).compute_capability ||
        gpu(rank).multiprocessors != gpu(0).multiprocessors)
      return make_error(ErrorCode::unsupported,
                        "one engine cannot span unlike GPUs: " + gpu(0).name + " and " + gpu(rank).name,
                        "--tensor-parallel");
  return {};
}

}  // namespace

Result<std::unique_ptr<OpsGroup>> make_cuda_group(const OpsOptions& options, std::int32_t width) {
  if (auto checked = check_gpus(options.device, width); !checked) return std::move(checked).error();
  auto exchange = CudaExchange::make(options.device, width);
  if (!exchange) return std::move(exchange).error();
  auto group = std::make_unique<CudaGroup>(*std::move(exchange));
  if (auto made = group->add_ranks(options, width); !made) return std::move(made).error();
  return std::unique_ptr<OpsGroup>(std::move(group));
}

Tensor CudaOps::all_reduce(Tensor x) {
  if (exchange_) require(cuda::exchange_sum(exchange_->of(place_.rank), rows_of(x), stream_), "all_reduce");
  return x;
}

Tensor CudaOps::gather_columns(const Tensor& x, std::int64_t cols) {
  if (!exchange_) return x;
  assert(x.dtype == DType::f32);
  cuda::ExchangeColumns columns;
  for (std::int32_t rank = 0; rank < place_.width; ++rank)
    columns.firsts[rank] = static_cast<std::int32_t>(share_of(cols, {rank, place_.width}).first);
  columns.firsts[place_.width] = static_cast<std::int32_t>(cols);
  Tensor whole;
  if (place_.rank == 0) whole = allocate(x.rows, cols, DType::f32);
  const cuda::Rows target = place_.rank == 0
                                ? rows_of(whole)
                                : cuda::Rows{nullptr, cols, static_cast<std::int32_t>(x.rows),
                                             static_cast<std::int32_t>(cols), cuda::Element::f32};
  require(cuda::exchange_gather(exchange_->of(place_.rank), rows_of(x), columns, target, stream_),
          "gather_columns");
  return whole;
}

// What comes of a sum that was given up means nothing.
void CudaOps::require_group() const {
  if (exchange_ && exchange_->failed(place_.rank))
    throw DeviceFailure("another GPU of the group did not come");
}

}  // namespace baton
