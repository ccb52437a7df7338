#include "plan/plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "plan/describe.h"
#include "plan/graph.h"
#include "plan/numbers.h"
#include "plan/phases.h"
#include "plan/placement.h"

namespace optkit {
namespace {

class Planner {
public:
    Planner(const Spec& spec, Plan& plan)
        : spec_(spec), plan_(plan), graph_(spec), numbers_(plan.numbers), value_(spec.features.size()),
          folded_(spec.steps.size(), false) {}

    void run() {
        for (size_t i = 0; i < spec_.steps.size(); ++i)
            if (!folded_[i] && spec_.features[spec_.steps[i].target] > 0)
                emit(i);
        find_phases(plan_);
        place(spec_, {value_.begin(), value_.end()}, panel_use_, plan_);
    }

private:
    struct Value : ValueUse {
        size_t at = 0;          // the step with which it is computed, which may be earlier than its own
        bool bfloat16 = false;  // where that is allowed
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
                push({Action::load, size_t(graph_.value(number).input), number});
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
            Elementwise elementwise = describe_elementwise(spec_, step, step.sources[0], numbers_);
            std::vector<uint32_t> read{elementwise.source};
            for (uint32_t each : {elementwise.other, elementwise.third})
                if (each != kNone)
                    read.push_back(each);
            use(read);
            result = elementwise.target = step.target;
            define(result);
            if (step.op == Op::fake_quantize)
                elementwise.integers = value_[result].integers = graph_.read_as_integers(result);
            plan_.elementwise.push_back(elementwise);
            push({Action::elementwise, plan_.elementwise.size() - 1});
        }
        if (result != kNone && graph_.value(result).output)
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
        AttentionPlan attention = describe_attention(spec_, graph_, step);
        attention.bfloat16_values = value_[attention.value].bfloat16;
        std::vector<uint32_t> read{attention.query, attention.key, attention.value};
        for (const RelativePlan& relative : attention.relatives)
            read.push_back(relative.content);
        use(read);
        for (uint32_t number : read)
            value_[number].shared = true;
        plan_.attentions.push_back(std::move(attention));
        plan_.segments.emplace_back();
        plan_.segments.back().attention = int(plan_.attentions.size()) - 1;
        const size_t segment = plan_.segments.size() - 1;
        for (uint32_t number : read)
            value_[number].last_segment = segment;
        Value& target = value_[step.target];
        target.ready = target.shared = true;
        target.segment = target.last_segment = segment;
        if (graph_.value(step.target).output)
            emit_stores(step.target);
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
            linear.after.push_back(describe_elementwise(spec_, *next, current, numbers_));
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
        if (graph_.read_as_integers(current)) {
            const Elementwise& last = linear.after.back();
            linear.integers = linear.own_sums = value_[current].integers = true;
            linear.factor = 255.0f / (last.high - last.low);
            linear.shift = -last.low * linear.factor;
            linear.after.pop_back();
        }
        linear.bfloat16 = value_[current].bfloat16 = !reader && !linear.integers && graph_.values_alone(current);
        linear.one_pass = fits_one_pass(linear);
        plan_.linears.push_back(std::move(linear));
        push({Action::linear, plan_.linears.size() - 1});
        return reader ? kNone : current;
    }

    /// The step that alone reads `value` and can be done row by row while linear step `i` makes it.
    const Step* foldable(uint32_t value, size_t i) {
        const size_t reader = graph_.sole_reader(value, i);
        if (reader == kNone)
            return nullptr;
        const Step& step = spec_.steps[reader];
        switch (step.op) {
            case Op::activation:
            case Op::affine:
            case Op::fake_quantize:
                break;
            case Op::add:
            case Op::multiply: {
                const uint32_t other = step.sources[0] == value ? step.sources[1] : step.sources[0];
                if (graph_.value(other).input < 0 && !value_[other].ready)
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
        const Graph::Value& facts = graph_.value(value);
        if (facts.output || facts.readers.empty())
            return nullptr;
        const Step& first = spec_.steps[facts.readers[0]];
        for (size_t reader : facts.readers) {
            const Step& step = spec_.steps[reader];
            if (step.op != Op::linear || step.quantize != Quantize::fixed || folded_[reader] ||
                graph_.stage(reader) != graph_.stage(value_[value].at) || key(step, value) != key(first, value))
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
        if (Elementwise* norm = norm_just_before(step)) {
            norm->panel = number;
            panel_use_[size_t(number)].first -= 1;
            return number;
        }
        push({Action::quantize, size_t(number), step.sources[0]});
        return number;
    }

    /// The last action, if it is a norm that can write the panel of a linear step besides.
    Elementwise* norm_just_before(const Step& step) {
        const auto& actions = tile_segment().actions;
        if (step.quantize != Quantize::fixed || actions.empty() || actions.back().kind != Action::elementwise)
            return nullptr;
        Elementwise& last = plan_.elementwise[actions.back().number];
        const bool norm = last.op == Op::layer_norm || (last.op == Op::rms_norm && last.heads == 1);
        return norm && last.target == step.sources[0] && last.panel < 0 ? &last : nullptr;
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
        panel.factors.assign(padded(spec_.features[source]), inverse);
        for (size_t i = 0; i < step.channel_scale.size; ++i)
            panel.factors[i] *= step.channel_scale[i];
        panel.shift = panel.dynamic ? 0.0f : -step.low * inverse;
        plan_.panels.push_back(std::move(panel));
        return number;
    }

    const Spec& spec_;
    Plan& plan_;
    const Graph graph_;
    Numbers numbers_;
    std::vector<Value> value_;
    std::vector<bool> folded_;
    std::map<PanelKey, int> panels_;
    std::vector<PanelUse> panel_use_;
};

}  // namespace

Plan::Plan(const Spec& spec, const Kernels& chosen)
    : features(spec.features), inputs(spec.inputs), outputs(spec.outputs), uses(spec.uses), kernels(&chosen) {
    Planner(spec, *this).run();
    std::vector<Layout*> layouts;
    for (LinearPlan& linear : linears)
        layouts.push_back(&linear.layout);
    weights = move_together(layouts);
}

}  // namespace optkit
