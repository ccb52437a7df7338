// Entries of int8 weights, four at a time, and which of them may share a sum of 16 bits.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace optkit {

/// Four weights that a kernel multiplies by four inputs at once.
using Quad = std::array<int8_t, 4>;

struct Entry {
    std::array<uint16_t, 4> indices{};  // one in block4
    Quad quad{};
};

/// A quad as the kernels read it: the first weight in the lowest byte.
int32_t pack_quad(const Quad& quad);

/// Whether the same-signed sum of a pair of its weights leaves 16 bits once multiplied by u8.
bool may_overflow_i16(const Quad& quad);

/// Half of a quad, and the rest: their sum is the quad, exactly, and neither overflows.
std::pair<Quad, Quad> halves(const Quad& quad);

/// Appends an entry, in two halves if it may overflow alone.
void append_without_overflow(std::vector<Entry>& entries, const Entry& entry);

/// So many entries come first in fours, and so many after them in pairs, whose 16-bit sums may be added.
struct Groups16Bit {
    uint32_t quads = 0, pairs = 0;  // entries, multiples of 4 and 2
};

/// Orders entries so that those that can share a 16-bit sum come first: fours, then pairs, then the others. The
/// heaviest takes the lightest that fit.
Groups16Bit group_16bit(std::vector<Entry>& entries);

/// Gathers the single weights of a row (number, column) four by four.
/// @param saturating_i16  each pair takes a large positive and a large negative weight, so that few sums leave 16 bits
///     and many entries share one; `row` is reordered.
void gather_quads(std::vector<std::pair<int8_t, uint16_t>>& row, bool saturating_i16, std::vector<Entry>& entries);

}  // namespace optkit
