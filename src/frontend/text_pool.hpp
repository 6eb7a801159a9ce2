// A few threads for what would hold up an io thread: tokenising, templates, scrapes; in a pool of its own,
// writing and compiling what binds answers.
//
// Invariant: each connection has at most one piece of work here, so the connection limit bounds the queue
// where nothing less does. What is still queued at stop() is dropped unrun.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

namespace baton::frontend {

class TextPool {
 public:
  explicit TextPool(int threads, std::size_t most_waiting = std::numeric_limits<std::size_t>::max());
  ~TextPool();

  // False: too much waits already, and `work` was not taken.
  [[nodiscard]] bool submit(std::function<void()> work);
  void stop();  // waits for what is running

 private:
  void run();

  const std::size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> queue_;  // one item a pop, so that all threads get some
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace baton::frontend
