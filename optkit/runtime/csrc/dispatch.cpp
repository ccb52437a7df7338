#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>

namespace optkit {
namespace {

bool runs_here(const Kernels* kernels) {
#ifdef OPTKIT_AVX2
    if (kernels == &kAvx2Kernels)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#ifdef OPTKIT_AVXVNNI
    if (kernels == &kAvxVnniKernels)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avxvnni");
#endif
#ifdef OPTKIT_AVX512VNNI
    if (kernels == &kAvx512VnniKernels)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
#endif
    return kernels == &kScalarKernels;
}

}  // namespace

const std::vector<const Kernels*>& compiled() {
    static const std::vector<const Kernels*> all = {
        &kScalarKernels,
#ifdef OPTKIT_AVX2
        &kAvx2Kernels,
#endif
#ifdef OPTKIT_AVXVNNI
        &kAvxVnniKernels,
#endif
#ifdef OPTKIT_AVX512VNNI
        &kAvx512VnniKernels,
#endif
    };
    return all;
}

std::vector<const Kernels*> supported() {
    std::vector<const Kernels*> result;
    for (const Kernels* kernels : compiled())
        if (runs_here(kernels))
            result.push_back(kernels);
    return result;
}

const Kernels& chosen() {
    const std::vector<const Kernels*> candidates = supported();
    const char* wanted = std::getenv("OPTKIT_ISA");
    if (!wanted || !*wanted)
        return *candidates.back();
    std::string names;
    for (const Kernels* kernels : candidates) {
        if (std::string(wanted) == kernels->name)
            return *kernels;
        names += (names.empty() ? "" : ", ") + std::string(kernels->name);
    }
    throw std::runtime_error("OPTKIT_ISA is '" + std::string(wanted) + "', this CPU and build run: " + names);
}

}  // namespace optkit
