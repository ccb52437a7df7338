// A layer's weights as the kernels of this CPU read them, made from the packed ones when a model is loaded.
#pragma once

#include <vector>

#include "format/spec.h"
#include "isa/kernels.h"

namespace optkit {

/// Outputs whose sums are scaled, activated and so on together, while they are in cache.
constexpr uint32_t kBlockOutputs = 128;

enum class Form { block4, element, element_rows4, single, single_rows4 };

struct Layout {
    Form form;
    uint32_t out = 0, in = 0;
    uint32_t height = 1;  // outputs of a row: 4 in the forms that say so

    struct Owned {
        std::vector<uint32_t> begin, quads_16bit, pairs_16bit, order;
        std::vector<uint16_t> indices;
        std::vector<int32_t> weights;
        std::vector<float> floats;
    };
    // Ranges of inputs that keep the panel in the first-level cache, one after the other over all rows.
    std::vector<Owned> chunks;

    Chunk chunk(size_t number) const;
    uint32_t rows() const { return (out + height - 1) / height; }
    bool integer() const { return form < Form::single; }
    /// Whether the panel is [in / 4][32][4] rather than [in][32].
    bool grouped() const { return form == Form::block4; }
    Kernels::Linear kernel(const Kernels& kernels) const;
};

/// @param saturating_i16  whether the kernels add products in 16 bits (Kernels::saturating_i16).
Layout make_layout(const PackedWeights& weights, bool saturating_i16);

}  // namespace optkit
