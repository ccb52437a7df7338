// Shares one memory among arrays of limited lifetime, so that it stays small enough for a cache.
#pragma once

#include <cstddef>
#include <vector>

namespace optkit {

/// Needed from `first` to `last`, both included.
struct Lifetime {
    size_t first, last, size;
    size_t offset = 0;  // by assign_offsets
};

/// Gives each lifetime the lowest offset that nothing alive at the same time overlaps; returns the size of all.
size_t assign_offsets(std::vector<Lifetime>& lives);

}  // namespace optkit
