#include "engine/tile_work.h"

#include <cstring>
#include <limits>

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

void TileWork::attention(const AttentionPlan& step, size_t task, float* scratch) const noexcept {
    const Timer timer(profile::kAttention);
    // The tiles of a head follow each other: its keys and values stay in cache.
    const size_t number = task % tiling_.per_sequence, head = task / tiling_.per_sequence % step.heads;
    const size_t sequence = task / tiling_.per_sequence / step.heads;
    const size_t first = sequence * tiling_.per_sequence, tile = first + number;
    const size_t stride = plan_.shared_features * kLanes, offset = head * step.size * kLanes;
    const size_t shared = head / (step.heads / step.key_heads) * step.size * kLanes;
    AttentionArgs args{};
    args.integers = step.integers;
    args.skip = step.integers ? uint32_t(head * step.size % 4) : 0;
    args.query_zero = step.query_zero;
    args.key_zero = step.key_zero;
    args.query = address(step.query, first, scratch) + (step.integers ? offset / kLanes / 4 * kLanes : offset);
    args.key = address(step.key, first, scratch) + (step.integers ? shared / kLanes / 4 * kLanes : shared);
    args.value = address(step.value, first, scratch) + shared;
    args.target = address(step.target, tile, scratch) + offset;
    args.query_stride = args.key_stride = args.value_stride = stride;
    args.size = step.size;
    args.length = uint32_t(tiling_.batch.length);
    args.width = uint32_t(tiling_.width);
    args.tile = uint32_t(number);
    args.lanes = tiling_.lanes(tile);
    args.queries = tiling_.count(tile);
    args.scale = step.scale;
    args.scratch = scratch;
    args.relative_scratch = scratch + attention_floats(step) - relative_floats(step);
    const auto mask_of = [&](size_t i) {
        return mask(inputs_[size_t(step.masks[i])], sequence, head, number * size_t(tiling_.width));
    };
    if (!step.masks.empty())
        args.mask = mask_of(0);
    if (step.masks.size() > 1)
        args.bias = mask_of(1);
    for (const RelativePlan& relative : step.relatives) {
        const Input& table = inputs_[size_t(relative.table)];
        args.relatives[args.relative_count++] = {
            address(relative.content, first, scratch) + (relative.integers ? offset / kLanes / 4 * kLanes : offset),
            stride,
            relative.integers,
            relative.integers ? uint32_t(head * step.size % 4) : 0,
            relative.zero,
            relative.of_keys,
            static_cast<const float*>(table.data) + head * table.dims[2] * table.dims[3],
            static_cast<const int32_t*>(inputs_[size_t(relative.places)].data) + tiling_.batch.length - 1,
            relative.scale};
    }
    args.added = !step.masks.empty() || args.relative_count > 0;
    if (step.left != kNone || step.right != kNone)
        limit_keys(step, number, args, scratch + attention_floats(step));
    attention_(args);
}

void TileWork::limit_keys(const AttentionPlan& step, size_t number, AttentionArgs& args, float* memory) noexcept {
    const size_t length = args.length, left = std::min<size_t>(step.left, length),
                 right = std::min<size_t>(step.right, length);
    const size_t first = number * args.width, last = first + size_t(args.queries) - 1;
    // Relative positions count from the first key.
    const size_t low = args.relative_count || first <= left ? 0 : (first - left) / args.width * args.width,
                 high = std::min(length, last + right + 1), count = high - low;
    args.key = static_cast<const float*>(args.key) + low / args.width * args.key_stride;
    args.value += low / args.width * args.value_stride;
    args.length = uint32_t(count);
    if (args.bias.data)
        args.bias.data = static_cast<const char*>(args.bias.data) +
                         low * args.bias.key_stride * (args.bias.boolean ? 1 : sizeof(float));
    const MaskView given = args.mask;
    const bool boolean = !given.data || given.boolean;
    const size_t bytes = boolean ? 1 : sizeof(float);
    args.added = true;
    args.mask.data = memory;
    args.mask.boolean = boolean;
    args.mask.query_stride = count;
    args.mask.key_stride = 1;
    for (size_t query = first; query <= last; ++query) {
        const size_t begin = query > left ? query - left : 0, end = std::min(length, query + right + 1);
        char* row = reinterpret_cast<char*>(memory) + (query - first) * count * bytes;
        if (boolean)
            std::memset(row, 0, count);
        else
            std::fill_n(reinterpret_cast<float*>(row), count, -std::numeric_limits<float>::infinity());
        row += (begin - low) * bytes;
        const char* from = static_cast<const char*>(given.data) +
                           ((query - first) * given.query_stride + begin * given.key_stride) * bytes;
        if (!given.data)
            std::memset(row, 1, end - begin);
        else if (given.key_stride)
            std::memcpy(row, from, (end - begin) * bytes);
        else
            for (size_t key = begin; key < end; ++key, row += bytes)
                std::memcpy(row, from, bytes);
    }
}

MaskView TileWork::mask(const Input& input, size_t sequence, size_t head, size_t query) noexcept {
    const size_t* dims = input.dims;
    MaskView view;
    view.boolean = input.boolean;
    view.query_stride = dims[2] > 1 ? dims[3] : 0;
    view.key_stride = dims[3] > 1 ? 1 : 0;
    const size_t matrix = (dims[0] > 1 ? sequence : 0) * dims[1] + (dims[1] > 1 ? head : 0);
    const size_t at = matrix * dims[2] * dims[3] + query * view.query_stride;
    view.data = static_cast<const char*>(input.data) + at * (input.boolean ? 1 : sizeof(float));
    return view;
}

}  // namespace optkit
