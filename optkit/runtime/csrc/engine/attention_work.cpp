// The part of TileWork that is attention: what the kernels are told of one head of one tile.
#include <algorithm>
#include <cstring>
#include <limits>

#include "engine/profile.h"
#include "engine/tile_work.h"

namespace optkit {

void TileWork::attention(const AttentionPlan& step, size_t task, float* scratch) const noexcept {
    const profile::Timer timer(profile::kAttention);
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
    args.bfloat16_values = bfloat16_ && step.bfloat16_values;
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
    (bfloat16_ ? kernels_.attention_bf16 : kernels_.attention)(args);
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
