#include "engine/progress.h"

#include <climits>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace optkit {
namespace {

// Looks at the state, some microseconds, before a waiting thread gives its core away.
constexpr int kSpins = 2000;

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free,
              "a futex is a plain number");

void futex(std::atomic<uint32_t>& state, int operation, uint32_t value) noexcept {
    syscall(SYS_futex, &state, operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
}

void pause() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

}  // namespace

void Progress::announce() noexcept {
    if (state_.exchange(kDone, std::memory_order_acq_rel) == kRunningWithSleepers)
        futex(state_, FUTEX_WAKE, INT_MAX);
}

void Progress::wait() noexcept {
    for (int spins = 0; spins < kSpins; ++spins, pause())
        if (state_.load(std::memory_order_acquire) == kDone)
            return;
    uint32_t state = kRunning;
    state_.compare_exchange_strong(state, kRunningWithSleepers, std::memory_order_acquire);
    // Returns at once if the state is another by now, and now and then without a reason.
    while (state_.load(std::memory_order_acquire) != kDone)
        futex(state_, FUTEX_WAIT, kRunningWithSleepers);
}

}  // namespace optkit
