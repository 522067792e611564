// Threads that help a caller with numbered tasks.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>

namespace etcc {

class Pool {
 public:
  // The caller counts as one of `threads`. The others start now and sleep between calls of `run`.
  explicit Pool(std::size_t threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  std::size_t threads() const { return threads_; }

  // work(0) … work(tasks - 1), each once, in any order and on any thread; returns when all are done. Rethrows the
  // first exception. The caller works alone while another caller has the helpers, and after a fork.
  void run(std::size_t tasks, const std::function<void(std::size_t)>& work);

 private:
  struct State;
  std::size_t threads_;
  pid_t process_;
  std::unique_ptr<State> state_;  // null for one thread
};

}  // namespace etcc
