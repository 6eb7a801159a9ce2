// GroupModel: one model on the ranks of a group, each with its share of the weights.
//
// Rank 0 runs in the caller's thread, every other rank in one of its own. forward() returns when all ranks
// have launched their part; a rank's device may still be computing then. What rank 0's host gets from it, it
// gets after all of them (gather_columns); where nothing is gathered, forward() waits for all devices. The
// first rank to fail interrupts the others, so that none waits for ever.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "baton/model/model.hpp"
#include "model/model_files.hpp"

namespace baton {

class GroupModel final : public Model {
 public:
  static Result<std::unique_ptr<Model>> load(const ModelFiles& files, OpsGroup& group,
                                             const LoadProgress& progress, Quantization quantization);
  ~GroupModel() override;

  const ModelConfig& config() const override { return models_.front()->config(); }
  Hash128 fingerprint() const override { return models_.front()->fingerprint(); }
  std::span<const AdapterInfo> adapters() const override { return models_.front()->adapters(); }
  KvSpec kv_spec(std::int32_t block_size, std::optional<DType> kv_dtype) const override {
    return models_.front()->kv_spec(block_size, kv_dtype);
  }
  Tensor forward(const Batch& batch, const KvView& kv, Ops& ops) override;
  Tensor hidden() const override { return models_.front()->hidden(); }
  bool settle(Ops& ops) noexcept override;

 private:
  using Job = std::function<void(std::int32_t rank)>;
  // A rank beside rank 0. The counts go up by one for each job.
  struct Worker {
    std::atomic<std::uint32_t> launched{0};  // the host's part is done
    std::atomic<std::uint32_t> done{0};      // the device's, too
    std::thread thread;
  };

  explicit GroupModel(OpsGroup& group);
  Result<void> start();
  void serve(std::int32_t rank, Worker& self);
  void run(const Job& job, std::int32_t rank) noexcept;
  void run_on_all(const Job& job);  // returns when all have launched
  void wait_for_all(std::atomic<std::uint32_t> Worker::*count);
  void fail() noexcept;  // with the exception that is being handled
  void rethrow();        // the first failure, if any

  OpsGroup& group_;
  std::vector<std::unique_ptr<Model>> models_;  // by rank
  std::vector<Worker> workers_;                 // never grows: their threads look into it
  std::atomic<std::uint32_t> jobs_{0};
  const Job* job_ = nullptr;  // null: the end
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

}  // namespace baton
