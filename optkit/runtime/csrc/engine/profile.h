// Nanoseconds by kind of work, summed over threads, when switched on: what the benchmark prints.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace optkit::profile {

enum Kind { kLoad, kQuantize, kProducts, kEpilogue, kElementwise, kLayerNorm, kAttention, kStore, kKinds };

extern std::atomic<bool> enabled;
extern std::atomic<uint64_t> nanoseconds[kKinds];
extern std::atomic<uint64_t> multiply_adds;  // of non-zero weights

/// {"load": ns, ..., "multiply_adds": count}; and sets all to 0.
std::string read();

class Timer {
public:
    explicit Timer(Kind kind) noexcept : kind_(kind), on_(enabled.load(std::memory_order_relaxed)) {
        if (on_)
            start_ = std::chrono::steady_clock::now();
    }
    ~Timer() {
        if (on_)
            nanoseconds[kind_] += uint64_t((std::chrono::steady_clock::now() - start_).count());
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

private:
    Kind kind_;
    bool on_;
    std::chrono::steady_clock::time_point start_;
};

}  // namespace optkit::profile
