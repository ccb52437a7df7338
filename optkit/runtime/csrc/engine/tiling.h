// How a batch is cut into tiles.
#pragma once

#include <algorithm>
#include <cstddef>

#include "engine/engine.h"
#include "isa/kernels.h"

namespace optkit {

/// Every sequence begins with a tile of its own, so that a tile's tokens share one attention.
struct Tiling {
    Batch batch;
    int width = kLanes;  // tokens of a full tile
    size_t per_sequence = 0;

    size_t tiles() const noexcept { return batch.sequences * per_sequence; }
    int count(size_t tile) const noexcept {
        return int(std::min<size_t>(size_t(width), batch.length - tile % per_sequence * size_t(width)));
    }
    size_t first_token(size_t tile) const noexcept {
        return tile / per_sequence * batch.length + tile % per_sequence * size_t(width);
    }
    /// Lanes that are computed: 16 serve a tile of up to 16 tokens.
    int lanes(size_t tile) const noexcept { return count(tile) > 16 ? 32 : 16; }
};

/// Full tiles make the most of each weight that is read; half tiles keep more threads at work. What ends first is
/// taken.
Tiling choose_tiling(const Batch& batch, int threads);

}  // namespace optkit
