#include "plan/describe.h"

#include <algorithm>
#include <cmath>

namespace optkit {
namespace {

/// The number that stands for 0 among those of a FakeQuantize of 256 levels.
int32_t zero_point(const Step& step) { return int32_t(std::nearbyint(-step.low * (255.0f / (step.high - step.low)))); }

/// Adds what value `number` adds to the scores of an attention, one by one.
void add_terms(const Spec& spec, const Graph& graph, uint32_t number, AttentionPlan& attention) {
    if (number == kNone)
        return;
    if (spec.uses[number] == Use::mask) {
        attention.masks.push_back(graph.value(number).input);
        return;
    }
    const Step& step = spec.steps[graph.value(number).producer];
    if (step.op == Op::relative) {
        attention.relatives.push_back({step.sources[0], step.of_keys, graph.value(step.sources[1]).input,
                                       graph.value(step.sources[2]).input, step.scale});
        return;
    }
    add_terms(spec, graph, step.sources[0], attention);
    add_terms(spec, graph, step.sources[1], attention);
}

}  // namespace

Elementwise describe_elementwise(const Spec& spec, const Step& step, uint32_t source, Numbers& numbers) {
    Elementwise result;
    result.op = step.op;
    result.source = source;
    if (step.op == Op::add || step.op == Op::multiply)
        result.other = step.sources[0] == source ? step.sources[1] : step.sources[0];
    if (step.op == Op::rotary) {
        result.other = step.sources[1];
        result.third = step.sources[2];
    }
    result.heads = std::max(step.heads, 1u);
    result.interleaved = step.interleaved;
    result.activation = step.activation;
    result.first = numbers.copy(step.first);
    result.second = numbers.copy(step.second);
    if ((step.op == Op::layer_norm || step.op == Op::rms_norm) && !result.first)
        result.first = numbers.fill(spec.features[step.target], 1.0f);
    if (step.op == Op::layer_norm && !result.second)
        result.second = numbers.fill(spec.features[step.target], 0.0f);
    result.low = step.low;
    result.high = step.high;
    result.levels = step.levels;
    result.epsilon = step.epsilon;
    return result;
}

AttentionPlan describe_attention(const Spec& spec, const Graph& graph, const Step& step) {
    AttentionPlan attention{step.sources[0],
                            step.sources[1],
                            step.sources[2],
                            step.target,
                            step.heads,
                            step.key_heads,
                            spec.features[step.target] / step.heads,
                            step.left,
                            step.right,
                            step.scale};
    add_terms(spec, graph, step.sources[3], attention);
    const Step* query = graph.integer_quantizer(step, 0);
    const Step* key = graph.integer_quantizer(step, 1);
    if (query && key) {
        attention.integers = true;
        attention.scale *= (query->high - query->low) / 255.0f * ((key->high - key->low) / 255.0f);
        attention.query_zero = zero_point(*query);
        attention.key_zero = zero_point(*key);
    }
    for (RelativePlan& relative : attention.relatives)
        if (graph.read_as_integers(relative.content)) {
            const Step& quantizer = spec.steps[graph.value(relative.content).producer];
            relative.integers = true;
            relative.scale *= (quantizer.high - quantizer.low) / 255.0f;
            relative.zero = zero_point(quantizer);
        }
    return attention;
}

}  // namespace optkit
