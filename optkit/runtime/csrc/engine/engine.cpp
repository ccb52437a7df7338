#include "engine/engine.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "engine/pool.h"
#include "engine/progress.h"
#include "engine/schedule.h"
#include "engine/tile_work.h"
#include "plan/plan.h"

namespace optkit {
namespace {

/// Memory of one thread: the sums of a block of outputs.
constexpr size_t kOwnFloats = size_t(kBlockOutputs) * kLanes;

void check_places(const Input& places, const Input& table) {
    const auto* numbers = static_cast<const int32_t*>(places.data);
    for (size_t i = 0; i < places.dims[3]; ++i)
        if (numbers[i] < 0 || size_t(numbers[i]) >= table.dims[2])
            throw std::out_of_range("optkit: a table of " + std::to_string(table.dims[2]) +
                                    " relative positions has no row " + std::to_string(numbers[i]));
}

/// One run: its memory and its tasks.
class Run {
public:
    Run(const Plan& plan, const Schedule& schedule, const std::vector<Input>& inputs,
        const std::vector<float*>& outputs, const Threads& threads, bool allow_bf16, Workspace& workspace)
        : plan_(plan), kernels_(*plan.kernels), schedule_(schedule), tiling_(schedule_.tiling), threads_(threads),
          workspace_(workspace), work_(plan, tiling_, inputs, outputs, allow_bf16,
                                       workspace.shared.reserve(tiling_.tiles() * plan.shared_features * kLanes)) {}

    void run() {
        // Behind the memory of its own, a thread has that of the tiles of a task; with slices, tiles have theirs.
        const size_t tiles = schedule_.split ? 0 : schedule_.tiles_of_a_task;
        size_t scratch = kOwnFloats + tiles * plan_.scratch_floats;
        for (const AttentionPlan& step : plan_.attentions)
            scratch = std::max(
                scratch, attention_floats(step) + kLanes * step.keys_of_a_tile(tiling_.batch.length, tiling_.width));
        tiles_ = workspace_.tiles.reserve(schedule_.split ? tiling_.tiles() * plan_.scratch_floats : 0);
        workspace_.scratch.resize(std::max(workspace_.scratch.size(), size_t(schedule_.threads)));
        for (Buffer& buffer : workspace_.scratch)
            buffer.reserve(scratch);
        std::vector<Step> steps;
        for (const Segment& segment : plan_.segments)
            for (size_t phase = 0; phase < (schedule_.split ? segment.phases : 1); ++phase)
                steps.push_back({&segment, phase});
        std::vector<Progress> progress(steps.size());
        for (size_t i = 0; i < progress.size(); ++i)
            progress[i].set_tasks(schedule_.tasks(plan_, *steps[i].segment, steps[i].phase));
        const auto work = [&](int thread) noexcept {
            float* own = workspace_.scratch[size_t(thread)].data();
            if (kernels_.enter)
                kernels_.enter();
            for (size_t i = 0; i < progress.size(); ++i)
                progress[i].drain([&](size_t task) { perform(steps[i], task, own); });
            if (kernels_.leave)
                kernels_.leave();
        };
        if (schedule_.threads <= 1)
            work(0);
        else
            threads_.run(schedule_.threads, work);
    }

private:
    /// What threads do before they wait for each other.
    struct Step {
        const Segment* segment;
        size_t phase;
    };

    // From here on nothing throws or allocates.

    void perform(const Step& step, size_t task, float* own) const noexcept {
        const Segment& segment = *step.segment;
        if (segment.attention >= 0)
            return work_.attention(plan_.attentions[size_t(segment.attention)], task, own);
        if (schedule_.split)
            return perform_slice(step, task, own);
        const size_t first = task * schedule_.tiles_of_a_task;
        const size_t last = std::min(first + schedule_.tiles_of_a_task, tiling_.tiles());
        // All tiles of a task do an action before any does the next: its weights then come from a nearer cache.
        for (const Action& action : segment.actions) {
            const bool strips = action.kind == Action::linear && plan_.linears[action.number].layout.wide_strips();
            const size_t step = strips ? last - first : 1;
            for (size_t tile = first; tile < last; tile += step)
                work_.execute(action, {tile, step, own + kOwnFloats + (tile - first) * plan_.scratch_floats, own});
        }
    }

    void perform_slice(const Step& step, size_t task, float* own) const noexcept {
        const Segment& segment = *step.segment;
        for (size_t i = 0; i < segment.actions.size(); ++i) {
            if (segment.phase_of[i] != step.phase)
                continue;
            const Action& action = segment.actions[i];
            const size_t count = slices(plan_, action, kLanes), groups = schedule_.groups_of(action);
            if (task < count * groups) {
                const size_t tile = task % groups * schedule_.tiles_of(action);
                const size_t tiles = std::min(schedule_.tiles_of(action), tiling_.tiles() - tile);
                return work_.execute(action,
                                     {tile, tiles, tiles_ + tile * plan_.scratch_floats, own, task / groups, count});
            }
            task -= count * groups;
        }
    }

    const Plan& plan_;
    const Kernels& kernels_;
    const Schedule schedule_;
    const Tiling& tiling_;
    const Threads& threads_;
    Workspace& workspace_;
    const TileWork work_;
    float* tiles_ = nullptr;
};

}  // namespace

Engine::Engine(const uint8_t* bytes, size_t size, const Kernels& kernels)
    : plan_(new Plan(parse(bytes, size), kernels)), pool_(new Pool) {}

Engine::~Engine() = default;

const std::vector<uint32_t>& Engine::features() const { return plan_->features; }
const std::vector<uint32_t>& Engine::inputs() const { return plan_->inputs; }
const std::vector<uint32_t>& Engine::outputs() const { return plan_->outputs; }
bool Engine::has_attention() const { return !plan_->attentions.empty(); }

InputKind Engine::kind_of(size_t input) const {
    InputKind kind{plan_->uses[plan_->inputs[input]]};
    for (const AttentionPlan& attention : plan_->attentions) {
        for (int mask : attention.masks)
            if (mask == int(input))
                kind.heads = attention.heads;
        for (const RelativePlan& relative : attention.relatives)
            if (relative.table == int(input)) {
                kind.heads = attention.heads;
                kind.size = attention.size;
            }
    }
    return kind;
}

void Engine::run(const Batch& batch, const std::vector<Input>& inputs, const std::vector<float*>& outputs,
                 const Threads& threads, bool allow_bf16) const {
    if (batch.sequences == 0 || batch.length == 0)
        return;
    for (const AttentionPlan& attention : plan_->attentions)
        for (const RelativePlan& relative : attention.relatives)
            check_places(inputs[size_t(relative.places)], inputs[size_t(relative.table)]);
    std::unique_ptr<Workspace> workspace = pool_->take();
    Schedule& schedule = workspace->schedule;
    if (!(schedule.tiling.batch == batch && workspace->threads == threads.count)) {
        schedule = choose_schedule(*plan_, batch, threads.count);
        workspace->threads = threads.count;
    }
    Run(*plan_, schedule, inputs, outputs, threads, allow_bf16, *workspace).run();
    pool_->give(std::move(workspace));
}

}  // namespace optkit
