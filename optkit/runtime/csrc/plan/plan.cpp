#include "plan/plan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "plan/arrange.h"

namespace optkit {
namespace {

// Of a head: so many products of two 9-bit numbers still fit a 32-bit sum.
constexpr uint32_t kMaxIntegerSize = 1u << 14;

class Planner {
public:
    Planner(const Spec& spec, Plan& plan, bool chains)
        : spec_(spec), plan_(plan), chains_(chains), value_(spec.features.size()), folded_(spec.steps.size(), false) {
        for (uint32_t i = 0; i < spec.steps.size(); ++i) {
            value_[spec.steps[i].target].made_by = i;
            for (uint32_t source : spec.steps[i].sources)
                if (source < value_.size())
                    value_[source].readers.push_back(i);
        }
        for (size_t i = 0; i < spec.inputs.size(); ++i)
            value_[spec.inputs[i]].input = int(i);
        for (uint32_t output : spec.outputs)
            value_[output].output = true;
        size_t part = 0;
        for (const Step& step : spec.steps) {
            part_.push_back(step.op == Op::attention ? ++part : part);
            part += step.op == Op::attention;
        }
    }

    void run() {
        for (size_t i = 0; i < spec_.steps.size(); ++i)
            if (!folded_[i])
                emit(i);
        place();
    }

private:
    struct Value {
        std::vector<size_t> readers;  // steps
        uint32_t made_by = kNone;     // step
        int input = -1;
        bool output = false;
        size_t at = 0;                // the step with which it is computed, which may be earlier than its own
        bool ready = false;           // some action before the current one has computed or loaded it
        size_t segment = 0, first = 0, last = 0, last_segment = 0;
        bool shared = false;
        bool integers = false;        // int16 instead of floats
    };
    struct PanelLife {
        size_t segment, first, last;
    };
    using PanelKey = std::tuple<size_t, uint32_t, bool, bool, float, float, const float*>;

    // ---- emission -----------------------------------------------------------------------------------------------

    Segment& tokenwise() {
        if (plan_.segments.empty() || plan_.segments.back().attention >= 0)
            plan_.segments.emplace_back();
        return plan_.segments.back();
    }

    void push(Action action) { tokenwise().actions.push_back(action); }

    size_t now() {
        tokenwise();
        return plan_.segments.size() - 1;
    }

    void defined(uint32_t number) {
        Value& value = value_[number];
        value.ready = true;
        value.segment = value.last_segment = now();
        value.first = value.last = tokenwise().actions.size();
    }

    /// The action about to be pushed reads these values.
    void used(const std::vector<uint32_t>& numbers) {
        for (uint32_t number : numbers)
            if (!value_[number].ready) {  // an input, loaded when first needed
                defined(number);
                push({Action::load, size_t(value_[number].input), number});
            }
        for (uint32_t number : numbers) {
            Value& value = value_[number];
            value.shared |= value.segment != now();
            value.last = tokenwise().actions.size();
            value.last_segment = now();
        }
    }

    void emit(size_t i) {
        const Step& step = spec_.steps[i];
        if (step.op == Op::attention)
            return emit_attention(step);
        uint32_t made;
        if (step.op == Op::linear) {
            made = emit_linear(i);
        } else {
            Elementwise elementwise = describe(step, step.sources[0]);
            if (elementwise.other == kNone)
                used({elementwise.source});
            else
                used({elementwise.source, elementwise.other});
            made = elementwise.target = step.target;
            defined(made);
            plan_.elementwise.push_back(elementwise);
            push({Action::elementwise, plan_.elementwise.size() - 1});
        }
        if (made != kNone && value_[made].output)
            emit_stores(made);
    }

    void emit_stores(uint32_t number) {
        for (size_t i = 0; i < spec_.outputs.size(); ++i)
            if (spec_.outputs[i] == number) {
                used({number});
                push({Action::store, i, number});
            }
    }

    void emit_attention(const Step& step) {
        used({step.sources[0], step.sources[1], step.sources[2]});
        for (int i = 0; i < 3; ++i)
            value_[step.sources[i]].shared = true;
        AttentionPlan attention{step.sources[0], step.sources[1], step.sources[2], step.target, step.sources[3],
                                step.heads, spec_.features[step.target] / step.heads, step.scale, false};
        const Step* query = integers(step, 0);
        const Step* key = integers(step, 1);
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

    /// The FakeQuantize that makes the query (0) or key (1) of an attention, if its 8-bit numbers can be used as they are:
    /// a linear step comes just before, nothing else reads it, and zero is one of its steps.
    const Step* integers(const Step& attention, int which) const {
        const uint32_t number = attention.sources[which];
        const uint32_t size = spec_.features[number] / attention.heads;
        const Value& value = value_[number];
        if (size % 2 != 0 || size > kMaxIntegerSize || value.output || value.readers.size() != 1 || value.made_by == kNone)
            return nullptr;
        const Step& step = spec_.steps[value.made_by];
        if (step.op != Op::fake_quantize || step.levels != 256)
            return nullptr;
        const Value& before = value_[step.sources[0]];
        if (before.output || before.readers.size() != 1 || before.made_by == kNone ||
            spec_.steps[before.made_by].op != Op::linear || part_[before.made_by] != part_[value.made_by])
            return nullptr;
        const float zero = -step.low * 255.0f / (step.high - step.low);
        const bool exact = zero >= 0 && zero <= 255 && std::fabs(zero - std::nearbyint(zero)) < 1e-3f;
        return exact ? &step : nullptr;
    }

    /// Whether this value is a query or key that its attention wants as integers.
    bool wanted_as_integers(uint32_t number) const {
        const Value& value = value_[number];
        if (value.readers.size() != 1)
            return false;
        const Step& reader = spec_.steps[value.readers[0]];
        return reader.op == Op::attention && reader.sources[2] != number && integers(reader, 0) && integers(reader, 1);
    }

    Elementwise describe(const Step& step, uint32_t source) {
        Elementwise result;
        result.op = step.op;
        result.source = source;
        if (step.op == Op::add)
            result.other = step.sources[0] == source ? step.sources[1] : step.sources[0];
        result.activation = step.activation;
        result.first = keep(step.first);
        result.second = keep(step.second);
        result.low = step.low;
        result.high = step.high;
        result.levels = step.levels;
        result.epsilon = step.epsilon;
        return result;
    }

    const float* keep(const View<float>& numbers) {
        if (!numbers)
            return nullptr;
        const float*& kept = kept_[{numbers.data, numbers.size}];
        if (!kept) {
            plan_.numbers.emplace_back(new float[numbers.size]);
            std::copy(numbers.data, numbers.data + numbers.size, plan_.numbers.back().get());
            kept = plan_.numbers.back().get();
        }
        return kept;
    }

    uint32_t emit_linear(size_t i) {
        const Step& step = spec_.steps[i];
        LinearPlan linear;
        linear.source = step.sources[0];
        linear.layout = make_layout(step.weights, chains_);
        linear.dynamic = step.quantize == Quantize::dynamic;
        fold_numbers(step, linear);

        uint32_t current = step.target;
        value_[current].at = i;
        while (const Step* next = foldable(current, i)) {
            linear.after.push_back(describe(*next, current));
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
        used(read);
        if (linear.panel >= 0)
            panel_life_[size_t(linear.panel)].last = tokenwise().actions.size();

        const Step* reader = only_panel(current);
        if (reader) {
            linear.target_panel = make_panel(*reader, current, reader->weights.columns == 4);
            linear.own_sums = true;
        } else {
            linear.target = current;
            defined(current);
        }
        if (wanted_as_integers(current)) {
            const Elementwise& last = linear.after.back();
            linear.integers = linear.own_sums = value_[current].integers = true;
            linear.low = last.low;
            linear.inverse = 255.0f / (last.high - last.low);
            linear.zero = int32_t(std::nearbyint(-last.low * linear.inverse));
            linear.after.pop_back();
        }
        plan_.linears.push_back(std::move(linear));
        push({Action::linear, plan_.linears.size() - 1});
        return reader ? kNone : current;
    }

    /// The step that alone reads `value` and can be done row by row while linear step `i` makes it.
    const Step* foldable(uint32_t value, size_t i) {
        if (value_[value].output || value_[value].readers.size() != 1)
            return nullptr;
        const size_t reader = value_[value].readers[0];
        const Step& step = spec_.steps[reader];
        if (part_[reader] != part_[i])
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
    const Step* only_panel(uint32_t value) {
        const Value& facts = value_[value];
        if (facts.output || facts.readers.empty())
            return nullptr;
        const Step& first = spec_.steps[facts.readers[0]];
        for (size_t reader : facts.readers) {
            const Step& step = spec_.steps[reader];
            if (step.op != Op::linear || step.quantize != Quantize::fixed || folded_[reader] ||
                part_[reader] != part_[facts.at] || key(step, value) != key(first, value))
                return nullptr;
        }
        return &first;
    }

    PanelKey key(const Step& step, uint32_t source) const {
        const bool dynamic = step.quantize == Quantize::dynamic;
        return {plan_.segments.size(), source, dynamic, step.weights.columns == 4, dynamic ? 0.0f : step.low,
                dynamic ? 0.0f : step.high, step.channel_scale.data};
    }

    int panel(const Step& step, bool grouped) {
        tokenwise();
        const auto found = panels_.find(key(step, step.sources[0]));
        if (found != panels_.end())
            return found->second;
        used({step.sources[0]});
        const int number = make_panel(step, step.sources[0], grouped);
        push({Action::quantize, size_t(number), step.sources[0]});
        return number;
    }

    /// A new panel, defined by the action that is about to be pushed.
    int make_panel(const Step& step, uint32_t source, bool grouped) {
        tokenwise();
        const int number = int(plan_.panels.size());
        panels_[key(step, source)] = number;
        const size_t at = tokenwise().actions.size();
        panel_life_.push_back({now(), at, at});
        Panel panel;
        panel.source = source;
        panel.dynamic = step.quantize == Quantize::dynamic;
        panel.grouped = grouped;
        panel.channel_scale = keep(step.channel_scale);
        if (!panel.dynamic) {
            panel.lows.assign(kLanes, step.low);
            panel.inverses.assign(kLanes, 255.0f / (step.high - step.low));
        }
        plan_.panels.push_back(std::move(panel));
        return number;
    }

    // ---- places -------------------------------------------------------------------------------------------------

    void place() {
        plan_.places.resize(value_.size());
        std::vector<Lifetime> lives;
        std::vector<uint32_t> whose;
        for (uint32_t i = 0; i < value_.size(); ++i)
            if (value_[i].ready && value_[i].shared) {
                lives.push_back({value_[i].segment, value_[i].last_segment, padded(spec_.features[i]) / (value_[i].integers ? 2 : 1)});
                whose.push_back(i);
            }
        plan_.shared_features = arrange(lives);
        for (size_t i = 0; i < lives.size(); ++i)
            plan_.places[whose[i]] = {Place::shared, lives[i].offset};
        for (size_t segment = 0; segment < plan_.segments.size(); ++segment)
            plan_.scratch_floats = std::max(plan_.scratch_floats, place_scratch(segment));
    }

    size_t place_scratch(size_t segment) {
        std::vector<Lifetime> lives;
        std::vector<size_t*> offsets;
        for (uint32_t i = 0; i < value_.size(); ++i)
            if (value_[i].ready && !value_[i].shared && value_[i].segment == segment) {
                plan_.places[i].where = Place::scratch;
                lives.push_back({value_[i].first, value_[i].last, padded(spec_.features[i]) * kLanes});
                offsets.push_back(&plan_.places[i].offset);
            }
        for (size_t i = 0; i < plan_.panels.size(); ++i)
            if (panel_life_[i].segment == segment) {
                const size_t floats = plan_.panels[i].bytes(spec_.features[plan_.panels[i].source]) / 4 + 3 * kLanes;
                lives.push_back({panel_life_[i].first, panel_life_[i].last, (floats + 15) / 16 * 16});
                offsets.push_back(&plan_.panels[i].offset);
            }
        const auto& actions = plan_.segments[segment].actions;
        for (size_t at = 0; at < actions.size(); ++at)
            if (actions[at].kind == Action::linear && plan_.linears[actions[at].number].own_sums) {
                LinearPlan& linear = plan_.linears[actions[at].number];
                // With several chunks the sums of all outputs wait for the last one.
                const size_t rows = linear.layout.chunks.size() > 1 ? padded(linear.layout.out) : size_t(kBlock);
                lives.push_back({at, at, rows * kLanes});
                offsets.push_back(&linear.sums);
            }
        const size_t total = arrange(lives);
        for (size_t i = 0; i < lives.size(); ++i)
            *offsets[i] = lives[i].offset;
        return total;
    }

    const Spec& spec_;
    Plan& plan_;
    bool chains_;
    std::vector<Value> value_;
    std::vector<bool> folded_;
    std::vector<size_t> part_;  // of each step: steps of one part run on a tile together
    std::map<PanelKey, int> panels_;
    std::vector<PanelLife> panel_life_;
    std::map<std::pair<const float*, size_t>, const float*> kept_;
};

}  // namespace

Plan::Plan(const Spec& spec, const Kernels& chosen)
    : features(spec.features), inputs(spec.inputs), outputs(spec.outputs), kernels(&chosen) {
    Planner(spec, *this, chosen.chains).run();
}

}  // namespace optkit
