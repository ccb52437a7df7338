#include "engine/schedule.h"

#include <cmath>
#include <vector>

namespace optkit {
namespace {

// Nanoseconds on a core of about 4 GHz with AVX-512. Only their ratios matter: they say which schedule is shorter.
constexpr double kProduct = 1.0 / 230;              // of a stored weight and a token
constexpr double kOutput = 0.1;                     // of what follows the sums, for an output of a token
constexpr double kNumber = 0.04;                    // of a step that reads and writes a number
constexpr double kAttention = 1.0 / 100;            // of a multiply-add
constexpr double kWait = 600, kWaitOfAThread = 30;  // for the other threads
// Of a full tile's time, for half of its tokens.
constexpr double kHalfTileTime = 0.6;
// Tiles that share the weights that a task reads, if there are enough.
constexpr size_t kMaxTilesOfATask = 2;

Tiling cut(const Batch& batch, int width) { return {batch, width, (batch.length + size_t(width) - 1) / size_t(width)}; }

double time_of_tile(const Plan& plan, const Action& action) {
    switch (action.kind) {
        case Action::linear: {
            const LinearPlan& linear = plan.linears[action.number];
            return kLanes * (double(linear.layout.weights()) * kProduct + double(linear.layout.out) * kOutput);
        }
        case Action::quantize:
            return kNumber * kLanes * plan.features[plan.panels[action.number].source];
        case Action::elementwise:
            return kNumber * kLanes * plan.features[plan.elementwise[action.number].target];
        default:
            return kNumber * kLanes * plan.features[action.value];
    }
}

double time_of_head(const AttentionPlan& attention, size_t length) {
    return 2.0 * kAttention * kLanes * double(length) * attention.size;
}

struct Team {
    double count;

    double wait() const { return count > 1 ? kWait + kWaitOfAThread * count : 0; }
    /// Of `tasks` of equal time.
    double share(size_t tasks, double time) const { return std::ceil(double(tasks) / count) * time + wait(); }
};

double time(const Plan& plan, const Schedule& schedule) {
    const Team team{double(schedule.threads)};
    const Tiling& tiling = schedule.tiling;
    const int lanes = tiling.batch.length > 16 ? tiling.width : 16;
    const double of_full = lanes > 16 ? 1.0 : kHalfTileTime;
    double total = 0;
    for (const Segment& segment : plan.segments) {
        if (segment.attention >= 0) {
            const AttentionPlan& attention = plan.attentions[size_t(segment.attention)];
            total +=
                team.share(tiling.tiles() * attention.heads, of_full * time_of_head(attention, tiling.batch.length));
            continue;
        }
        std::vector<double> times(segment.phases, 0.0), longest(segment.phases, 0.0);
        for (size_t i = 0; i < segment.actions.size(); ++i) {
            const double of_tile = of_full * time_of_tile(plan, segment.actions[i]);
            const size_t phase = segment.phase_of[i];
            times[phase] += of_tile * double(tiling.tiles());
            longest[phase] = std::max(longest[phase], of_tile / double(slices(plan, segment.actions[i], lanes)));
        }
        if (!schedule.split) {
            double of_all = 0;
            for (double each : times)
                of_all += each;
            total += team.share(tiling.tiles(), of_all / double(tiling.tiles()));
            continue;
        }
        for (size_t phase = 0; phase < segment.phases; ++phase) {
            // Tasks of about the longest's time: so many rounds of them.
            const double rounds = std::ceil(times[phase] / longest[phase] / schedule.threads - 1e-6);
            total += rounds * longest[phase] + team.wait();
        }
    }
    return total;
}

}  // namespace

size_t slices(const Plan& plan, const Action& action, int lanes) noexcept {
    const auto blocks = [](uint32_t features) {
        return (features + kBlockOutputs - 1) / kBlockOutputs;
    };
    switch (action.kind) {
        case Action::linear:
            return blocks(plan.linears[action.number].layout.out);
        case Action::quantize: {
            const Panel& panel = plan.panels[action.number];
            return panel.dynamic ? 1 : blocks(plan.features[panel.source]);
        }
        case Action::elementwise: {
            // A sum over features needs all of them, so LayerNorm is cut between tokens.
            const Elementwise& step = plan.elementwise[action.number];
            return step.op == Op::layer_norm ? size_t(lanes / 16) : blocks(plan.features[step.target]);
        }
        default:
            return 1;
    }
}

size_t Schedule::tasks(const Plan& plan, const Segment& segment, size_t phase) const noexcept {
    if (segment.attention >= 0)
        return tiling.tiles() * plan.attentions[size_t(segment.attention)].heads;
    if (!split)
        return (tiling.tiles() + tiles_of_a_task - 1) / tiles_of_a_task;
    size_t of_a_tile = 0;
    for (size_t i = 0; i < segment.actions.size(); ++i)
        if (segment.phase_of[i] == phase)
            of_a_tile += slices(plan, segment.actions[i], kLanes);
    return tiling.tiles() * of_a_tile;
}

Schedule choose_schedule(const Plan& plan, const Batch& batch, int threads) {
    Schedule best;
    // Threads beyond what the work can use would only lengthen the waits.
    for (int count = threads; count > 0; count /= 2)
        for (const int width : {32, 16})
            for (const bool split : {false, true}) {
                if (split && count == 1)
                    continue;
                Schedule schedule{cut(batch, width), split, 1, count};
                schedule.nanoseconds = time(plan, schedule);
                if (best.nanoseconds == 0 || schedule.nanoseconds < best.nanoseconds)
                    best = schedule;
            }
    const size_t of_a_thread = (best.tiling.tiles() + size_t(best.threads) - 1) / size_t(best.threads);
    for (size_t count = kMaxTilesOfATask; !best.split && count > 1; --count)
        if (of_a_thread % count == 0) {
            best.tiles_of_a_task = count;
            break;
        }
    return best;
}

}  // namespace optkit
