// Where the values, panels and sums of a plan lie, once it is known what computes and what reads them.
#pragma once

#include <vector>

#include "plan/plan.h"

namespace optkit {

/// When a value is computed and last read: segments, and actions of its segment. It lives through whole phases.
struct ValueUse {
    bool ready = false;     // some action computes or loads it
    bool shared = false;    // it outlives its segment, so it lies in memory of all tiles
    bool integers = false;  // u8 instead of floats
    size_t segment = 0, last_segment = 0;
    size_t first = 0, last = 0;
};

struct PanelUse {
    size_t segment, first, last;
};

/// Fills the offsets of `plan`, and the sizes of its memory.
void place(const Spec& spec, const std::vector<ValueUse>& values, const std::vector<PanelUse>& panels, Plan& plan);

}  // namespace optkit
