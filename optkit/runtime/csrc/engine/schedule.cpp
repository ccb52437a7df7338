#include "engine/schedule.h"

#include <cmath>
#include <vector>

#include "isa/table.h"

namespace optkit {
namespace {

// Nanoseconds on a core of kGigahertz; those of a vector are of 512 bits. Only their ratios matter: they say which
// schedule is shorter. What products take is said by the rates of their kernels (isa/sets.def).
constexpr double kGigahertz = 4.0;
constexpr double kOutput = 0.1;                      // of what follows the sums, for an output of a token
constexpr double kNumber = 0.04;                     // of a step that reads and writes a number
constexpr double kMoved = 0.1;                       // of a number that one thread writes and others read
constexpr double kAttention = 1.0 / 100;             // of a multiply-add
constexpr double kWait = 1000, kWaitOfAThread = 40;  // for the other threads
// Of a full tile's time, for half of its tokens.
constexpr double kHalfTileTime = 0.6;
// Of a byte of weights, read by one thread from the last cache, or from memory where all weights do not fit it.
constexpr double kCachedByte = 1.0 / 150, kMemoryByte = 1.0 / 12;
constexpr double kLastCache = 24e6;

Tiling cut(const Batch& batch, int width) { return {batch, width, (batch.length + size_t(width) - 1) / size_t(width)}; }

/// Times as long as with vectors of 512 bits.
double narrower(const Plan& plan) { return 512.0 / plan.kernels->vector_bits; }

/// Numbers of a token that an action writes.
double numbers(const Plan& plan, const Action& action) {
    switch (action.kind) {
        case Action::linear:
            return plan.linears[action.number].layout.out;
        case Action::quantize:
            return plan.features[plan.panels[action.number].source];
        case Action::elementwise:
            return plan.features[plan.elementwise[action.number].target];
        default:
            return plan.features[action.value];
    }
}

double time_of_tile(const Plan& plan, const Action& action) {
    const double of_outputs = kLanes * numbers(plan, action) * narrower(plan);
    if (action.kind != Action::linear)
        return kNumber * of_outputs;
    const Layout& layout = plan.linears[action.number].layout;
    const double of_weight = 1 / (kGigahertz * rates_of(*plan.kernels).of(*layout.kernel));
    return kLanes * double(layout.weights()) * of_weight + kOutput * of_outputs;
}

/// Of reading a layer's weights once.
double time_of_weights(const Plan& plan, const Action& action, double of_byte) {
    return action.kind == Action::linear ? of_byte * double(plan.linears[action.number].layout.bytes()) : 0.0;
}

double time_of_head(const Plan& plan, const AttentionPlan& attention, size_t length) {
    // Beside the two products of an attention those of relative positions: of queries with the distances of a tile, of
    // keys with half as many more than are of use.
    const size_t near = attention.keys_of_a_tile(length, kLanes);
    double products = 2.0 * double(near ? near : length);
    for (const RelativePlan& relative : attention.relatives)
        products += relative.of_keys ? 1.5 * double(length) : double(length + kLanes);
    return kAttention * narrower(plan) * kLanes * products * attention.size;
}

struct Team {
    double count;

    double wait() const { return count > 1 ? kWait + kWaitOfAThread * count : 0; }
    /// Of `tasks` of equal time.
    double share(size_t tasks, double time) const { return std::ceil(double(tasks) / count) * time + wait(); }
};

double time(const Plan& plan, const Schedule& schedule, double of_byte) {
    const Team team{double(schedule.threads)};
    const Tiling& tiling = schedule.tiling;
    const int lanes = tiling.batch.length > 16 ? tiling.width : 16;
    const double of_full = lanes > 16 ? 1.0 : kHalfTileTime;
    double total = 0;
    for (const Segment& segment : plan.segments) {
        if (segment.attention >= 0) {
            const AttentionPlan& attention = plan.attentions[size_t(segment.attention)];
            total += team.share(tiling.tiles() * attention.heads,
                                of_full * time_of_head(plan, attention, tiling.batch.length));
            continue;
        }
        double of_task = 0;
        const double moved = schedule.split ? kMoved * kLanes : 0;
        std::vector<double> times(segment.phases, 0.0), longest(segment.phases, 0.0);
        for (size_t i = 0; i < segment.actions.size(); ++i) {
            const Action& action = segment.actions[i];
            const double of_tile = of_full * (time_of_tile(plan, action) + moved * numbers(plan, action)),
                         of_weights = time_of_weights(plan, action, of_byte);
            of_task += double(schedule.tiles_of_a_task) * of_tile + of_weights;
            const double parts = double(slices(plan, action, lanes)), tiles = double(schedule.tiles_of(action));
            const double of_part = (tiles * of_tile + of_weights) / parts;
            times[segment.phase_of[i]] += of_part * parts * double(schedule.groups_of(action));
            longest[segment.phase_of[i]] = std::max(longest[segment.phase_of[i]], of_part);
        }
        if (!schedule.split) {
            const size_t tasks = (tiling.tiles() + schedule.tiles_of_a_task - 1) / schedule.tiles_of_a_task;
            total += team.share(tasks, of_task);
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
            const Elementwise& step = plan.elementwise[action.number];
            return step.across_features() ? size_t(lanes / 16) : blocks(plan.features[step.target]);
        }
        default:
            return 1;
    }
}

size_t Schedule::tiles_of(const Action& action) const noexcept {
    return action.kind == Action::linear ? std::min(tiles_of_a_task, tiling.tiles()) : 1;
}

size_t Schedule::groups_of(const Action& action) const noexcept {
    return (tiling.tiles() + tiles_of(action) - 1) / tiles_of(action);
}

size_t Schedule::tasks(const Plan& plan, const Segment& segment, size_t phase) const noexcept {
    if (segment.attention >= 0)
        return tiling.tiles() * plan.attentions[size_t(segment.attention)].heads;
    if (!split)
        return (tiling.tiles() + tiles_of_a_task - 1) / tiles_of_a_task;
    size_t count = 0;
    for (size_t i = 0; i < segment.actions.size(); ++i)
        if (segment.phase_of[i] == phase)
            count += groups_of(segment.actions[i]) * slices(plan, segment.actions[i], kLanes);
    return count;
}

Schedule choose_schedule(const Plan& plan, const Batch& batch, int threads) {
    double bytes = 0;
    for (const LinearPlan& linear : plan.linears)
        bytes += double(linear.layout.bytes());
    const double of_byte = bytes > kLastCache ? kMemoryByte : kCachedByte;
    Schedule best;
    // Threads beyond what the work can use would only lengthen the waits.
    for (int count = threads; count > 0; count /= 2)
        for (const int width : {32, 16})
            for (const bool split : {false, true})
                for (const size_t tiles : {1, 2, 4}) {
                    Schedule schedule{cut(batch, width), split, tiles, count};
                    if ((split && count == 1) || tiles > schedule.tiling.tiles())
                        continue;
                    schedule.nanoseconds = time(plan, schedule, of_byte);
                    if (best.nanoseconds == 0 || schedule.nanoseconds < best.nanoseconds)
                        best = schedule;
                }
    return best;
}

}  // namespace optkit
