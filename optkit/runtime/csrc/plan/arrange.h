// Puts things that live for a while into one memory, so that it stays small enough for a cache.
#pragma once

#include <cstddef>
#include <vector>

namespace optkit {

/// Needed from `first` to `last`, both included.
struct Lifetime {
    size_t first, last, size;
    size_t offset = 0;  // found by arrange
};

/// Gives each lifetime the lowest place that nothing alive at the same time takes; returns the size of all.
size_t arrange(std::vector<Lifetime>& lives);

}  // namespace optkit
