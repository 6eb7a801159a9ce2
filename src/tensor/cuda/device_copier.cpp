#include "baton/tensor/device_copier.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <mutex>

#include "kernels/cuda/digest.hpp"
#include "runtime.hpp"

namespace baton {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::size_t kHashes = std::size_t{1} << 14;  // at a time; they fit into a piece

class CudaCopier final : public DeviceCopier {
 public:
  explicit CudaCopier(int index) : index_(index) {}
  ~CudaCopier() override {
    const CurrentDevice current(index_);
    if (stream_) cudaStreamSynchronize(stream_);
    for (Piece& piece : pieces_) {
      cudaFreeHost(piece.data);
      if (piece.moved) cudaEventDestroy(piece.moved);
    }
    cudaFree(hashes_);
    if (stream_) cudaStreamDestroy(stream_);
  }

  Result<void> start() {
    const CurrentDevice current(index_);
    cudaError_t made = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    for (Piece& piece : pieces_) {
      void* data = nullptr;
      if (made == cudaSuccess) made = cudaMallocHost(&data, kPiece);
      piece.data = static_cast<std::byte*>(data);
      if (made == cudaSuccess) made = cudaEventCreateWithFlags(&piece.moved, cudaEventDisableTiming);
    }
    void* hashes = nullptr;
    if (made == cudaSuccess) made = cudaMalloc(&hashes, kHashes * sizeof(cuda::DigestHash));
    hashes_ = static_cast<cuda::DigestHash*>(hashes);
    if (made != cudaSuccess)
      return cuda_error(made, "cannot prepare copies from and to GPU " + std::to_string(index_));
    return {};
  }

  Result<void> to_host(std::span<const std::byte> on_device, std::span<std::byte> host) override {
    const std::scoped_lock lock(mutex_);
    const CurrentDevice current(index_);
    const std::size_t count = (host.size() + kPiece - 1) / kPiece;
    cudaError_t done = cudaSuccess;
    for (std::size_t i = 0; i <= count && done == cudaSuccess; ++i) {
      if (i < count)
        done = move(pieces_[i % 2], on_device.data() + i * kPiece, size_of_piece(host.size(), i));
      if (i == 0 || done != cudaSuccess) continue;
      const Piece& before = pieces_[(i - 1) % 2];
      done = cudaEventSynchronize(before.moved);
      if (done == cudaSuccess)
        std::memcpy(host.data() + (i - 1) * kPiece, before.data, size_of_piece(host.size(), i - 1));
    }
    return outcome(done, "cannot read from the GPU");
  }

  Result<void> from_host(std::span<const std::byte> host, std::span<std::byte> on_device) override {
    const std::scoped_lock lock(mutex_);
    const CurrentDevice current(index_);
    cudaError_t done = cudaSuccess;
    for (std::size_t at = 0, i = 0; at < host.size() && done == cudaSuccess; at += kPiece, ++i) {
      Piece& piece = pieces_[i % 2];
      const std::size_t size = size_of_piece(host.size(), i);
      done = cudaEventSynchronize(piece.moved);  // of an event never recorded: returns at once
      if (done != cudaSuccess) break;
      std::memcpy(piece.data, host.data() + at, size);
      done = cudaMemcpyAsync(on_device.data() + at, piece.data, size, cudaMemcpyHostToDevice, stream_);
      if (done == cudaSuccess) done = cudaEventRecord(piece.moved, stream_);
    }
    if (done == cudaSuccess) done = cudaStreamSynchronize(stream_);
    return outcome(done, "cannot write to the GPU");
  }

  Result<std::vector<Hash128>> hash_pieces(std::span<const std::byte> on_device,
                                           std::size_t piece_bytes) override {
    if (piece_bytes == 0) return make_error(ErrorCode::invalid_argument, "pieces of nothing", "piece_bytes");
    const std::scoped_lock lock(mutex_);
    const CurrentDevice current(index_);
    std::vector<Hash128> all((on_device.size() + piece_bytes - 1) / piece_bytes);
    cudaError_t done = cudaSuccess;
    for (std::size_t first = 0; first < all.size() && done == cudaSuccess; first += kHashes) {
      const std::size_t count = std::min(kHashes, all.size() - first);
      const std::span<const std::byte> row = on_device.subspan(first * piece_bytes);
      done = cuda::digest_row({row.data(), std::min(row.size(), count * piece_bytes)}, piece_bytes, hashes_,
                              stream_);
      const std::size_t bytes = count * sizeof(cuda::DigestHash);
      if (done == cudaSuccess)
        done = cudaMemcpyAsync(pieces_[0].data, hashes_, bytes, cudaMemcpyDeviceToHost, stream_);
      if (done == cudaSuccess) done = cudaStreamSynchronize(stream_);
      if (done == cudaSuccess) std::memcpy(all.data() + first, pieces_[0].data, bytes);
    }
    if (done != cudaSuccess) return cuda_error(done, "cannot hash on the GPU");
    return all;
  }

 private:
  static_assert(sizeof(cuda::DigestHash) == sizeof(Hash128) &&
                offsetof(cuda::DigestHash, high) == offsetof(Hash128, high));

  struct Piece {
    std::byte* data = nullptr;  // pinned
    cudaEvent_t moved = nullptr;
  };

  static std::size_t size_of_piece(std::size_t bytes, std::size_t i) {
    return std::min(kPiece, bytes - i * kPiece);
  }

  cudaError_t move(const Piece& piece, const std::byte* from, std::size_t size) {
    const cudaError_t asked = cudaMemcpyAsync(piece.data, from, size, cudaMemcpyDeviceToHost, stream_);
    return asked == cudaSuccess ? cudaEventRecord(piece.moved, stream_) : asked;
  }

  static Result<void> outcome(cudaError_t done, const char* what) {
    if (done != cudaSuccess) return cuda_error(done, what);
    return {};
  }

  const int index_;
  std::mutex mutex_;
  cudaStream_t stream_ = nullptr;
  std::array<Piece, 2> pieces_;
  cuda::DigestHash* hashes_ = nullptr;  // [kHashes]
};

}  // namespace

Result<std::unique_ptr<DeviceCopier>> make_device_copier(Device device) {
  if (device.kind != DeviceKind::cuda)
    return make_error(ErrorCode::unsupported, "host memory needs no copier", "device");
  auto copier = std::make_unique<CudaCopier>(device.index);
  if (auto started = copier->start(); !started) return std::move(started).error();
  return std::unique_ptr<DeviceCopier>(std::move(copier));
}

}  // namespace baton
