// Checks what engine/pool.h says of the memory that it keeps; prints the first claim that does not hold.

#include "engine/pool.h"

#include <cstdio>
#include <cstring>
#include <vector>

namespace {

using optkit::Buffer;
using optkit::Pool;
using optkit::Workspace;

#define CHECK(claim)                                                  \
    if (!(claim)) {                                                   \
        std::printf("line %d does not hold: %s\n", __LINE__, #claim); \
        return 1;                                                     \
    }

constexpr size_t kLarge = 100000, kSmall = 1000;
static_assert(kLarge > Buffer::kSlack * kSmall, "one is far more than the other");

int one_large_request() {
    Buffer buffer;
    CHECK(buffer.reserve(kLarge) != nullptr && buffer.size() == kLarge);
    // Every window is looked at as a whole: the first one saw the large request.
    for (int run = 1; run < 2 * Buffer::kRuns - 1; ++run) {
        buffer.reserve(kSmall);
        CHECK(buffer.size() == kLarge);
    }
    float* memory = buffer.reserve(kSmall);
    CHECK(buffer.size() == kSmall);
    for (size_t i = 0; i < kSmall; ++i)
        CHECK(memory[i] == 0.0f);
    memory[0] = 5.0f;
    CHECK(buffer.reserve(kSmall) == memory && buffer.reserve(kSmall / 2) == memory && memory[0] == 5.0f);
    CHECK(reinterpret_cast<uintptr_t>(memory) % 64 == 0);
    return 0;
}

int large_requests_now_and_then() {
    Buffer buffer;
    for (int run = 0; run < 6 * Buffer::kRuns; ++run) {
        buffer.reserve(run % Buffer::kRuns == 0 ? kLarge : kSmall);
        CHECK(buffer.size() == kLarge);
    }
    return 0;
}

int not_far_more_than_needed() {
    Buffer buffer;
    buffer.reserve(Buffer::kSlack * kSmall);
    for (int run = 0; run < 6 * Buffer::kRuns; ++run)
        buffer.reserve(kSmall);
    CHECK(buffer.size() == Buffer::kSlack * kSmall);
    return 0;
}

int memory_that_is_not_needed() {
    Buffer buffer;
    CHECK(buffer.reserve(0) == nullptr && buffer.reserve(kSmall) != nullptr);
    for (int run = 2; run < 2 * Buffer::kRuns; ++run)
        CHECK(buffer.reserve(0) == (run + 1 < 2 * Buffer::kRuns ? buffer.data() : nullptr));
    CHECK(buffer.size() == 0 && buffer.reserve(kSmall) != nullptr);
    return 0;
}

int workspaces_of_many_callers() {
    Pool pool;
    std::vector<std::unique_ptr<Workspace>> taken;
    for (int caller = 0; caller < 5; ++caller)
        taken.push_back(pool.take());
    for (auto& workspace : taken)
        pool.give(std::move(workspace));
    CHECK(pool.idle() == 5);
    // One caller from now on: it always gets the same workspace, and the others are freed one after the other.
    const Workspace* used = nullptr;
    for (uint64_t run = 1; run <= Pool::kRuns + 5; ++run) {
        auto workspace = pool.take();
        CHECK(used == nullptr || used == workspace.get());
        used = workspace.get();
        pool.give(std::move(workspace));
        const uint64_t late = run + 5 > Pool::kRuns ? run + 5 - Pool::kRuns : 0;  // given before, and not since
        const size_t freed = late > 1 ? size_t(late - 1) : 0;
        CHECK(pool.idle() == 5 - (freed > 4 ? 4 : freed));
    }
    return 0;
}

}  // namespace

int main() {
    return one_large_request() + large_requests_now_and_then() + not_far_more_than_needed() +
           memory_that_is_not_needed() + workspaces_of_many_callers();
}
