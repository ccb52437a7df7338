// Entries of int8 weights, four at a time, and which of them may share a sum of 16 bits.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace optkit {

/// Four weights that a kernel multiplies by four inputs at once.
using Quad = std::array<int8_t, 4>;

/// A row's entries: each has `width` indices and a quad for each of `height` outputs.
struct Entries {
    uint32_t width, height;
    std::vector<uint16_t> indices;
    std::vector<Quad> quads;

    uint32_t size() const { return uint32_t(indices.size() / width); }
    void append(const uint16_t* of_entry, const Quad* weights);
};

/// A quad as the kernels read it: the first weight in the lowest byte.
int32_t pack_quad(const Quad& quad);

/// Appends an entry. If the same-signed sum of a pair of its weights leaves 16 bits once multiplied by u8, it becomes
/// two entries of half the weights, exactly: the sums of neither do.
void append_without_overflow(Entries& entries, const uint16_t* indices, const Quad* quads);

/// So many entries come first in fours, and so many after them in pairs, whose 16-bit sums may be added.
struct Groups16Bit {
    uint32_t quads = 0, pairs = 0;  // entries, multiples of 4 and 2
};

/// Orders entries so that those that can share a 16-bit sum come first: fours, then pairs, then the others. The
/// heaviest takes the lightest that fit. None may overflow alone.
Groups16Bit group_16bit(Entries& entries);

/// Gathers the single weights of a row (number, column) four by four, for entries of 4 indices and height 1.
/// @param saturating_i16  each pair takes a large positive and a large negative weight, so that few sums leave 16 bits
///     and many entries share one; `row` is reordered.
void gather_quads(std::vector<std::pair<int8_t, uint16_t>>& row, bool saturating_i16, Entries& entries);

}  // namespace optkit
