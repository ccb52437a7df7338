#include "plan/plan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "plan/phases.h"
#include "plan/placement.h"

namespace optkit {
namespace {

// Of a head: so many products of two 9-bit numbers still fit a 32-bit sum.
constexpr uint32_t kMaxIntegerHeadSize = 1u << 14;

class Planner {
public:
    Planner(const Spec& spec, Plan& plan)
        : spec_(spec), plan_(plan), value_(spec.features.size()), folded_(spec.steps.size(), false) {
        for (uint32_t i = 0; i < spec.steps.size(); ++i) {
            value_[spec.steps[i].target].producer = i;
            for (uint32_t source : spec.steps[i].sources)
                if (source < value_.size())
                    value_[source].readers.push_back(i);
        }
        for (size_t i = 0; i < spec.inputs.size(); ++i)
            value_[spec.inputs[i]].input = int(i);
        for (uint32_t output : spec.outputs)
            value_[output].output = true;
        size_t stage = 0;
        for (const Step& step : spec.steps) {
            stage_.push_back(step.op == Op::attention ? ++stage : stage);
            stage += step.op == Op::attention;
        }
    }

    void run() {
        for (size_t i = 0; i < spec_.steps.size(); ++i)
            if (!folded_[i])
                emit(i);
        find_phases(plan_);
        place(spec_, {value_.begin(), value_.end()}, panel_use_, plan_);
    }

private:
    struct Value : ValueUse {
        std::vector<size_t> readers;  // steps
        uint32_t producer = kNone;    // step
        int input = -1;
        bool output = false;
        size_t at = 0;  // the step with which it is computed, which may be earlier than its own
    };
    using PanelKey = std::tuple<size_t, uint32_t, bool, bool, float, float, const float*>;

    Segment& tile_segment() {
        if (plan_.segments.empty() || plan_.segments.back().attention >= 0)
            plan_.segments.emplace_back();
        return plan_.segments.back();
    }

    void push(Action action) { tile_segment().actions.push_back(action); }

    size_t current_segment() {
        tile_segment();
        return plan_.segments.size() - 1;
    }

    void define(uint32_t number) {
        Value& value = value_[number];
        value.ready = true;
        value.segment = value.last_segment = current_segment();
        value.first = value.last = tile_segment().actions.size();
    }

    /// The action about to be pushed reads these values.
    void use(const std::vector<uint32_t>& numbers) {
        for (uint32_t number : numbers)
            if (!value_[number].ready) {  // an input, loaded when first needed
                define(number);
                push({Action::load, size_t(value_[number].input), number});
            }
        for (uint32_t number : numbers) {
            Value& value = value_[number];
            value.shared |= value.segment != current_segment();
            value.last = tile_segment().actions.size();
            value.last_segment = current_segment();
        }
    }

    void emit(size_t i) {
        const Step& step = spec_.steps[i];
        if (step.op == Op::attention)
            return emit_attention(step);
        uint32_t result;
        if (step.op == Op::linear) {
            result = emit_linear(i);
        } else {
            Elementwise elementwise = describe_elementwise(step, step.sources[0]);
            if (elementwise.other == kNone)
                use({elementwise.source});
            else
                use({elementwise.source, elementwise.other});
            result = elementwise.target = step.target;
            define(result);
            plan_.elementwise.push_back(elementwise);
            push({Action::elementwise, plan_.elementwise.size() - 1});
        }
        if (result != kNone && value_[result].output)
            emit_stores(result);
    }

    void emit_stores(uint32_t number) {
        for (size_t i = 0; i < spec_.outputs.size(); ++i)
            if (spec_.outputs[i] == number) {
                use({number});
                push({Action::store, i, number});
            }
    }

    void emit_attention(const Step& step) {
        use({step.sources[0], step.sources[1], step.sources[2]});
        for (int i = 0; i < 3; ++i)
            value_[step.sources[i]].shared = true;
        AttentionPlan attention{step.sources[0],
                                step.sources[1],
                                step.sources[2],
                                step.target,
                                step.heads,
                                spec_.features[step.target] / step.heads,
                                step.sources[3] == kNone ? -1 : value_[step.sources[3]].input,
                                step.scale,
                                false};
        const Step* query = integer_quantizer(step, 0);
        const Step* key = integer_quantizer(step, 1);
        if (query && key) {
            attention.integers = true;
            attention.scale *= (query->high - query->low) / 255.0f * ((key->high - key->low) / 255.0f);
        }
        plan_.attentions.push_back(attention);
        plan_.segments.emplace_back();
        plan_.segments.back().attention = int(plan_.attentions.size()) - 1;
        const size_t segment = plan_.segments.size() - 1;
        for (int i = 0; i < 3; ++i)
            value_[step.sources[i]].last_segment = segment;
        Value& target = value_[step.target];
        target.ready = target.shared = true;
        target.segment = target.last_segment = segment;
        if (target.output)
            emit_stores(step.target);
    }

    /// The FakeQuantize that makes the query (0) or key (1) of an attention, if its 8-bit numbers can be used as they
    /// are: a linear step comes just before, nothing else reads it, and zero is one of its steps.
    const Step* integer_quantizer(const Step& attention, int which) const {
        const uint32_t number = attention.sources[which];
        const uint32_t size = spec_.features[number] / attention.heads;
        const Value& value = value_[number];
        if (size % 2 != 0 || size > kMaxIntegerHeadSize || value.output || value.readers.size() != 1 ||
            value.producer == kNone)
            return nullptr;
        const Step& step = spec_.steps[value.producer];
        if (step.op != Op::fake_quantize || step.levels != 256)
            return nullptr;
        const Value& before = value_[step.sources[0]];
        if (before.output || before.readers.size() != 1 || before.producer == kNone ||
            spec_.steps[before.producer].op != Op::linear || stage_[before.producer] != stage_[value.producer])
            return nullptr;
        const float zero = -step.low * 255.0f / (step.high - step.low);
        const bool exact = zero >= 0 && zero <= 255 && std::fabs(zero - std::nearbyint(zero)) < 1e-3f;
        return exact ? &step : nullptr;
    }

    /// Whether this value is a query or key that its attention wants as integers.
    bool read_as_integers(uint32_t number) const {
        const Value& value = value_[number];
        if (value.readers.size() != 1)
            return false;
        const Step& reader = spec_.steps[value.readers[0]];
        return reader.op == Op::attention && reader.sources[2] != number && integer_quantizer(reader, 0) &&
               integer_quantizer(reader, 1);
    }

    Elementwise describe_elementwise(const Step& step, uint32_t source) {
        Elementwise result;
        result.op = step.op;
        result.source = source;
        if (step.op == Op::add)
            result.other = step.sources[0] == source ? step.sources[1] : step.sources[0];
        result.activation = step.activation;
        result.first = copy_numbers(step.first);
        result.second = copy_numbers(step.second);
        if (step.op == Op::layer_norm && !result.first)
            result.first = same_numbers(spec_.features[step.target], 1.0f);
        if (step.op == Op::layer_norm && !result.second)
            result.second = same_numbers(spec_.features[step.target], 0.0f);
        result.low = step.low;
        result.high = step.high;
        result.levels = step.levels;
        result.epsilon = step.epsilon;
        return result;
    }

    const float* copy_numbers(const View<float>& numbers) {
        if (!numbers)
            return nullptr;
        const float*& copy = copies_[{numbers.data, numbers.size}];
        if (!copy) {
            plan_.numbers.emplace_back(new float[numbers.size]);
            std::copy(numbers.data, numbers.data + numbers.size, plan_.numbers.back().get());
            copy = plan_.numbers.back().get();
        }
        return copy;
    }

    const float* same_numbers(uint32_t count, float number) {
        plan_.numbers.emplace_back(new float[count]);
        std::fill_n(plan_.numbers.back().get(), count, number);
        return plan_.numbers.back().get();
    }

    uint32_t emit_linear(size_t i) {
        const Step& step = spec_.steps[i];
        LinearPlan linear;
        linear.source = step.sources[0];
        linear.layout = make_layout(step.weights, *plan_.kernels);
        linear.dynamic = step.quantize == Quantize::dynamic;
        fold_scales(step, linear);

        uint32_t current = step.target;
        value_[current].at = i;
        while (const Step* next = foldable(current, i)) {
            linear.after.push_back(describe_elementwise(*next, current));
            current = next->target;
            value_[current].at = i;
        }
        std::vector<uint32_t> read;
        if (linear.layout.integer())
            linear.panel = panel(step, linear.layout.grouped());
        else
            read.push_back(linear.source);
        for (const Elementwise& after : linear.after)
            if (after.other != kNone)
                read.push_back(after.other);
        use(read);
        if (linear.panel >= 0)
            panel_use_[size_t(linear.panel)].last = tile_segment().actions.size();

        const Step* reader = panel_reader(current);
        if (reader) {
            linear.target_panel = make_panel(*reader, current, reader->weights.columns == 4);
            linear.own_sums = true;
        } else {
            linear.target = current;
            define(current);
        }
        if (read_as_integers(current)) {
            const Elementwise& last = linear.after.back();
            linear.integers = linear.own_sums = value_[current].integers = true;
            linear.factor = 255.0f / (last.high - last.low);
            linear.shift = -last.low * linear.factor;
            linear.zero = int32_t(std::nearbyint(linear.shift));
            linear.after.pop_back();
        }
        linear.one_pass = fits_one_pass(linear);
        plan_.linears.push_back(std::move(linear));
        push({Action::linear, plan_.linears.size() - 1});
        return reader ? kNone : current;
    }

    static bool fits_one_pass(const LinearPlan& linear) {
        const bool scaled = linear.layout.integer() && !linear.dynamic;
        if (linear.after.empty())
            return scaled || (linear.target_panel < 0 && !linear.integers);
        const Op op = linear.after[0].op;
        return linear.after.size() == 1 && (op == Op::activation || op == Op::add) && !linear.integers &&
               (scaled || linear.target_panel < 0);
    }

    /// The step that alone reads `value` and can be done row by row while linear step `i` makes it.
    const Step* foldable(uint32_t value, size_t i) {
        if (value_[value].output || value_[value].readers.size() != 1)
            return nullptr;
        const size_t reader = value_[value].readers[0];
        const Step& step = spec_.steps[reader];
        if (stage_[reader] != stage_[i])
            return nullptr;
        switch (step.op) {
            case Op::activation:
            case Op::affine:
            case Op::fake_quantize:
                break;
            case Op::add: {
                const uint32_t other = step.sources[0] == value ? step.sources[1] : step.sources[0];
                if (value_[other].input < 0 && !value_[other].ready)
                    return nullptr;
                break;
            }
            default:
                return nullptr;
        }
        folded_[reader] = true;
        return &step;
    }

    /// A linear step such that all readers of `value` want the panel that it wants; null if `value` itself is needed.
    const Step* panel_reader(uint32_t value) {
        const Value& facts = value_[value];
        if (facts.output || facts.readers.empty())
            return nullptr;
        const Step& first = spec_.steps[facts.readers[0]];
        for (size_t reader : facts.readers) {
            const Step& step = spec_.steps[reader];
            if (step.op != Op::linear || step.quantize != Quantize::fixed || folded_[reader] ||
                stage_[reader] != stage_[facts.at] || key(step, value) != key(first, value))
                return nullptr;
        }
        return &first;
    }

    PanelKey key(const Step& step, uint32_t source) const {
        const bool dynamic = step.quantize == Quantize::dynamic;
        return {plan_.segments.size(),
                source,
                dynamic,
                step.weights.columns == 4,
                dynamic ? 0.0f : step.low,
                dynamic ? 0.0f : step.high,
                step.channel_scale.data};
    }

    int panel(const Step& step, bool grouped) {
        tile_segment();
        const auto found = panels_.find(key(step, step.sources[0]));
        if (found != panels_.end())
            return found->second;
        use({step.sources[0]});
        const int number = make_panel(step, step.sources[0], grouped);
        if (Elementwise* norm = layer_norm_just_before(step)) {
            norm->panel = number;
            panel_use_[size_t(number)].first -= 1;
            return number;
        }
        push({Action::quantize, size_t(number), step.sources[0]});
        return number;
    }

    /// The last action, if it is a LayerNorm that can write the panel of a linear step besides.
    Elementwise* layer_norm_just_before(const Step& step) {
        const auto& actions = tile_segment().actions;
        if (step.quantize != Quantize::fixed || actions.empty() || actions.back().kind != Action::elementwise)
            return nullptr;
        Elementwise& last = plan_.elementwise[actions.back().number];
        return last.op == Op::layer_norm && last.target == step.sources[0] && last.panel < 0 ? &last : nullptr;
    }

    /// A new panel, defined by the action that is about to be pushed.
    int make_panel(const Step& step, uint32_t source, bool grouped) {
        tile_segment();
        const int number = int(plan_.panels.size());
        panels_[key(step, source)] = number;
        const size_t at = tile_segment().actions.size();
        panel_use_.push_back({current_segment(), at, at});
        Panel panel;
        panel.source = source;
        panel.dynamic = step.quantize == Quantize::dynamic;
        panel.grouped = grouped;
        const float inverse = panel.dynamic ? 1.0f : 255.0f / (step.high - step.low);
        panel.factors.assign(spec_.features[source], inverse);
        for (size_t i = 0; i < step.channel_scale.size; ++i)
            panel.factors[i] *= step.channel_scale[i];
        panel.shift = panel.dynamic ? 0.0f : -step.low * inverse;
        plan_.panels.push_back(std::move(panel));
        return number;
    }

    const Spec& spec_;
    Plan& plan_;
    std::vector<Value> value_;
    std::vector<bool> folded_;
    std::vector<size_t> stage_;  // of each step: those between two attentions, which run on a tile together
    std::map<PanelKey, int> panels_;
    std::vector<PanelUse> panel_use_;
    std::map<std::pair<const float*, size_t>, const float*> copies_;
};

}  // namespace

Plan::Plan(const Spec& spec, const Kernels& chosen)
    : features(spec.features), inputs(spec.inputs), outputs(spec.outputs), kernels(&chosen) {
    Planner(spec, *this).run();
}

}  // namespace optkit
