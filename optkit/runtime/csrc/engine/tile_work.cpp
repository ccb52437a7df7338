#include "engine/tile_work.h"

#include "engine/profile.h"

namespace optkit {
namespace {

using profile::Timer;

/// Outputs whose sums are worked on together where an epilogue takes several passes: their floats stay in the
/// first-level cache from one pass to the next.
constexpr uint32_t kPassRows = 32;

}  // namespace

float* TileWork::address(uint32_t value, size_t tile, float* scratch) const noexcept {
    const Place& place = plan_.places[value];
    if (place.where == Place::shared)
        return shared_ + (tile * plan_.shared_features + place.offset) * kLanes;
    return scratch + place.offset;
}

void TileWork::execute(const Action& action, const Part& part) const noexcept {
    const size_t tile = part.tile;
    float* scratch = part.scratch;
    const int lanes = tiling_.lanes(tile), count = tiling_.count(tile);
    switch (action.kind) {
        case Action::load: {
            const Timer timer(profile::kLoad);
            const uint32_t features = plan_.features[action.value];
            const float* from = static_cast<const float*>(inputs_[action.number].data);
            // One sequence may serve all, as tables of positions do.
            const size_t token = tiling_.first_token(tile) % inputs_[action.number].tokens;
            kernels_.load(address(action.value, tile, scratch), from + token * features, features, count, lanes);
            break;
        }
        case Action::store: {
            const Timer timer(profile::kStore);
            const uint32_t features = plan_.features[action.value];
            kernels_.store(outputs_[action.number] + tiling_.first_token(tile) * features,
                           address(action.value, tile, scratch), features, count);
            break;
        }
        case Action::quantize: {
            const Timer timer(profile::kQuantize);
            quantize(plan_.panels[action.number], part, lanes);
            break;
        }
        case Action::linear:
            linear(plan_.linears[action.number], part);
            break;
        case Action::elementwise: {
            const Elementwise& step = plan_.elementwise[action.number];
            float* target = address(step.target, tile, scratch);
            const float* source = address(step.source, tile, scratch);
            if (step.across_features()) {
                const int first = part.slices == 1 ? 0 : int(part.slice) * 16;
                if (first < lanes)
                    across_features(step, tile, first, part.slices == 1 ? lanes : 16, scratch);
                break;
            }
            const Timer timer(profile::kElementwise);
            const Part::Range rows = part.range(plan_.features[step.target]);
            const size_t at = size_t(rows.first) * kLanes;
            if (step.integers) {
                const float factor = 255.0f / (step.high - step.low);
                kernels_.quantize_u8(source + at, rows.last - rows.first, lanes,
                                     {reinterpret_cast<uint8_t*>(target) + at, factor, -step.low * factor});
                break;
            }
            const float* other = step.other == kNone ? nullptr : address(step.other, tile, scratch) + at;
            elementwise(step, target + at, source + at, other, rows.first, rows.last - rows.first, lanes);
            break;
        }
    }
}

void TileWork::elementwise(const Elementwise& step, float* target, const float* source, const float* other,
                           uint32_t row, uint32_t rows, int lanes) const noexcept {
    switch (step.op) {
        case Op::activation:
            return kernels_.activation(target, source, rows, lanes, step.activation);
        case Op::affine:
            return kernels_.affine(target, source, rows, lanes, step.first ? step.first + row : nullptr,
                                   step.second ? step.second + row : nullptr);
        case Op::fake_quantize:
            return kernels_.fake_quantize(target, source, rows, lanes, step.low, step.high, step.levels);
        case Op::add:
            return kernels_.add(target, source, other, rows, lanes);
        case Op::multiply:
            return kernels_.multiply(target, source, other, rows, lanes);
        default:
            return;
    }
}

PanelArgs TileWork::fixed_panel(const Panel& panel, uint32_t first, float* scratch) const noexcept {
    return {reinterpret_cast<uint8_t*>(scratch + panel.offset) + size_t(first) * kLanes, panel.grouped,
            panel.factors.data() + first, panel.shift};
}

void TileWork::across_features(const Elementwise& step, size_t tile, int first, int lanes,
                               float* scratch) const noexcept {
    const Timer timer(step.op == Op::rotary ? profile::kElementwise : profile::kLayerNorm);
    const uint32_t features = plan_.features[step.target];
    float* target = address(step.target, tile, scratch) + first;
    const float* source = address(step.source, tile, scratch) + first;
    if (step.op == Op::rotary)
        return kernels_.rotary({target, source, address(step.other, tile, scratch) + first,
                                address(step.third, tile, scratch) + first, step.heads, features / step.heads,
                                step.interleaved, lanes});
    PanelArgs panel{};
    if (step.panel >= 0) {
        panel = fixed_panel(plan_.panels[size_t(step.panel)], 0, scratch);
        panel.panel += first * (panel.grouped ? 4 : 1);
    }
    const PanelArgs* besides = step.panel >= 0 ? &panel : nullptr;
    if (step.op == Op::rms_norm)
        return kernels_.rms_norm(target, source, features, step.heads, lanes, step.first, step.epsilon, besides);
    kernels_.layer_norm(target, source, features, lanes, step.first, step.second, step.epsilon, besides);
}

void TileWork::quantize(const Panel& panel, const Part& part, int lanes) const noexcept {
    const uint32_t features = plan_.features[panel.source];
    const float* source = address(panel.source, part.tile, part.scratch);
    const Part::Range rows = part.range(features);
    PanelArgs args = fixed_panel(panel, rows.first, part.scratch);
    if (panel.dynamic) {
        float* ranges = ranges_of(panel, part.scratch);
        kernels_.token_ranges(source, features, lanes, panel.factors.data(), ranges, ranges + kLanes,
                              ranges + 2 * kLanes);
        args.token_low = ranges;
        args.token_inverse = ranges + kLanes;
    }
    kernels_.quantize(source + size_t(rows.first) * kLanes, rows.last - rows.first, lanes, args);
}

float* TileWork::ranges_of(const Panel& panel, float* scratch) const noexcept {
    return scratch + panel.offset + panel.bytes(plan_.features[panel.source]) / sizeof(float);
}

void TileWork::linear(const LinearPlan& step, const Part& part) const noexcept {
    const Layout& layout = step.layout;
    const Part::Range rows = part.range(layout.out);
    const uint32_t height = layout.outputs_of_a_group(), groups = (rows.last + height - 1) / height;
    for (size_t chunk = 0; chunk < layout.chunks.size(); ++chunk)
        for (uint32_t group = rows.first / height; group < groups; group += kBlockOutputs / height)
            for (size_t i = 0; i < part.tiles; ++i)
                block(step, chunk, group, std::min(kBlockOutputs / height, groups - group), part.tile + i,
                      part.scratch + i * plan_.scratch_floats, part.own);
    if (part.slice == 0 && profile::enabled.load(std::memory_order_relaxed))
        for (size_t tile = part.tile; tile < part.tile + part.tiles; ++tile)
            profile::multiply_adds += step.nonzeros * uint64_t(tiling_.count(tile));
}

void TileWork::block(const LinearPlan& step, size_t chunk, uint32_t group, uint32_t groups, size_t tile, float* scratch,
                     float* own) const noexcept {
    const Layout& layout = step.layout;
    const void* source = step.panel >= 0 ? static_cast<const void*>(scratch + plan_.panels[size_t(step.panel)].offset)
                                         : address(step.source, tile, scratch);
    const int lanes = tiling_.lanes(tile);
    const uint32_t first = group * layout.outputs_of_a_group();
    float* sums = own;  // those of one chunk are used up before the next block
    if (!step.own_sums || layout.chunks.size() > 1)
        sums = (step.own_sums ? scratch + step.sums : address(step.target, tile, scratch)) + size_t(first) * kLanes;
    {
        const Timer timer(profile::kProducts);
        layout.kernel->run({layout.chunk(chunk), source, group, groups, lanes, chunk > 0, sums});
    }
    if (chunk + 1 < layout.chunks.size())
        return;
    const Timer timer(profile::kEpilogue);
    const uint32_t outputs = std::min(kBlockOutputs, layout.out - first);
    const uint32_t together = step.one_pass ? outputs : kPassRows;
    for (uint32_t row = 0; row < outputs; row += together)
        epilogue(step, sums + size_t(row) * kLanes, first + row, std::min(together, outputs - row), tile, lanes,
                 scratch);
    if (bfloat16_ && step.bfloat16)
        kernels_.to_bfloat16(sums, outputs, lanes);
}

void TileWork::epilogue(const LinearPlan& step, float* block, uint32_t first, uint32_t rows, size_t tile, int lanes,
                        float* scratch) const noexcept {
    EpilogueArgs args{block, rows, lanes, {nullptr, step.bias.data() + first}};
    if (step.layout.integer())
        args.scale.scales = step.scales.data() + first;
    if (step.dynamic) {
        const float* ranges = ranges_of(plan_.panels[size_t(step.panel)], scratch);
        args.scale.token_low = ranges;
        args.scale.token_scale = ranges + 2 * kLanes;
        args.scale.low_factor = step.low_factor.data() + first;
    }
    PanelArgs panel{};
    if (step.target_panel >= 0)
        panel = fixed_panel(plan_.panels[size_t(step.target_panel)], first, scratch);
    IntegersArgs integers{nullptr, step.factor, step.shift};
    if (step.integers)
        integers.target = reinterpret_cast<uint8_t*>(address(step.target, tile, scratch)) + size_t(first) * kLanes;
    const auto other = [&](const Elementwise& after) -> const float* {
        return after.other == kNone ? nullptr : address(after.other, tile, scratch) + size_t(first) * kLanes;
    };
    if (step.one_pass) {
        for (const Elementwise& after : step.after) {
            args.activation = after.op == Op::activation ? &after.activation : nullptr;
            args.other = other(after);
            args.multiplies = after.op == Op::multiply;
        }
        args.target = block;
        args.panel = step.target_panel >= 0 ? &panel : nullptr;
        args.integers = step.integers ? &integers : nullptr;
        return kernels_.epilogue(args);
    }
    args.target = block;
    kernels_.epilogue(args);
    for (const Elementwise& after : step.after)
        elementwise(after, block, block, other(after), first, rows, lanes);
    if (step.integers)
        kernels_.quantize_u8(block, rows, lanes, integers);
    if (step.target_panel >= 0)
        kernels_.quantize(block, rows, lanes, panel);
}

}  // namespace optkit
