// The table of instruction sets (sets.def): which kernels there are, which this CPU can run, which are used.
#pragma once

#include <string>
#include <vector>

#include "isa/kernels.h"

namespace optkit {

/// A capability of a CPU.
struct CpuFeature {
    const char* name;  // as Linux says in /proc/cpuinfo
    bool (*present)();
};

/// Heights of int8 blocks: 1 << 0 to 1 << 5 outputs.
constexpr int kBlockHeights = 6;

/// Multiply-adds per cycle of one core, for the cost model (optkit/runtime/planning/costs.py).
struct Rates {
    double block4[kBlockHeights] = {};  // of blocks of 1, 2, 4, 8, 16, 32 outputs x 4 inputs
    double element = 0, single = 0, openvino_int8 = 0, openvino_fp32 = 0, tall = 0;

    bool known() const { return block4[0] > 0; }
    /// Of the stored weights of a kernel.
    double of(const LinearKernel& kernel) const;
};

/// One row.
struct InstructionSet {
    const char* name;
    std::vector<CpuFeature> features;  // that its kernels need
    const Kernels* kernels;            // null where the compiler did not know its features
    Rates rates, rates_with_amx;

    /// Whether its kernels are compiled in, and this CPU and its operating system support them.
    bool supported() const;
};

/// All rows, slowest first.
const std::vector<InstructionSet>& instruction_sets();

/// Of the row that `kernels` are of.
const Rates& rates_of(const Kernels& kernels);

/// The fastest supported set, or the one that the environment variable OPTKIT_ISA names.
/// @throws std::runtime_error if OPTKIT_ISA names none that can run here.
const InstructionSet& selected_instruction_set();

}  // namespace optkit
