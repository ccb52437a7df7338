#include "engine/masks.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace optkit {
namespace {

float number(const Input& input, size_t index) {
    // Bounded, so that "the lowest number there is" stays one when it is scaled: then all keys count alike.
    if (!input.boolean)
        return std::max(static_cast<const float*>(input.data)[index], -2.0e38f);
    const bool there = static_cast<const uint8_t*>(input.data)[index] != 0;
    return there ? 0.0f : -std::numeric_limits<float>::infinity();
}

bool same_for_all_queries(const Input& input) {
    const size_t row = input.dims[3] * (input.boolean ? 1 : sizeof(float));
    const char* data = static_cast<const char*>(input.data);
    for (size_t matrix = 0; matrix < input.dims[0] * input.dims[1]; ++matrix, data += input.dims[2] * row)
        for (size_t query = 1; query < input.dims[2]; ++query)
            if (std::memcmp(data, data + query * row, row) != 0)
                return false;
    return true;
}

float* write_keys(const Input& input, const Tiling& tiling, float* to) {
    const size_t columns = input.dims[3];
    for (size_t matrix = 0; matrix < input.dims[0] * input.dims[1]; ++matrix)
        for (size_t key = 0; key < tiling.batch.length; ++key)
            *to++ = number(input, matrix * input.dims[2] * columns + (columns > 1 ? key : 0));
    return to;
}

float* write_full(const Input& input, const Tiling& tiling, float* to) {
    const size_t length = tiling.batch.length, columns = input.dims[3], width = size_t(tiling.width);
    for (size_t matrix = 0; matrix < input.dims[0] * input.dims[1]; ++matrix)
        for (size_t tile = 0; tile < tiling.per_sequence; ++tile)
            for (size_t key = 0; key < length; ++key, to += kLanes)
                for (size_t lane = 0; lane < size_t(kLanes); ++lane) {
                    const size_t query = tile * width + lane;
                    const bool there = lane < width && query < length;
                    const size_t row = (matrix * length + query) * columns;
                    to[lane] = there ? number(input, row + (columns > 1 ? key : 0)) : 0.0f;
                }
    return to;
}

}  // namespace

std::vector<Mask> prepare_masks(const Plan& plan, const Tiling& tiling, const std::vector<Input>& inputs,
                                Buffer& memory) {
    std::vector<Mask> masks(plan.features.size());
    std::vector<std::pair<size_t, bool>> which;  // input, whether the same for every query
    size_t floats = 0;
    for (size_t i = 0; i < plan.inputs.size(); ++i) {
        if (plan.features[plan.inputs[i]] > 0 || !inputs[i].data)
            continue;
        const bool keys = same_for_all_queries(inputs[i]);
        which.emplace_back(i, keys);
        floats += inputs[i].dims[0] * inputs[i].dims[1] * tiling.batch.length *
                  (keys ? 1 : tiling.per_sequence * size_t(kLanes));
    }
    float* to = memory.reserve(floats);
    for (const auto& [i, keys] : which) {
        Mask& mask = masks[plan.inputs[i]];
        mask.batches = inputs[i].dims[0];
        mask.heads = inputs[i].dims[1];
        (keys ? mask.keys : mask.full) = to;
        to = keys ? write_keys(inputs[i], tiling, to) : write_full(inputs[i], tiling, to);
    }
    return masks;
}

}  // namespace optkit
