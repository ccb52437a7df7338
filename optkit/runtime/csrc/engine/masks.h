// Masks of attention as the kernels read them, made once a run.
#pragma once

#include <vector>

#include "engine/engine.h"
#include "engine/pool.h"
#include "engine/schedule.h"
#include "plan/plan.h"

namespace optkit {

/// For each of (batch or 1) x (heads or 1): numbers that are added to scores.
struct Mask {
    const float* keys = nullptr;  // [batch x heads][length]: the same for every query
    const float* full = nullptr;  // [batch x heads][tile][length][32]
    size_t batches = 1, heads = 1;
};

/// The masks among the inputs, by the number of their value; their numbers lie in `memory`.
std::vector<Mask> prepare_masks(const Plan& plan, const Tiling& tiling, const std::vector<Input>& inputs,
                                Buffer& memory);

}  // namespace optkit
