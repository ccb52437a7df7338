// How the work of a run is cut into tasks: tiles of tokens, and slices of outputs where there are fewer tiles than
// threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "engine/engine.h"
#include "isa/kernels.h"
#include "plan/plan.h"

namespace optkit {

/// How a batch is cut into tiles. Every sequence begins with a tile of its own, so that a tile's tokens share one
/// attention.
struct Tiling {
    Batch batch;
    int width = kLanes;  // tokens of a full tile: 32, or 16
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

/// Which tasks a run has. Without `split`, a task is all actions of a segment on `tiles_of_a_task` tiles; with it, one
/// slice of one linear action on so many tiles, which read its weights once, or of another action on one tile; and
/// threads wait for each other after every phase (plan/phases.h).
struct Schedule {
    Tiling tiling;
    bool split = false;
    size_t tiles_of_a_task = 1;
    int threads = 1;         // that take part
    double nanoseconds = 0;  // that the cost model expects

    /// With `split`: the tiles of a task of this action, and the groups that this makes of all.
    size_t tiles_of(const Action& action) const noexcept;
    size_t groups_of(const Action& action) const noexcept;

    /// Tasks of all actions of a segment; with `split`, of phase `phase` of it.
    size_t tasks(const Plan& plan, const Segment& segment, size_t phase) const noexcept;
};

/// Parts of one action on one tile that different threads may do at once.
size_t slices(const Plan& plan, const Action& action, int lanes) noexcept;

/// The schedule that ends first by a cost model. Full tiles make the most of each weight that is read, half tiles and
/// slices of outputs keep more threads at work, and every phase costs a wait.
Schedule choose_schedule(const Plan& plan, const Batch& batch, int threads);

}  // namespace optkit
