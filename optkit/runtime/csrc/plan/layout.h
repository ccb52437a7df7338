// A layer's weights as the kernels of this CPU read them, made from the packed ones when a model is loaded.
#pragma once

#include <vector>

#include "format/spec.h"
#include "isa/kernels.h"
#include "lines.h"

namespace optkit {

/// Outputs whose sums are scaled, activated and so on together, while they are in cache.
constexpr uint32_t kBlockOutputs = 128;

/// Outputs that a row of a kernel may have; memory for outputs is a multiple of it.
constexpr uint32_t kMaxHeight = 32;

/// Features as they are stored: kernels write whole rows of up to so many outputs.
inline size_t padded(uint32_t features) { return (size_t(features) + kMaxHeight - 1) / kMaxHeight * kMaxHeight; }

struct Layout {
    const LinearKernel* kernel = nullptr;
    uint32_t out = 0, in = 0;

    template <typename T>
    using Numbers = std::vector<T, LineAllocator<T>>;  // a tile register is loaded line by line

    struct Owned {
        std::vector<uint32_t> begin, quads_16bit, pairs_16bit, order;
        Numbers<uint16_t> indices;
        Numbers<int32_t> weights;
        Numbers<float> floats;
    };
    // Ranges of inputs that keep the panel in the first-level cache, one after the other over all rows.
    std::vector<Owned> chunks;

    Chunk chunk(size_t number) const;
    uint32_t outputs_of_a_group() const { return uint32_t(kernel->height) * kernel->interleaved; }
    uint32_t groups() const { return (out + outputs_of_a_group() - 1) / outputs_of_a_group(); }
    /// Weights that are stored, the zeros of their blocks and fillers included.
    uint64_t weights() const;
    /// That a pass over all entries reads.
    uint64_t bytes() const;
    /// Whether a block of outputs reads more weights than inputs, so that tiles should rather share the weights.
    bool wide_strips() const;
    bool integer() const { return kernel->form != Form::single; }
    /// Whether the panel is [in / 4][32][4] rather than [in][32].
    bool grouped() const { return kernel->form == Form::block4; }
};

/// The kernel that makes the most of the blocks of `weights`: of those whose height divides theirs, the tallest.
const LinearKernel& choose_kernel(const PackedWeights& weights, const Kernels& kernels);

Layout make_layout(const PackedWeights& weights, const Kernels& kernels);

/// Moves what a pass over all weights reads into one piece of memory, in the order of the layouts. It has to outlive
/// them.
std::unique_ptr<Lines> move_together(const std::vector<Layout*>& layouts);

}  // namespace optkit
