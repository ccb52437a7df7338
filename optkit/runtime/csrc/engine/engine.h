// Runs a program: plans its steps once, then executes them tile by tile on as many threads as it is given.
// Knows nothing of OpenVINO, so that it can be tested and fuzzed alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "format/spec.h"
#include "isa/kernels.h"

namespace optkit {

/// One of the op's inputs. Values are float32 rows of tokens, of all sequences or of one that serves all; a mask is
/// (batch or 1, heads or 1, length or 1, length or 1). A table of relative positions is float32 (1, heads, rows,
/// features of a head), its places are int32 (1, 1, 1, 2 x length - 1): the row for each distance of query and key,
/// from 1 - length up.
struct Input {
    const void* data = nullptr;
    size_t tokens = 0;              // values: sequences x length, or length
    bool boolean = false;           // mask: bytes, non-zero where a key takes part; else float32 that is added
    size_t dims[4] = {1, 1, 1, 1};  // of all but values
};

/// What an input has to be.
struct InputKind {
    Use use = Use::none;           // none: a value, or of no use
    uint32_t heads = 0, size = 0;  // that it serves: a mask and a table; features of a head: a table
};

/// Sequences and their tokens. Without attention in the program, one sequence of all tokens will do.
struct Batch {
    size_t sequences = 0, length = 0;

    bool operator==(const Batch& other) const { return sequences == other.sequences && length == other.length; }
};

/// Calls its second argument with 0 .. its first - 1, each once, on as many threads as there are.
struct Threads {
    int count = 1;
    std::function<void(int, const std::function<void(int)>&)> run;
};

struct Plan;
class Pool;

class Engine {
public:
    /// @throws FormatError if the bytes are no valid program.
    Engine(const uint8_t* bytes, size_t size, const Kernels& kernels);
    ~Engine();

    const std::vector<uint32_t>& features() const;  // of each value, 0 for masks
    const std::vector<uint32_t>& inputs() const;
    const std::vector<uint32_t>& outputs() const;
    /// Whether the inputs have to be (batch, length, features).
    bool has_attention() const;
    /// What input number `input` is for, to check its shape.
    InputKind kind_of(size_t input) const;

    /// Computes the outputs, (sequences x length, features) each. Safe to call from several threads at once; the result
    /// does not depend on the number of threads.
    /// @throws std::out_of_range if a place is none of its table.
    /// @param allow_bf16  whether products between int8 layers may be of bfloat16, where the kernels have such.
    void run(const Batch& batch, const std::vector<Input>& inputs, const std::vector<float*>& outputs,
             const Threads& threads, bool allow_bf16 = false) const;

private:
    std::unique_ptr<const Plan> plan_;
    std::unique_ptr<Pool> pool_;  // run is const: a run takes memory of its own
};

}  // namespace optkit
