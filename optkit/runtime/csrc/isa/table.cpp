#include "isa/table.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace optkit {

// Weak: null where engine.cmake left a set's kernels out.
#define OPTKIT_CPU_FEATURE(compiler, proc)
#define OPTKIT_INSTRUCTION_SET(name, ...)               \
    namespace isa::name {                               \
    extern const Kernels kernels __attribute__((weak)); \
    }
#include "isa/sets.def"
#undef OPTKIT_CPU_FEATURE
#undef OPTKIT_INSTRUCTION_SET

const std::vector<InstructionSet>& instruction_sets() {
#define OPTKIT_CPU_FEATURE(compiler, proc) CpuFeature{proc, [] { return __builtin_cpu_supports(compiler) != 0; }},
#define OPTKIT_BLOCK4_RATES(...) {__VA_ARGS__}
#define OPTKIT_RATES(...) Rates{__VA_ARGS__}
#define OPTKIT_INSTRUCTION_SET(name, features, options, rates, rates_with_amx) \
    InstructionSet{#name, {features}, &isa::name::kernels, rates, rates_with_amx},
    static const std::vector<InstructionSet> sets = {
#include "isa/sets.def"
    };
    return sets;
}

double Rates::of(const LinearKernel& kernel) const {
    if (kernel.form == Form::block4)
        return block4[__builtin_ctz(kernel.height)];
    return (kernel.form == Form::element ? element : single) * (kernel.height > 1 ? tall : 1.0);
}

const Rates& rates_of(const Kernels& kernels) {
    const auto& sets = instruction_sets();
    const auto row = std::find_if(sets.begin(), sets.end(), [&](const auto& set) { return set.kernels == &kernels; });
    return (row == sets.end() ? sets.front() : *row).rates;
}

bool InstructionSet::supported() const {
    return kernels &&
           std::all_of(features.begin(), features.end(), [](const CpuFeature& each) { return each.present(); }) &&
           (!kernels->permitted || kernels->permitted());
}

const InstructionSet& selected_instruction_set() {
    const char* variable = std::getenv("OPTKIT_ISA");
    const std::string wanted = variable ? variable : "";
    const InstructionSet* found = nullptr;
    std::string names;
    for (const InstructionSet& set : instruction_sets())
        if (set.supported()) {
            if (wanted.empty() ? !set.kernels->for_tests : wanted == set.name)
                found = &set;
            if (!set.kernels->for_tests)
                names += (names.empty() ? "" : ", ") + std::string(set.name);
        }
    if (!found)
        throw std::runtime_error("OPTKIT_ISA is '" + wanted + "', this CPU and build run: " + names);
    return *found;
}

}  // namespace optkit
