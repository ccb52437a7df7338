// Memory that begins with a cache line, on large pages where there is enough to fill them: a pass over all weights of a
// model then looks up few addresses.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

#include <sys/mman.h>

namespace optkit {

constexpr size_t kLine = 64, kLargePage = size_t(2) << 20;

inline size_t whole_lines(size_t bytes) noexcept { return (bytes + kLine - 1) / kLine * kLine; }

/// @throws std::bad_alloc; std::free gives it back.
inline void* allocate_lines(size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, bytes < kLargePage ? kLine : kLargePage, whole_lines(bytes)) != 0)
        throw std::bad_alloc();
    if (bytes >= kLargePage)
        madvise(memory, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);  // a wish: without it the pages are small
    return memory;
}

struct FreeLines {
    void operator()(void* memory) const noexcept { std::free(memory); }
};

/// One piece of memory, handed out from its beginning to its end, and given back as a whole.
class Lines {
public:
    explicit Lines(size_t bytes) : memory_(static_cast<char*>(allocate_lines(bytes))), left_(bytes) {}

    /// @throws std::bad_alloc if less is left.
    void* take(size_t bytes) {
        bytes = whole_lines(bytes);
        if (bytes > left_)
            throw std::bad_alloc();
        void* taken = memory_.get() + used_;
        used_ += bytes;
        left_ -= bytes;
        return taken;
    }

private:
    std::unique_ptr<char, FreeLines> memory_;
    size_t used_ = 0, left_;
};

/// Of a container whose memory begins with a cache line: its own, or a part of `lines`.
template <typename T>
struct LineAllocator {
    using value_type = T;
    using propagate_on_container_move_assignment = std::true_type;

    Lines* lines = nullptr;

    LineAllocator() = default;
    explicit LineAllocator(Lines& from) noexcept : lines(&from) {}
    template <typename Other>
    LineAllocator(const LineAllocator<Other>& other) noexcept : lines(other.lines) {}

    T* allocate(size_t count) {
        return static_cast<T*>(lines ? lines->take(count * sizeof(T)) : allocate_lines(count * sizeof(T)));
    }
    void deallocate(T* memory, size_t) noexcept {
        if (!lines)
            std::free(memory);
    }
    friend bool operator==(const LineAllocator& one, const LineAllocator& other) { return one.lines == other.lines; }
    friend bool operator!=(const LineAllocator& one, const LineAllocator& other) { return one.lines != other.lines; }
};

}  // namespace optkit
