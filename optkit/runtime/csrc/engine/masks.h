// Masks of attention as the kernels read them, made once a run.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/engine.h"
#include "engine/pool.h"
#include "plan/plan.h"

namespace optkit {

/// How a batch is cut: every sequence begins with a tile of its own, so that a tile's tokens share one attention.
struct Tiling {
    Batch batch;
    int width = kLanes;   // tokens of a full tile
    size_t per_sequence = 0;

    size_t tiles() const { return batch.sequences * per_sequence; }
    int count(size_t tile) const {
        return int(std::min<size_t>(size_t(width), batch.length - tile % per_sequence * size_t(width)));
    }
    size_t first_token(size_t tile) const {
        return tile / per_sequence * batch.length + tile % per_sequence * size_t(width);
    }
    /// Lanes that are computed: 16 serve a tile of up to 16 tokens.
    int lanes(size_t tile) const { return count(tile) > 16 ? 32 : 16; }
};

/// For each of (batch or 1) x (heads or 1): numbers that are added to scores.
struct Mask {
    const float* keys = nullptr;  // [batch x heads][length]: the same for every query
    const float* full = nullptr;  // [batch x heads][tile][length][32]
    size_t batches = 1, heads = 1;
};

/// The masks among the inputs, by the number of their value; their numbers lie in `memory`.
std::vector<Mask> prepare(const Plan& plan, const Tiling& tiling, const std::vector<Input>& inputs, Buffer& memory);

}  // namespace optkit
