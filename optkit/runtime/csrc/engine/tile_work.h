// What the actions of a plan do to one tile, or to a slice of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "engine/engine.h"
#include "engine/schedule.h"
#include "plan/plan.h"

namespace optkit {

/// What an action works on: a tile, or one of `slices` parts of it, or, if it is linear, several tiles in a row.
struct Part {
    size_t tile, tiles;
    float* scratch;  // of the first tile; the others' lies behind it
    float* own;      // of the thread
    size_t slice = 0, slices = 1;

    /// The rows of this part, of `rows` in all: whole blocks of outputs.
    struct Range {
        uint32_t first, last;
    };
    Range range(uint32_t rows) const noexcept {
        if (slices == 1)
            return {0, rows};
        return {uint32_t(slice) * kBlockOutputs, std::min(uint32_t(slice + 1) * kBlockOutputs, rows)};
    }
};

/// Memory for the relative positions of one head of one tile.
inline size_t relative_floats(const AttentionPlan& step) noexcept {
    const size_t features = (step.size + kRelativeFeatures - 1) / kRelativeFeatures * kRelativeFeatures;
    return step.relatives.empty() ? 0 : kRelativeProducts + kRelativeScratchOfFeature * features;
}

/// Memory that a thread needs for one head of one tile.
inline size_t attention_floats(const AttentionPlan& step) noexcept {
    const size_t features = (step.size + 3 + kAttentionFeatures - 1) / kAttentionFeatures * kAttentionFeatures;
    return kAttentionScratch + kAttentionScratchOfFeature * features + relative_floats(step);
}

/// Shared by all threads of a run. Nothing here throws or allocates: an exception that leaves a thread of OpenVINO's
/// pool ends the process.
class TileWork {
public:
    /// @param shared  memory of all tiles: plan.shared_features x 32 floats each.
    TileWork(const Plan& plan, const Tiling& tiling, const std::vector<Input>& inputs,
             const std::vector<float*>& outputs, bool allow_bf16, float* shared)
        : plan_(plan), kernels_(*plan.kernels), tiling_(tiling), inputs_(inputs), outputs_(outputs), shared_(shared),
          bfloat16_(allow_bf16 && kernels_.attention_bf16) {}

    void execute(const Action& action, const Part& part) const noexcept;
    /// One head of one tile, by the number of the task.
    void attention(const AttentionPlan& step, size_t task, float* scratch) const noexcept;

private:
    float* address(uint32_t value, size_t tile, float* scratch) const noexcept;
    /// `rows` features from `row` on: target, source and other point to the first of them.
    void elementwise(const Elementwise& step, float* target, const float* source, const float* other, uint32_t row,
                     uint32_t rows, int lanes) const noexcept;
    /// The part of a panel that begins with feature `first`, a multiple of four; of fixed range.
    PanelArgs fixed_panel(const Panel& panel, uint32_t first, float* scratch) const noexcept;
    /// Of `lanes` tokens from `first` on.
    void across_features(const Elementwise& step, size_t tile, int first, int lanes, float* scratch) const noexcept;
    void quantize(const Panel& panel, const Part& part, int lanes) const noexcept;
    /// Low, inverse and step of each token's range, behind its panel.
    float* ranges_of(const Panel& panel, float* scratch) const noexcept;
    void linear(const LinearPlan& step, const Part& part) const noexcept;
    /// The products of one block of outputs with one chunk of inputs, and after the last what follows.
    void block(const LinearPlan& step, size_t chunk, uint32_t group, uint32_t groups, size_t tile, float* scratch,
               float* own) const noexcept;
    /// What follows the sums of `rows` outputs from `first` on.
    void epilogue(const LinearPlan& step, float* block, uint32_t first, uint32_t rows, size_t tile, int lanes,
                  float* scratch) const noexcept;
    /// Leaves to a tile of queries, the `number`-th of its sequence, the keys within their window: whole tiles of keys
    /// by `args`, the others by a mask that is written to `memory`.
    static void limit_keys(const AttentionPlan& step, size_t number, AttentionArgs& args, float* memory) noexcept;
    /// What an input adds to the scores of a head, for the queries of a sequence from `query` on.
    static MaskView mask(const Input& input, size_t sequence, size_t head, size_t query) noexcept;

    const Plan& plan_;
    const Kernels& kernels_;
    const Tiling& tiling_;
    const std::vector<Input>& inputs_;
    const std::vector<float*>& outputs_;
    float* const shared_;
    const bool bfloat16_;  // what attention multiplies
};

}  // namespace optkit
