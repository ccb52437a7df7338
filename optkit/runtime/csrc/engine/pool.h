// Memory of one run, kept for the next. Runs at the same time take different ones.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "engine/schedule.h"

namespace optkit {

/// Floats aligned to a cache line, zero when first taken: lanes that no token uses hold numbers, not garbage.
class Buffer {
public:
    float* reserve(size_t floats) {
        if (floats > size_) {
            memory_.reset();
            size_ = 0;
            const size_t bytes = (floats * sizeof(float) + 63) / 64 * 64;
            memory_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
            if (!memory_)
                throw std::bad_alloc();
            std::fill_n(memory_.get(), bytes / sizeof(float), 0.0f);
            size_ = floats;
        }
        return memory_.get();
    }

    float* data() const noexcept { return memory_.get(); }

private:
    struct Free {
        void operator()(float* memory) const { std::free(memory); }
    };
    std::unique_ptr<float[], Free> memory_;
    size_t size_ = 0;
};

struct Workspace {
    Schedule schedule;  // of the latest run, and the threads that it was chosen for
    int threads = 0;
    Buffer shared, masks;
    Buffer tiles;                 // scratch of each tile, where threads share the work on one
    std::vector<Buffer> scratch;  // of each thread
};

struct Pool {
    std::mutex mutex;
    std::vector<std::unique_ptr<Workspace>> idle;

    std::unique_ptr<Workspace> take() {
        const std::lock_guard<std::mutex> lock(mutex);
        if (idle.empty())
            return std::make_unique<Workspace>();
        auto workspace = std::move(idle.back());
        idle.pop_back();
        return workspace;
    }

    void give(std::unique_ptr<Workspace> workspace) {
        const std::lock_guard<std::mutex> lock(mutex);
        idle.push_back(std::move(workspace));
    }
};

}  // namespace optkit
