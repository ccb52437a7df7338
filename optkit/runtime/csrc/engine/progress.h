// How far the threads of a run are with one segment.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace optkit {

/// Hands out the tasks of a segment, and lets threads wait until all are done. Threads that come late or never leave
/// nothing undone, so it does not matter how many of them there really are; and one that is held up does not hold up
/// the others' tasks.
class Progress {
public:
    /// Before any thread begins.
    void set_tasks(size_t tasks) { tasks_ = tasks; }

    /// Calls work(task) for tasks that no other thread has, as long as there are any, and then waits for the others.
    template <typename Work>
    void drain(Work work) noexcept {
        for (size_t task = next_.fetch_add(1, std::memory_order_relaxed); task < tasks_;
             task = next_.fetch_add(1, std::memory_order_relaxed)) {
            work(task);
            // All that was done before is seen by whoever counts the last task, and through it by those who wait.
            if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks_)
                announce();
        }
        if (tasks_ > 0)
            wait();
    }

private:
    enum State : uint32_t { kRunning, kRunningWithSleepers, kDone };

    void announce() noexcept;
    void wait() noexcept;

    size_t tasks_ = 0;
    // Lines of their own: who takes a task does not disturb those who finish one, and neither disturbs those who wait.
    alignas(64) std::atomic<size_t> next_{0};
    alignas(64) std::atomic<size_t> done_{0};
    alignas(64) std::atomic<uint32_t> state_{kRunning};
};

}  // namespace optkit
