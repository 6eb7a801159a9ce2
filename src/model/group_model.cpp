#include "model/group_model.hpp"

#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "model/decoder.hpp"

namespace baton {

namespace {
constexpr const char* kInVain = "a device of the group waited for another in vain";
}  // namespace

GroupModel::GroupModel(OpsGroup& group)
    : group_(group),
      models_(static_cast<std::size_t>(group.width())),
      workers_(static_cast<std::size_t>(group.width()) - 1) {}

Result<void> GroupModel::start() {
  try {
    for (std::size_t i = 0; i < workers_.size(); ++i)
      workers_[i].thread = std::thread([this, i] { serve(static_cast<std::int32_t>(i) + 1, workers_[i]); });
  } catch (const std::system_error& error) {
    return make_error(ErrorCode::unavailable,
                      std::string("cannot start a thread for each device: ") + error.what());
  }
  return {};
}

GroupModel::~GroupModel() {
  wait_for_all(&Worker::done);
  job_ = nullptr;
  jobs_.fetch_add(1, std::memory_order_release);
  jobs_.notify_all();
  for (Worker& worker : workers_)
    if (worker.thread.joinable()) worker.thread.join();
}

Result<std::unique_ptr<Model>> GroupModel::load(const ModelFiles& files, OpsGroup& group,
                                                const LoadProgress& progress, Quantization quantization) {
  std::unique_ptr<GroupModel> whole(new GroupModel(group));
  if (auto started = whole->start(); !started) return std::move(started).error();
  std::vector<std::optional<Error>> errors(whole->models_.size());
  whole->run_on_all([&](std::int32_t rank) {
    const auto index = static_cast<std::size_t>(rank);
    auto loaded = DecoderModel::load(files, group.rank(rank), rank == 0 ? progress : nullptr, quantization);
    if (loaded)
      whole->models_[index] = *std::move(loaded);
    else
      errors[index] = std::move(loaded).error();
  });
  for (std::optional<Error>& error : errors)
    if (error) return *std::move(error);
  try {
    whole->rethrow();
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::out_of_memory, "no memory left for the model's weights");
  } catch (const std::exception& failure) {
    return make_error(ErrorCode::unavailable, failure.what());
  }
  return std::unique_ptr<Model>(std::move(whole));
}

Tensor GroupModel::forward(const Batch& batch, const KvView& kv, Ops& /*rank 0's*/) {
  Tensor logits;
  run_on_all([&](std::int32_t rank) {
    Ops& ops = group_.rank(rank);
    const Tensor made =
        models_[static_cast<std::size_t>(rank)]->forward(batch, kv.of({rank, group_.width()}), ops);
    if (rank == 0) logits = made;
  });
  const bool nothing_gathered = batch.logit_rows.empty();
  if (nothing_gathered) wait_for_all(&Worker::done);
  rethrow();
  // Nobody would look at a result of this step, whose rows are in the cache from now on.
  if (nothing_gathered && (!group_.rank(0).settle() || group_.gave_up())) throw DeviceFailure(kInVain);
  return logits;
}

bool GroupModel::settle(Ops& /*rank 0's*/) noexcept {
  group_.interrupt();
  wait_for_all(&Worker::done);
  bool computes = true;
  for (std::int32_t rank = 0; rank < group_.width(); ++rank)
    computes = group_.rank(rank).settle() && computes;
  group_.rejoin();
  const std::scoped_lock lock(failure_mutex_);
  failure_ = nullptr;
  return computes;
}

void GroupModel::run_on_all(const Job& job) {
  wait_for_all(&Worker::done);  // of the job before
  job_ = &job;
  jobs_.fetch_add(1, std::memory_order_release);
  jobs_.notify_all();
  run(job, 0);
  wait_for_all(&Worker::launched);
}

void GroupModel::wait_for_all(std::atomic<std::uint32_t> Worker::*count) {
  const std::uint32_t wanted = jobs_.load(std::memory_order_relaxed);
  for (Worker& worker : workers_) {
    std::atomic<std::uint32_t>& reached = worker.*count;
    for (std::uint32_t seen = reached.load(std::memory_order_acquire); seen != wanted;
         seen = reached.load(std::memory_order_acquire))
      reached.wait(seen, std::memory_order_acquire);
  }
}

void GroupModel::serve(std::int32_t rank, Worker& self) {
  const auto report = [](std::atomic<std::uint32_t>& count, std::uint32_t job) {
    count.store(job, std::memory_order_release);
    count.notify_all();
  };
  for (std::uint32_t next = 1;; ++next) {
    for (std::uint32_t seen = jobs_.load(std::memory_order_acquire); seen != next;
         seen = jobs_.load(std::memory_order_acquire))
      jobs_.wait(seen, std::memory_order_acquire);
    if (job_ == nullptr) return;
    run(*job_, rank);
    report(self.launched, next);
    const bool works = group_.rank(rank).settle();
    if (!works || group_.gave_up()) {
      try {
        throw DeviceFailure(works ? kInVain : "a device of the group fails");
      } catch (...) {
        fail();
      }
    }
    report(self.done, next);
  }
}

void GroupModel::run(const Job& job, std::int32_t rank) noexcept {
  try {
    job(rank);
  } catch (...) {
    fail();
  }
}

// The others' failures follow from the first.
void GroupModel::fail() noexcept {
  {
    const std::scoped_lock lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
  group_.interrupt();
}

void GroupModel::rethrow() {
  const std::scoped_lock lock(failure_mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace baton
