// Runs of a program on random inputs, on memory of exactly the right size.
#pragma once

#include <functional>
#include <vector>

#include "engine/engine.h"
#include "isa/table.h"
#include "mutation.h"

namespace fuzz {

/// The instruction sets that this CPU and this build have.
std::vector<const optkit::InstructionSet*> supported_sets();

class RandomRun {
public:
    /// @param most_tokens  of the batch.
    RandomRun(const optkit::Engine& engine, Random random, size_t most_tokens);
    RandomRun(const RandomRun&) = delete;
    RandomRun& operator=(const RandomRun&) = delete;

    bool allows_bf16() const noexcept { return allow_bf16_; }
    void run(int threads, std::function<void(int, const std::function<void(int)>&)> start);

    /// Whether every number of the outputs was written by `run`.
    bool all_written() const;
    /// Whether the outputs are those of another, bit for bit, whatever the bits of a NaN.
    bool same_outputs(const RandomRun& other) const;

private:
    const optkit::Engine& engine_;
    optkit::Batch batch_;
    std::vector<optkit::Input> inputs_;
    std::vector<std::vector<float>> floats_;
    std::vector<std::vector<uint8_t>> booleans_;
    std::vector<std::vector<int32_t>> places_;
    std::vector<std::vector<float>> outputs_;
    bool allow_bf16_;
};

}  // namespace fuzz
