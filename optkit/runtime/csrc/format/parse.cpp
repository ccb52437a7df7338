#include <cmath>
#include <optional>

#include "format/sections.h"
#include "format/spec.h"
#include "format/terms.h"

namespace optkit {
namespace {

constexpr size_t kHeader = 64, kStep = 96;
// Far above any model, and low enough that no product of two leaves 64 bits.
constexpr uint32_t kMaxCount = 1u << 20, kMaxFeatures = 1u << 24;
// Of all values together: a tile of them takes 128 bytes a feature.
constexpr uint64_t kMaxAllFeatures = 1u << 26;
// 65,536 x 255 x 128 still fits a 32-bit sum.
constexpr uint32_t kMaxIntegerInputs = 1u << 16;
// Of one layer, zeros inside of blocks included: its entries, of which some are split in two, are counted in 32 bits.
constexpr uint64_t kMaxStoredWeights = 1u << 30;

class Reader {
public:
    Reader(const uint8_t* bytes, size_t size) : bytes_(bytes, size) {}

    Spec read() {
        check(bytes_.size() >= kHeader, "it is shorter than its header");
        check(bytes_.begin_with("OPTKPROG"), "it does not begin with OPTKPROG");
        const uint32_t version = u32(8);
        if (version != 1)
            throw FormatError("the packed program has format " + std::to_string(version) +
                              ", this library reads 1: use the optkit that baked the model, or bake it again");
        const uint32_t values = u32(12), steps = u32(16), sections = u32(20), inputs = u32(24), outputs = u32(28);
        for (uint32_t count : {values, steps, sections, inputs, outputs})
            check(count <= kMaxCount, "a count is out of range");
        check(bytes_.load<uint64_t>(32) == bytes_.size(), "its length is not what its header says");
        const size_t tables = kHeader + 4 * (size_t(values) + inputs + outputs);
        bytes_.find(tables + kStep * size_t(steps), sections);

        Spec spec;
        size_t at = kHeader;
        uint64_t all_features = 0;
        for (uint32_t i = 0; i < values; ++i, at += 4) {
            spec.features.push_back(u32(at));
            check(spec.features.back() <= kMaxFeatures, "a value has too many features");
            all_features += spec.features.back();
        }
        check(all_features <= kMaxAllFeatures, "its values have too many features");
        known_.assign(values, false);
        spec.uses.assign(values, Use::none);
        for (uint32_t i = 0; i < inputs; ++i, at += 4) {
            spec.inputs.push_back(u32(at));
            check(spec.inputs.back() < values, "an input is no value");
            check(!known_[spec.inputs.back()], "an input is given twice");
            known_[spec.inputs.back()] = true;
        }
        for (uint32_t i = 0; i < outputs; ++i, at += 4)
            spec.outputs.push_back(u32(at));
        check(inputs > 0 && outputs > 0 && steps > 0, "it has no input, no output or no step");
        check(spec.features[spec.inputs[0]] > 0, "its first input is a mask");
        spec_ = &spec;
        terms_.emplace(spec, known_);
        for (uint32_t i = 0; i < steps; ++i)
            spec.steps.push_back(step(tables + kStep * size_t(i)));
        std::vector<bool> computed(values, false);
        for (const Step& each : spec.steps)
            computed[each.target] = true;
        for (uint32_t output : spec.outputs)
            check(output < values && computed[output], "an output is never computed");
        return spec;
    }

private:
    uint32_t u32(size_t at) const { return bytes_.u32(at); }

    uint32_t source(uint32_t number) const {
        check(number < known_.size() && known_[number], "a step uses a value before it is computed");
        check(spec_->features[number] > 0, "a step computes with a mask");
        return spec_->features[number];
    }

    Step step(size_t at) {
        Step step;
        step.op = Op(u32(at));
        for (int i = 0; i < 4; ++i)
            step.sources[i] = u32(at + 4 + 4 * i);
        step.target = u32(at + 20);
        uint32_t integers[6], numbers[8];
        float floats[4];
        bytes_.load(integers, at + 24);
        bytes_.load(floats, at + 48);
        bytes_.load(numbers, at + 64);
        for (float number : floats)
            check(std::isfinite(number), "a step has a number that is not finite");
        check(step.target < known_.size() && !known_[step.target], "a step computes a value that is already there");
        for (int i = sources(step.op); i < 4; ++i)
            check(step.sources[i] == kNone, "a step has too many sources");
        const uint32_t out = spec_->features[step.target];
        if (Terms::made_by(step.op)) {
            check(out == 0, "what is added to scores has features");
            terms_->make(step, step.op == Op::relative ? relative(step, integers, floats) : 0);
            known_[step.target] = true;
            return step;
        }
        const uint32_t in = source(step.sources[0]);
        check(out > 0, "a step computes a mask");
        if (step.op != Op::linear)
            check(in == out, "a step changes the number of features");
        switch (step.op) {
            case Op::linear:
                linear(step, in, out, integers, floats, numbers);
                break;
            case Op::activation:
                check(integers[0] >= 1 && integers[0] <= 6, "an activation is unknown");
                step.activation = ActivationKind(integers[0]);
                break;
            case Op::affine:
            case Op::layer_norm:
                step.first = bytes_.view<float>(numbers[0], in);
                step.second = bytes_.view<float>(numbers[1], in);
                step.epsilon = floats[0];
                check(step.epsilon >= 0, "an epsilon is negative");
                break;
            case Op::fake_quantize:
                step.levels = integers[0];
                step.low = floats[0];
                step.high = floats[1];
                check(step.levels >= 2 && step.levels <= 65536, "a range has too few or too many levels");
                check_range(step);
                break;
            case Op::add:
            case Op::multiply:
                check(source(step.sources[1]) == in, "a step combines values of different features");
                break;
            case Op::rms_norm:
                heads(step, in, integers);
                step.first = bytes_.view<float>(numbers[0], in);
                step.epsilon = floats[0];
                check(step.epsilon >= 0, "an epsilon is negative");
                break;
            case Op::rotary:
                heads(step, in, integers);
                step.interleaved = integers[1] != 0;
                check(integers[1] <= 1 && in / step.heads % 2 == 0, "a rotation is of no pairs of features");
                for (int i = 1; i < 3; ++i)
                    check(source(step.sources[i]) == in / step.heads, "a rotation's table does not fit a head");
                break;
            case Op::attention:
                attention(step, in, integers, floats);
                break;
            default:
                fail("a step is of an unknown kind");
        }
        known_[step.target] = true;
        return step;
    }

    static int sources(Op op) {
        switch (op) {
            case Op::attention:
                return 4;
            case Op::rotary:
            case Op::relative:
                return 3;
            case Op::add:
            case Op::multiply:
            case Op::bias:
                return 2;
            default:
                return 1;
        }
    }

    static void heads(Step& step, uint32_t features, const uint32_t* integers) {
        step.heads = integers[0];
        check(step.heads > 0 && features % step.heads == 0, "the heads do not divide the features");
    }

    static void check_range(const Step& step) {
        check(step.low < step.high && std::isfinite(step.high - step.low), "a range is empty, or too wide for float32");
    }

    void attention(Step& step, uint32_t features, const uint32_t* integers, const float* floats) {
        heads(step, features, integers);
        step.key_heads = integers[1] == 0 ? step.heads : integers[1];
        check(step.key_heads <= step.heads && step.heads % step.key_heads == 0, "heads share no whole number of keys");
        step.left = integers[2] - 1;  // 0: any distance, kNone
        step.right = integers[3] - 1;
        const uint32_t shared = features / step.heads * step.key_heads;
        check(source(step.sources[1]) == shared && source(step.sources[2]) == shared,
              "query, key and value have different features");
        step.scale = floats[0];
        if (step.sources[3] != kNone)
            terms_->add_to_scores(step.sources[3], step.heads, features / step.heads);
    }

    /// @return the features of the content.
    uint32_t relative(Step& step, const uint32_t* integers, const float* floats) const {
        const uint32_t features = source(step.sources[0]);
        heads(step, features, integers);
        check(integers[1] <= 1, "relative positions are of queries or of keys");
        step.of_keys = integers[1] == 1;
        step.scale = floats[0];
        return features;
    }

    void linear(Step& step, uint32_t in, uint32_t out, const uint32_t* integers, const float* floats,
                const uint32_t* numbers) const {
        PackedWeights& weights = step.weights;
        weights.out = integers[0];
        weights.in = integers[1];
        weights.rows = integers[2];
        weights.columns = integers[3];
        check(weights.out == out && weights.in == in, "a layer's shape is not that of its values");
        check(weights.rows >= 1 && weights.rows <= 32 && (weights.rows & (weights.rows - 1)) == 0,
              "a block's height is not 1, 2, 4, 8, 16 or 32");
        check(integers[4] <= 1 && integers[5] <= 2, "a layer's type is unknown");
        weights.single = integers[4] == 1;
        step.quantize = Quantize(integers[5]);
        check(weights.columns == 1 || (weights.columns == 4 && !weights.single), "a block's width is not 1 or 4");
        check((step.quantize == Quantize::none) == weights.single, "a layer's weights and activations do not fit");
        check(in <= kMaxIntegerInputs, "a layer has too many inputs");

        const uint64_t groups = (uint64_t(out) + weights.rows - 1) / weights.rows;
        const uint32_t width = (in + weights.columns - 1) / weights.columns;
        weights.pointers = bytes_.view<uint32_t>(numbers[0], groups + 1);
        check(bool(weights.pointers), "a layer has no pointers");
        const uint64_t blocks = bytes_.bytes(numbers[1]) / sizeof(uint16_t);
        check(blocks <= kMaxStoredWeights / (weights.rows * weights.columns), "a layer has too many weights");
        weights.indices = bytes_.view<uint16_t>(numbers[1], blocks);
        if (weights.single)
            weights.floats = bytes_.view<float>(numbers[2], blocks * weights.rows * weights.columns);
        else
            weights.bytes = bytes_.view<int8_t>(numbers[2], blocks * weights.rows * weights.columns);
        check(weights.single ? bool(weights.floats) : bool(weights.bytes), "a layer has no weights");
        check(weights.pointers[0] == 0 && weights.pointers[groups] == blocks, "a layer's pointers miss its blocks");
        for (uint64_t group = 0; group < groups; ++group) {
            const uint32_t begin = weights.pointers[group], end = weights.pointers[group + 1];
            check(begin <= end && end <= blocks, "a layer's pointers do not ascend");
            for (uint32_t block = begin; block < end; ++block) {
                check(weights.indices[block] < width, "a block lies outside its matrix");
                check(block == begin || weights.indices[block - 1] < weights.indices[block], "blocks do not ascend");
            }
        }
        step.scales = bytes_.view<float>(numbers[3], out);
        step.bias = bytes_.view<float>(numbers[4], out);
        step.channel_scale = bytes_.view<float>(numbers[5], in);
        check(bool(step.scales) != weights.single, "only int8 weights have scales, and all have");
        step.low = floats[0];
        step.high = floats[1];
        if (step.quantize == Quantize::fixed)
            check_range(step);
    }

    Sections bytes_;
    std::vector<bool> known_;
    Spec* spec_ = nullptr;
    std::optional<Terms> terms_;
};

}  // namespace

Spec parse(const uint8_t* bytes, size_t size) {
    if (reinterpret_cast<uintptr_t>(bytes) % alignof(uint64_t) != 0)
        fail("it is not aligned");
    return Reader(bytes, size).read();
}

}  // namespace optkit
