// ThreadPool: the kernel threads of one Ops.
//
// `run` cuts tasks 0..n-1 into one contiguous range per thread; a thread that is through with its own range
// takes tasks from the others'. The caller is thread 0 and waits only for threads that have joined: on an
// overloaded machine a worker that got no core yet holds nobody up. Idle threads spin for 50 microseconds,
// then sleep. Invariant: a task runs exactly once, and none runs outside `run`. One thread drives the pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace baton {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // at least 1; 1 starts no thread
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // body(task, thread), thread in [0, threads()). Not reentrant; the body must not throw.
  template <class Body>
  void run(std::int64_t tasks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    if (threads_ == 1 || tasks <= 1) {
      for (std::int64_t task = 0; task < tasks; ++task) body(task, 0);
      return;
    }
    run_on_all(tasks, {[](void* context, std::int64_t task, int thread) {
                         (*static_cast<Plain*>(context))(task, thread);
                       },
                       const_cast<void*>(static_cast<const void*>(&body))});
  }

 private:
  struct Job {
    void (*call)(void* context, std::int64_t task, int thread) = nullptr;
    void* context = nullptr;
  };
  struct alignas(64) Range {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };

  void run_on_all(std::int64_t tasks, Job job);
  void work(int thread);
  void serve(int thread);

  int threads_;
  Job job_;
  std::unique_ptr<Range[]> ranges_;
  // Bits 16..31: number of the job, 15: open to join, 0..14: workers that joined and have not left.
  alignas(64) std::atomic<std::uint32_t> state_{0};
  alignas(64) std::atomic<std::uint32_t> finished_{0};  // state of the last job whose workers all left
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace baton
