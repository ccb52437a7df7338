#include "plan/placement.h"

#include <algorithm>

#include "plan/offsets.h"

namespace optkit {
namespace {

constexpr size_t kFloatsOfALine = 16;

size_t place_shared(const Spec& spec, const std::vector<ValueUse>& values, Plan& plan) {
    std::vector<Lifetime> lives;
    std::vector<size_t> numbers;
    for (size_t i = 0; i < values.size(); ++i)
        if (values[i].ready && values[i].shared) {
            const size_t features = padded(spec.features[i]) / (values[i].integers ? 4 : 1);
            lives.push_back({values[i].segment, values[i].last_segment, features});
            numbers.push_back(i);
        }
    const size_t total = assign_offsets(lives);
    for (size_t i = 0; i < lives.size(); ++i)
        plan.places[numbers[i]] = {Place::shared, lives[i].offset};
    return total;
}

size_t place_scratch(const Spec& spec, const std::vector<ValueUse>& values, const std::vector<PanelUse>& panels,
                     size_t segment, Plan& plan) {
    std::vector<Lifetime> lives;
    std::vector<size_t*> offsets;
    const std::vector<size_t>& phase_of = plan.segments[segment].phase_of;
    const auto live = [&](size_t first, size_t last, size_t floats, size_t* offset) {
        lives.push_back({phase_of[first], phase_of[last], floats});
        offsets.push_back(offset);
    };
    for (size_t i = 0; i < values.size(); ++i)
        if (values[i].ready && !values[i].shared && values[i].segment == segment) {
            plan.places[i].where = Place::scratch;
            live(values[i].first, values[i].last, padded(spec.features[i]) * kLanes, &plan.places[i].offset);
        }
    for (size_t i = 0; i < panels.size(); ++i)
        if (panels[i].segment == segment) {
            const size_t floats = plan.panels[i].bytes(spec.features[plan.panels[i].source]) / 4 + 3 * kLanes;
            live(panels[i].first, panels[i].last, (floats + kFloatsOfALine - 1) / kFloatsOfALine * kFloatsOfALine,
                 &plan.panels[i].offset);
        }
    const auto& actions = plan.segments[segment].actions;
    for (size_t at = 0; at < actions.size(); ++at)
        if (actions[at].kind == Action::linear) {
            LinearPlan& linear = plan.linears[actions[at].number];
            // With several chunks the sums of all outputs wait for the last one.
            if (linear.own_sums && linear.layout.chunks.size() > 1)
                live(at, at, padded(linear.layout.out) * kLanes, &linear.sums);
        }
    const size_t total = assign_offsets(lives);
    for (size_t i = 0; i < lives.size(); ++i)
        *offsets[i] = lives[i].offset;
    return total;
}

}  // namespace

void place(const Spec& spec, const std::vector<ValueUse>& values, const std::vector<PanelUse>& panels, Plan& plan) {
    plan.places.resize(values.size());
    plan.shared_features = place_shared(spec, values, plan);
    for (size_t segment = 0; segment < plan.segments.size(); ++segment)
        plan.scratch_floats = std::max(plan.scratch_floats, place_scratch(spec, values, panels, segment, plan));
}

}  // namespace optkit
