// A few threads for what would hold up an io thread: tokenising, templates, scrapes.
//
// Invariant: each connection has at most one piece of work here, so the connection limit bounds the queue.
// What is still queued at stop() is dropped unrun.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace baton::frontend {

class TextPool {
 public:
  explicit TextPool(int threads);
  ~TextPool();

  void submit(std::function<void()> work);
  void stop();  // waits for what is running

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> queue_;  // one item a pop, so that all threads get some
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace baton::frontend
