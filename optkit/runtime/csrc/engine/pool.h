// Memory of one run, kept for the next. Runs at the same time take different ones.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/schedule.h"
#include "lines.h"

namespace optkit {

/// Floats aligned to a cache line, zero when first taken: lanes that no token uses hold numbers, not garbage.
///
/// One long request does not keep its memory for good: after every kRuns runs, memory of more than kSlack times what
/// the largest of them needed is replaced by as much as that one needed.
class Buffer {
public:
    static constexpr int kRuns = 32;
    static constexpr size_t kSlack = 4;

    /// At least so many floats for a run; those of the last run, unless there were too few or far too many.
    float* reserve(size_t floats) {
        needed_ = std::max(needed_, floats);
        if (++runs_ == kRuns) {
            if (size_ > kSlack * needed_)
                allocate(needed_);
            runs_ = 0;
            needed_ = 0;
        }
        if (floats > size_)
            allocate(floats);
        return memory_.get();
    }

    float* data() const noexcept { return memory_.get(); }
    size_t size() const noexcept { return size_; }

private:
    void allocate(size_t floats) {
        memory_.reset();
        size_ = 0;
        if (floats == 0)
            return;
        memory_.reset(static_cast<float*>(allocate_lines(floats * sizeof(float))));
        std::fill_n(memory_.get(), whole_lines(floats * sizeof(float)) / sizeof(float), 0.0f);
        size_ = floats;
    }

    std::unique_ptr<float[], FreeLines> memory_;
    size_t size_ = 0, needed_ = 0;  // needed_: since the memory was last looked at
    int runs_ = 0;
};

struct Workspace {
    Schedule schedule;  // of the latest run, and the threads that it was chosen for
    int threads = 0;
    Buffer shared;
    Buffer tiles;                 // scratch of each tile, where threads share the work on one
    std::vector<Buffer> scratch;  // of each thread
    uint64_t given = 0;           // the run after which it was given back
};

/// As many workspaces as runs were under way at a time; one that none of the last kRuns runs took is freed.
class Pool {
public:
    static constexpr uint64_t kRuns = 64;

    std::unique_ptr<Workspace> take() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (idle_.empty())
            return std::make_unique<Workspace>();
        auto workspace = std::move(idle_.back());
        idle_.pop_back();
        return workspace;
    }

    void give(std::unique_ptr<Workspace> workspace) {
        const std::lock_guard<std::mutex> lock(mutex_);
        workspace->given = ++runs_;
        idle_.push_back(std::move(workspace));
        // The last one given is the first one taken, so the first one has been idle the longest.
        while (idle_.front()->given + kRuns < runs_)
            idle_.pop_front();
    }

    size_t idle() const noexcept { return idle_.size(); }

private:
    std::mutex mutex_;
    std::deque<std::unique_ptr<Workspace>> idle_;
    uint64_t runs_ = 0;
};

}  // namespace optkit
