#include "random_run.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

namespace fuzz {
namespace {

constexpr uint32_t kUntouched = 0xFFBADBADu;  // a NaN that no arithmetic makes

constexpr size_t kRelativeRows = 5;  // of every table of relative positions

float number(Random& random) {
    static const float odd[] = {0.0f,
                                1e-40f,
                                1e30f,
                                -3.4e38f,
                                std::numeric_limits<float>::infinity(),
                                -std::numeric_limits<float>::infinity(),
                                std::numeric_limits<float>::quiet_NaN()};
    if (random.chance(2))
        return odd[random.below(sizeof odd / sizeof *odd)];
    return float(int64_t(random.next() >> 40) - (1 << 23)) / float(1 << 21);
}

}  // namespace

std::vector<const optkit::InstructionSet*> supported_sets() {
    std::vector<const optkit::InstructionSet*> found;
    for (const optkit::InstructionSet& set : optkit::instruction_sets())
        if (set.supported())
            found.push_back(&set);
    return found;
}

RandomRun::RandomRun(const optkit::Engine& engine, Random random, size_t most_tokens)
    : engine_(engine), batch_{1, random.below(most_tokens)}, inputs_(engine.inputs().size()), floats_(inputs_.size()),
      booleans_(inputs_.size()), places_(inputs_.size()), allow_bf16_(random.chance(50)) {
    const auto& features = engine.features();
    if (engine.has_attention())
        batch_ = {random.below(4), random.below(most_tokens / 2 + 5)};
    const size_t tokens = batch_.sequences * batch_.length;
    for (size_t i = 0; i < inputs_.size(); ++i) {
        optkit::Input& input = inputs_[i];
        // Of one sequence that serves all, or of all.
        input.tokens = engine.has_attention() && i > 0 && random.chance(30) ? batch_.length : tokens;
        size_t size = input.tokens * features[engine.inputs()[i]];
        const optkit::InputKind kind = engine.kind_of(i);
        if (kind.use == optkit::Use::table) {
            input.dims[1] = kind.heads;
            input.dims[2] = kRelativeRows;
            input.dims[3] = kind.size;
            size = size_t(kind.heads) * kRelativeRows * kind.size;
        } else if (kind.use == optkit::Use::places) {
            input.dims[3] = batch_.length == 0 ? 0 : 2 * batch_.length - 1;
            for (size_t j = 0; j < input.dims[3]; ++j)
                places_[i].push_back(int32_t(random.below(kRelativeRows)));
            places_[i].shrink_to_fit();
            input.data = places_[i].data();
            continue;
        } else if (features[engine.inputs()[i]] == 0) {
            const uint32_t heads = kind.heads;
            input.dims[0] = random.chance(50) ? batch_.sequences : 1;
            input.dims[1] = random.chance(50) && heads ? heads : 1;
            input.dims[2] = random.chance(50) ? batch_.length : 1;
            input.dims[3] = random.chance(80) ? batch_.length : 1;
            size = std::accumulate(input.dims, input.dims + 4, size_t(1), std::multiplies<size_t>());
            input.boolean = random.chance(50);
        }
        if (input.boolean) {
            for (size_t j = 0; j < size; ++j)
                booleans_[i].push_back(uint8_t(random.below(3)));
            booleans_[i].shrink_to_fit();
            input.data = booleans_[i].data();
        } else {
            for (size_t j = 0; j < size; ++j)
                floats_[i].push_back(number(random));
            floats_[i].shrink_to_fit();
            input.data = floats_[i].data();
        }
    }
    float untouched;
    std::memcpy(&untouched, &kUntouched, sizeof untouched);
    for (uint32_t output : engine.outputs())
        outputs_.emplace_back(tokens * features[output], untouched);
}

void RandomRun::run(int threads, std::function<void(int, const std::function<void(int)>&)> start) {
    std::vector<float*> outputs;
    for (auto& output : outputs_)
        outputs.push_back(output.data());
    engine_.run(batch_, inputs_, outputs, {threads, std::move(start)}, allow_bf16_);
}

bool RandomRun::all_written() const {
    for (const auto& output : outputs_)
        for (const float& value : output)
            if (std::memcmp(&value, &kUntouched, sizeof value) == 0)
                return false;
    return true;
}

bool RandomRun::same_outputs(const RandomRun& other) const {
    for (size_t i = 0; i < outputs_.size(); ++i) {
        if (outputs_[i].size() != other.outputs_[i].size())
            return false;
        for (size_t j = 0; j < outputs_[i].size(); ++j) {
            const float left = outputs_[i][j], right = other.outputs_[i][j];
            if (std::memcmp(&left, &right, sizeof left) != 0 && !(std::isnan(left) && std::isnan(right)))
                return false;
        }
    }
    return true;
}

}  // namespace fuzz
