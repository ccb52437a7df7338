// Damages packed programs in the ways that find holes in a reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fuzz {

using Bytes = std::vector<uint8_t>;

/// Numbers from a seed, the same on every machine (splitmix64; Steele et al. 2014).
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t next() {
        uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }
    /// Below `end`; 0 where that is 0.
    size_t below(size_t end) { return end ? size_t(next() % end) : 0; }
    bool chance(int percent) { return below(100) < size_t(percent); }

private:
    uint64_t state_;
};

/// A copy of `seed`, a valid program, with one to a few things changed.
Bytes mutate(const Bytes& seed, Random& random);

}  // namespace fuzz
