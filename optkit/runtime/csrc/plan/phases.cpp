#include "plan/phases.h"

#include <set>

namespace optkit {
namespace {

/// Values, and panels as numbers behind all values.
struct Access {
    std::vector<size_t> reads, writes;
};

Access access(const Plan& plan, const Action& action) {
    const size_t panels = plan.features.size();
    switch (action.kind) {
        case Action::load:
            return {{}, {action.value}};
        case Action::store:
            return {{action.value}, {}};
        case Action::quantize:
            return {{plan.panels[action.number].source}, {panels + action.number}};
        case Action::elementwise: {
            const Elementwise& step = plan.elementwise[action.number];
            Access result{{step.source, step.other, step.third}, {step.target}};
            if (step.panel >= 0)
                result.writes.push_back(panels + size_t(step.panel));
            return result;
        }
        case Action::linear: {
            const LinearPlan& linear = plan.linears[action.number];
            Access result;
            result.reads.push_back(linear.panel >= 0 ? panels + size_t(linear.panel) : linear.source);
            for (const Elementwise& after : linear.after)
                result.reads.push_back(after.other);
            result.writes.push_back(linear.target_panel >= 0 ? panels + size_t(linear.target_panel) : linear.target);
            return result;
        }
    }
    return {};
}

}  // namespace

void find_phases(Plan& plan) {
    for (Segment& segment : plan.segments) {
        std::set<size_t> written;
        size_t phase = 0;
        for (const Action& action : segment.actions) {
            const Access of = access(plan, action);
            for (size_t read : of.reads)
                if (written.count(read)) {
                    written.clear();
                    ++phase;
                    break;
                }
            written.insert(of.writes.begin(), of.writes.end());
            segment.phase_of.push_back(phase);
        }
        segment.phases = phase + 1;
    }
}

}  // namespace optkit
