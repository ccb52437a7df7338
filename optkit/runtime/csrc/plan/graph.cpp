#include "plan/graph.h"

#include <algorithm>
#include <cmath>

namespace optkit {
namespace {

// Of a head: so many products of two 8-bit numbers, and what is added for their zero points, still fit a 32-bit sum.
constexpr uint32_t kMaxIntegerHeadSize = 1u << 13;

}  // namespace

Graph::Graph(const Spec& spec) : spec_(spec), values_(spec.features.size()) {
    size_t stage = 0;
    for (uint32_t i = 0; i < spec.steps.size(); ++i) {
        const Step& step = spec.steps[i];
        values_[step.target].producer = i;
        for (uint32_t source : step.sources)
            if (source < values_.size())
                values_[source].readers.push_back(i);
        stages_.push_back(step.op == Op::attention ? ++stage : stage);
        stage += step.op == Op::attention;
    }
    for (size_t i = 0; i < spec.inputs.size(); ++i)
        values_[spec.inputs[i]].input = int(i);
    for (uint32_t output : spec.outputs)
        values_[output].output = true;
}

size_t Graph::sole_reader(uint32_t value, size_t maker) const {
    const Value& facts = values_[value];
    if (facts.output || facts.readers.size() != 1 || stages_[facts.readers[0]] != stages_[maker])
        return kNone;
    return facts.readers[0];
}

const Step* Graph::integer_quantizer(const Step& attention, int which) const {
    const uint32_t number = attention.sources[which];
    const uint32_t size = spec_.features[attention.sources[0]] / attention.heads;
    const Value& value = values_[number];
    // Heads that share keys begin elsewhere in the keys than in the queries: at a group of four in both, or not at all.
    const bool aligned = size % 4 == 0 || attention.heads == attention.key_heads;
    if (!aligned || size > kMaxIntegerHeadSize || value.output || !sole_attention(number) || value.producer == kNone)
        return nullptr;
    const Step& step = spec_.steps[value.producer];
    if (step.op != Op::fake_quantize || step.levels != 256)
        return nullptr;
    const float zero = -step.low * 255.0f / (step.high - step.low);
    const bool exact = zero >= 0 && zero <= 255 && std::fabs(zero - std::nearbyint(zero)) < 1e-3f;
    return exact ? &step : nullptr;
}

const Step* Graph::sole_attention(uint32_t value) const {
    const Step* found = nullptr;
    for (size_t reader : values_[value].readers) {
        const Step& step = spec_.steps[reader];
        if (step.op == Op::relative)
            continue;
        if (step.op != Op::attention || found)
            return nullptr;
        found = &step;
    }
    return found;
}

bool Graph::values_alone(uint32_t value) const {
    const Value& facts = values_[value];
    return !facts.output && !facts.readers.empty() &&
           std::all_of(facts.readers.begin(), facts.readers.end(), [&](size_t reader) {
               const Step& step = spec_.steps[reader];
               return step.op == Op::attention && step.sources[0] != value && step.sources[1] != value;
           });
}

bool Graph::read_as_integers(uint32_t value) const {
    const Step* reader = sole_attention(value);
    return reader && reader->sources[2] != value && integer_quantizer(*reader, 0) && integer_quantizer(*reader, 1);
}

}  // namespace optkit
