// What an engine does for each tile, decided once: which steps are fused, where each value lies and how long it lives.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "format/spec.h"
#include "isa/kernels.h"
#include "plan/layout.h"

namespace optkit {

/// Where a value lies while a tile is worked on.
struct Place {
    enum Where { nowhere, scratch, shared } where = nowhere;
    size_t offset = 0;  // scratch: floats; shared: features from the start of the shared buffer
};

/// How activations become a panel of u8, and where it lies in the scratch.
struct Panel {
    uint32_t source;
    bool dynamic, grouped;
    // By feature: the steps of a fixed range to a unit, times the channel's factor; of a dynamic range the factor
    // alone.
    std::vector<float> factors;
    float shift = 0;    // of a fixed range, in steps
    size_t offset = 0;  // floats; 3 x 32 floats of a dynamic range follow the panel

    size_t bytes(uint32_t features) const { return size_t((features + 3) / 4 * 4) * kLanes; }
};

/// An elementwise step, on a whole value or on the rows that a linear step has just computed.
struct Elementwise {
    Op op;
    uint32_t source = kNone, other = kNone, target = kNone;
    uint32_t third = kNone;  // rotary: sines; other: cosines
    uint32_t heads = 1;      // rms_norm, rotary
    bool interleaved = false;
    ActivationKind activation{};
    const float *first = nullptr, *second = nullptr;  // affine: scale, shift; layer_norm: gamma, beta; rms_norm: gamma
    float low = 0, high = 0, epsilon = 0;
    uint32_t levels = 0;
    bool integers = false;  // fake_quantize: the target holds queries or keys of integer attention, as 8-bit numbers
    int panel = -1;         // of norms over all features: written besides the target

    /// Whether a feature of the target depends on others of its token: it can be cut between tokens alone.
    bool across_features() const { return op == Op::layer_norm || op == Op::rms_norm || op == Op::rotary; }
};

struct LinearPlan {
    Layout layout;
    uint64_t nonzeros = 0;
    std::vector<float> scales, bias, low_factor;  // by output, everything that is known before folded in
    bool dynamic = false;
    int panel = -1;  // that it reads; -1: floats of `source`
    uint32_t source = kNone;
    std::vector<Elementwise> after;
    bool one_pass = false;    // kernels do everything from the sums to the target at once (EpilogueArgs)
    uint32_t target = kNone;  // the value after them; kNone when only a panel is needed
    int target_panel = -1;    // written directly
    bool bfloat16 = false;    // the target is rounded where that is allowed: all that reads it are attentions' products
    bool own_sums = false;    // the sums do not lie in the target: those of one block in memory of the thread,
    size_t sums = 0;          // or, with several chunks of inputs, those of all outputs here in scratch
    // The target holds queries or keys of integer attention, as 8-bit numbers.
    bool integers = false;
    float factor = 0, shift = 0;
};

/// Fills scales, bias and low_factor of a linear step, and counts its non-zeros.
void fold_scales(const Step& step, LinearPlan& linear);

/// Whether Kernels::epilogue does all that follows the sums.
bool fits_one_pass(const LinearPlan& linear);

/// Relative positions that are added to scores: the numbers of their table and places among the inputs.
struct RelativePlan {
    uint32_t content;
    bool of_keys;
    int table, places;
    float scale;
    bool integers = false;  // the content, whose step is part of the scale
    int32_t zero = 0;
};

struct AttentionPlan {
    uint32_t query, key, value, target, heads, key_heads, size;  // key_heads divide the heads, which share them
    uint32_t left, right;  // how far before and behind a query its keys lie; kNone: any distance
    float scale;
    bool integers = false;         // queries and keys: their steps are part of the scale
    bool bfloat16_values = false;  // where they are allowed: they are rounded once, by the linear step that makes them
    int32_t query_zero = 0, key_zero = 0;
    std::vector<int> masks{};  // numbers among the inputs, two at most
    std::vector<RelativePlan> relatives{};

    /// Keys that a mask says anything of to a tile of `width` queries, whole tiles of them; 0 without a window.
    size_t keys_of_a_tile(size_t length, int width) const noexcept {
        if (left == kNone && right == kNone)
            return 0;
        if (!relatives.empty())
            return length;
        return std::min(length, std::min<size_t>(left, length) + std::min<size_t>(right, length) + 2 * size_t(width));
    }
};

struct Action {
    enum Kind { load, quantize, linear, elementwise, store } kind;
    size_t number;  // of the input, panel, linear, elementwise or output
    uint32_t value = kNone;
};

/// A run of actions on one tile after another, or one attention over whole sequences.
struct Segment {
    std::vector<Action> actions;
    int attention = -1;
    // Actions of one phase are independent of each other, and nothing that one of them needs lies where another writes.
    std::vector<size_t> phase_of;
    size_t phases = 1;
};

struct Plan {
    std::vector<uint32_t> features, inputs, outputs;
    std::vector<Use> uses;  // of each value
    std::vector<Segment> segments;
    std::vector<Panel> panels;
    std::unique_ptr<Lines> weights;  // of all linears
    std::vector<LinearPlan> linears;
    std::vector<Elementwise> elementwise;
    std::vector<AttentionPlan> attentions;
    std::vector<Place> places;  // of each value
    std::vector<std::unique_ptr<float[]>> numbers;
    size_t scratch_floats = 0, shared_features = 0;
    const Kernels* kernels = nullptr;

    Plan(const Spec& spec, const Kernels& kernels);
};

}  // namespace optkit
