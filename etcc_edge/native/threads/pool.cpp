#include "threads/pool.hpp"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace etcc {

struct Pool::State {
  std::mutex callers;  // held by the caller that has the helpers
  std::mutex mutex;    // guards what follows
  std::condition_variable wake, idle;
  const std::function<void(std::size_t)>* work = nullptr;
  std::size_t tasks = 0;
  std::size_t round = 0;    // rises with each call
  std::size_t helping = 0;  // helpers inside the call
  bool stop = false;
  std::exception_ptr error;
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> helpers;

  void take(const std::function<void(std::size_t)>& own, std::size_t count) {
    try {
      for (std::size_t task = next.fetch_add(1); task < count; task = next.fetch_add(1)) own(task);
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }

  void end() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    wake.notify_all();
    for (auto& helper : helpers) helper.join();
  }

  void help() {
    std::size_t seen = 0;
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return stop || (round != seen && work); });
      if (stop) return;
      seen = round;
      ++helping;
      const auto* own = work;
      const std::size_t count = tasks;
      lock.unlock();
      take(*own, count);
      lock.lock();
      if (--helping == 0) idle.notify_all();
    }
  }
};

Pool::Pool(std::size_t threads) : threads_(threads < 1 ? 1 : threads), process_(getpid()) {
  if (threads_ == 1) return;
  state_ = std::make_unique<State>();
  try {
    for (std::size_t i = 1; i < threads_; ++i) state_->helpers.emplace_back([state = state_.get()] { state->help(); });
  } catch (...) {  // no memory for one more
    state_->end();
    throw;
  }
}

Pool::~Pool() {
  if (!state_) return;
  if (getpid() != process_) {  // a fork copies no threads, and their locks may be held for good
    static_cast<void>(state_.release());
    return;
  }
  state_->end();
}

void Pool::run(std::size_t tasks, const std::function<void(std::size_t)>& work) {
  const auto alone = [&] {
    for (std::size_t task = 0; task < tasks; ++task) work(task);
  };
  if (!state_ || tasks <= 1 || getpid() != process_) return alone();
  State& state = *state_;
  const std::unique_lock caller(state.callers, std::try_to_lock);
  if (!caller) return alone();
  {
    const std::lock_guard lock(state.mutex);
    state.work = &work;
    state.tasks = tasks;
    state.error = nullptr;
    state.next = 0;
    ++state.round;
  }
  state.wake.notify_all();
  state.take(work, tasks);
  std::exception_ptr error;
  {
    std::unique_lock lock(state.mutex);
    state.work = nullptr;  // who wakes up late finds nothing to do
    state.idle.wait(lock, [&] { return state.helping == 0; });
    error = std::exchange(state.error, nullptr);
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace etcc
