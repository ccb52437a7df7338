#include <algorithm>

#include "plan/plan.h"

namespace optkit {

void fold_scales(const Step& step, LinearPlan& linear) {
    const PackedWeights& weights = step.weights;
    std::vector<int64_t> sums(padded(weights.out), 0);
    const size_t rows = weights.rows, columns = weights.columns;
    for (size_t group = 0; group + 1 < weights.pointers.size; ++group)
        for (size_t block = weights.pointers[group]; block < weights.pointers[group + 1]; ++block)
            for (size_t i = 0; i < rows && group * rows + i < weights.out; ++i)
                for (size_t j = 0; j < columns; ++j) {
                    const size_t at = (block * rows + i) * columns + j;
                    if (weights.single) {
                        linear.nonzeros += weights.floats[at] != 0.0f;
                    } else {
                        linear.nonzeros += weights.bytes[at] != 0;
                        sums[group * rows + i] += weights.bytes[at];
                    }
                }
    linear.bias.assign(padded(weights.out), 0.0f);
    if (step.bias)
        std::copy(step.bias.data, step.bias.data + weights.out, linear.bias.begin());
    if (weights.single)
        return;
    const bool fixed = step.quantize == Quantize::fixed;
    const float unit = fixed ? (step.high - step.low) / 255.0f : 1.0f;
    linear.scales.assign(padded(weights.out), 0.0f);
    linear.low_factor.assign(padded(weights.out), 0.0f);
    for (uint32_t n = 0; n < weights.out; ++n) {
        linear.scales[n] = step.scales[n] * unit;
        linear.low_factor[n] = step.scales[n] * float(sums[n]);
        if (fixed)
            linear.bias[n] += step.low * linear.low_factor[n];
    }
}

bool fits_one_pass(const LinearPlan& linear) {
    const bool scaled = linear.layout.integer() && !linear.dynamic;
    if (linear.after.empty())
        return scaled || (linear.target_panel < 0 && !linear.integers);
    const Op op = linear.after[0].op;
    return linear.after.size() == 1 && (op == Op::activation || op == Op::add || op == Op::multiply) &&
           !linear.integers && (scaled || linear.target_panel < 0);
}

}  // namespace optkit
