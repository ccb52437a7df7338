#include "engine/engine.h"

#include <algorithm>

#include "engine/masks.h"
#include "engine/pool.h"
#include "engine/profile.h"
#include "engine/progress.h"
#include "engine/tiling.h"
#include "plan/plan.h"

namespace optkit {
namespace {

using profile::Timer;

/// Outputs whose sums are worked on together: their floats stay in the first-level cache from one pass to the next.
constexpr uint32_t kEpilogueRows = 32;

/// One run: its memory, and what each tile does.
class Run {
public:
    Run(const Plan& plan, const Tiling& tiling, const std::vector<Input>& inputs, const std::vector<float*>& outputs,
        const Threads& threads, Workspace& workspace)
        : plan_(plan), kernels_(*plan.kernels), tiling_(tiling), inputs_(inputs), outputs_(outputs), threads_(threads),
          workspace_(workspace) {}

    void run() {
        const size_t scratch =
            std::max(plan_.scratch_floats, plan_.attentions.empty() ? 0 : tiling_.batch.length * kLanes);
        shared_ = workspace_.shared.reserve(tiling_.tiles() * plan_.shared_features * kLanes);
        workspace_.scratch.resize(std::max(workspace_.scratch.size(), size_t(threads_.count)));
        for (Buffer& buffer : workspace_.scratch)
            buffer.reserve(scratch);
        masks_ = prepare_masks(plan_, tiling_, inputs_, workspace_.masks);
        std::vector<Progress> progress(plan_.segments.size());
        for (size_t i = 0; i < progress.size(); ++i)
            progress[i].set_tasks(tasks(plan_.segments[i]));
        const auto work = [&](int thread) noexcept {
            float* own = workspace_.scratch[size_t(thread)].data();
            for (size_t i = 0; i < progress.size(); ++i)
                drain_segment(plan_.segments[i], progress[i], own);
        };
        if (threads_.count <= 1)
            work(0);
        else
            threads_.run(threads_.count, work);
    }

private:
    size_t tasks(const Segment& segment) const {
        return tiling_.tiles() * (segment.attention >= 0 ? plan_.attentions[size_t(segment.attention)].heads : 1);
    }

    // From here on nothing throws or allocates: an exception that leaves a thread of OpenVINO's pool ends the process.

    void drain_segment(const Segment& segment, Progress& progress, float* scratch) const noexcept {
        if (segment.attention >= 0)
            progress.drain([&](size_t task) { attention(plan_.attentions[size_t(segment.attention)], task, scratch); });
        else
            progress.drain([&](size_t tile) {
                for (const Action& action : segment.actions)
                    execute(action, tile, scratch);
            });
    }

    float* address(uint32_t value, size_t tile, float* scratch) const noexcept {
        const Place& place = plan_.places[value];
        if (place.where == Place::shared)
            return shared_ + (tile * plan_.shared_features + place.offset) * kLanes;
        return scratch + place.offset;
    }

    void execute(const Action& action, size_t tile, float* scratch) const noexcept {
        const int lanes = tiling_.lanes(tile), count = tiling_.count(tile);
        switch (action.kind) {
            case Action::load: {
                const Timer timer(profile::kLoad);
                const uint32_t features = plan_.features[action.value];
                const float* from = static_cast<const float*>(inputs_[action.number].data);
                kernels_.load(address(action.value, tile, scratch), from + tiling_.first_token(tile) * features,
                              features, count, lanes);
                break;
            }
            case Action::store: {
                const Timer timer(profile::kStore);
                const uint32_t features = plan_.features[action.value];
                kernels_.store(outputs_[action.number] + tiling_.first_token(tile) * features,
                               address(action.value, tile, scratch), features, count);
                break;
            }
            case Action::quantize: {
                const Timer timer(profile::kQuantize);
                quantize(plan_.panels[action.number], tile, lanes, scratch);
                break;
            }
            case Action::linear:
                linear(plan_.linears[action.number], tile, lanes, scratch);
                break;
            case Action::elementwise: {
                const Elementwise& step = plan_.elementwise[action.number];
                const Timer timer(step.op == Op::layer_norm ? profile::kLayerNorm : profile::kElementwise);
                const uint32_t rows = plan_.features[step.target];
                const float* other = step.other == kNone ? nullptr : address(step.other, tile, scratch);
                elementwise(step, address(step.target, tile, scratch), address(step.source, tile, scratch), other, 0,
                            rows, lanes);
                break;
            }
        }
    }

    /// `rows` features from `row` on: target, source and other point to the first of them.
    void elementwise(const Elementwise& step, float* target, const float* source, const float* other, uint32_t row,
                     uint32_t rows, int lanes) const noexcept {
        switch (step.op) {
            case Op::activation:
                return kernels_.activation(target, source, rows, lanes, step.activation);
            case Op::affine:
                return kernels_.affine(target, source, rows, lanes, step.first ? step.first + row : nullptr,
                                       step.second ? step.second + row : nullptr);
            case Op::fake_quantize:
                return kernels_.fake_quantize(target, source, rows, lanes, step.low, step.high, step.levels);
            case Op::add:
                return kernels_.add(target, source, other, rows, lanes);
            case Op::layer_norm:
                return kernels_.layer_norm(target, source, rows, lanes, step.first, step.second, step.epsilon);
            default:
                return;
        }
    }

    void quantize(const Panel& panel, size_t tile, int lanes, float* scratch) const noexcept {
        const uint32_t features = plan_.features[panel.source];
        const float* source = address(panel.source, tile, scratch);
        uint8_t* target = reinterpret_cast<uint8_t*>(scratch + panel.offset);
        const float *low = panel.lows.data(), *inverse = panel.inverses.data();
        if (panel.dynamic) {
            float* ranges = ranges_of(panel, scratch);
            kernels_.token_ranges(source, features, lanes, panel.channel_scale, ranges, ranges + kLanes,
                                  ranges + 2 * kLanes);
            low = ranges;
            inverse = ranges + kLanes;
        }
        (panel.grouped ? kernels_.quantize_panel4 : kernels_.quantize_panel1)(target, source, features, lanes,
                                                                              panel.channel_scale, low, inverse);
    }

    /// Low, inverse and step of each token's range, behind its panel.
    float* ranges_of(const Panel& panel, float* scratch) const noexcept {
        return scratch + panel.offset + panel.bytes(plan_.features[panel.source]) / sizeof(float);
    }

    void linear(const LinearPlan& step, size_t tile, int lanes, float* scratch) const noexcept {
        const Layout& layout = step.layout;
        const size_t chunks = layout.chunks.size();
        const void* source = step.panel >= 0
                                 ? static_cast<const void*>(scratch + plan_.panels[size_t(step.panel)].offset)
                                 : address(step.source, tile, scratch);
        float* sums = step.own_sums ? scratch + step.sums : address(step.target, tile, scratch);
        const bool one_block = step.own_sums && chunks == 1;  // the sums of a block are used up before the next
        const uint32_t height = layout.outputs_of_a_group(), step_groups = kBlockOutputs / height;
        for (size_t number = 0; number < chunks; ++number)
            for (uint32_t group = 0; group < layout.groups(); group += step_groups) {
                const uint32_t groups = std::min(step_groups, layout.groups() - group), first = group * height;
                float* block = sums + (one_block ? 0 : size_t(first) * kLanes);
                {
                    const Timer timer(profile::kProducts);
                    layout.kernel->run({layout.chunk(number), source, group, groups, lanes, number > 0, block});
                }
                if (number + 1 == chunks) {
                    const Timer timer(profile::kEpilogue);
                    const uint32_t outputs = std::min(kBlockOutputs, layout.out - first);
                    for (uint32_t part = 0; part < outputs; part += kEpilogueRows)
                        epilogue(step, block + size_t(part) * kLanes, first + part,
                                 std::min(kEpilogueRows, outputs - part), tile, lanes, scratch);
                }
            }
        if (profile::enabled.load(std::memory_order_relaxed))
            profile::multiply_adds += step.nonzeros * uint64_t(tiling_.count(tile));
    }

    /// What follows the sums of `rows` outputs from `first` on, in place.
    void epilogue(const LinearPlan& step, float* block, uint32_t first, uint32_t rows, size_t tile, int lanes,
                  float* scratch) const noexcept {
        if (step.layout.integer()) {
            ScaleArgs args{step.scales.data() + first, step.bias.data() + first};
            if (step.dynamic) {
                const float* ranges = ranges_of(plan_.panels[size_t(step.panel)], scratch);
                args.token_low = ranges;
                args.token_scale = ranges + 2 * kLanes;
                args.low_factor = step.low_factor.data() + first;
            }
            kernels_.scale(block, rows, lanes, args);
        } else {
            kernels_.affine(block, block, rows, lanes, nullptr, step.bias.data() + first);
        }
        for (const Elementwise& after : step.after) {
            const float* other =
                after.other == kNone ? nullptr : address(after.other, tile, scratch) + size_t(first) * kLanes;
            elementwise(after, block, block, other, first, rows, lanes);
        }
        if (step.integers) {
            int16_t* target = reinterpret_cast<int16_t*>(address(step.target, tile, scratch)) + size_t(first) * kLanes;
            kernels_.quantize_i16(target, block, rows, lanes, step.low, step.inverse, step.zero);
        }
        if (step.target_panel >= 0) {
            const Panel& panel = plan_.panels[size_t(step.target_panel)];
            uint8_t* target = reinterpret_cast<uint8_t*>(scratch + panel.offset) + size_t(first) * kLanes;
            (panel.grouped ? kernels_.quantize_panel4 : kernels_.quantize_panel1)(
                target, block, rows, lanes, panel.channel_scale ? panel.channel_scale + first : nullptr,
                panel.lows.data(), panel.inverses.data());
        }
    }

    void attention(const AttentionPlan& step, size_t task, float* scratch) const noexcept {
        const Timer timer(profile::kAttention);
        const size_t tile = task / step.heads, head = task % step.heads;
        const size_t sequence = tile / tiling_.per_sequence, first = sequence * tiling_.per_sequence;
        const size_t stride = plan_.shared_features * kLanes, offset = head * step.size * kLanes;
        AttentionArgs args{};
        args.integers = step.integers;
        args.query = address(step.query, first, scratch) + (step.integers ? offset / 2 : offset);
        args.key = address(step.key, first, scratch) + (step.integers ? offset / 2 : offset);
        args.value = address(step.value, first, scratch) + offset;
        args.target = address(step.target, tile, scratch) + offset;
        args.query_stride = args.key_stride = args.value_stride = stride;
        args.size = step.size;
        args.length = uint32_t(tiling_.batch.length);
        args.width = uint32_t(tiling_.width);
        args.tile = uint32_t(tile - first);
        args.lanes = tiling_.lanes(tile);
        args.scale = step.scale;
        args.scratch = scratch;
        if (step.mask != kNone) {
            const Mask& mask = masks_[step.mask];
            const size_t which = (mask.batches > 1 ? sequence : 0) * mask.heads + (mask.heads > 1 ? head : 0);
            if (mask.keys)
                args.key_mask = mask.keys + which * tiling_.batch.length;
            if (mask.full)
                args.mask = mask.full + ((which * tiling_.per_sequence + args.tile) * tiling_.batch.length) * kLanes;
        }
        kernels_.attention(args);
    }

    const Plan& plan_;
    const Kernels& kernels_;
    const Tiling tiling_;
    const std::vector<Input>& inputs_;
    const std::vector<float*>& outputs_;
    const Threads& threads_;
    Workspace& workspace_;
    std::vector<Mask> masks_;
    float* shared_ = nullptr;
};

}  // namespace

Engine::Engine(const uint8_t* bytes, size_t size, const Kernels& kernels)
    : plan_(new Plan(parse(bytes, size), kernels)), pool_(new Pool) {}

Engine::~Engine() = default;

const std::vector<uint32_t>& Engine::features() const { return plan_->features; }
const std::vector<uint32_t>& Engine::inputs() const { return plan_->inputs; }
const std::vector<uint32_t>& Engine::outputs() const { return plan_->outputs; }
bool Engine::has_attention() const { return !plan_->attentions.empty(); }

uint32_t Engine::heads_of(size_t input) const {
    for (const AttentionPlan& attention : plan_->attentions)
        if (attention.mask == plan_->inputs[input])
            return attention.heads;
    return 0;
}

void Engine::run(const Batch& batch, const std::vector<Input>& inputs, const std::vector<float*>& outputs,
                 const Threads& threads) const {
    if (batch.sequences == 0 || batch.length == 0)
        return;
    std::unique_ptr<Workspace> workspace = pool_->take();
    Run(*plan_, choose_tiling(batch, threads.count), inputs, outputs, threads, *workspace).run();
    pool_->give(std::move(workspace));
}

}  // namespace optkit
