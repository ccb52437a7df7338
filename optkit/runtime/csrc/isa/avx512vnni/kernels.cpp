// AVX-512 with VNNI (Cascade Lake and later, Zen 4).
#define OPTKIT_WIDTH 16

#include <immintrin.h>

#include "isa/kernels.h"

namespace optkit::isa::avx512vnni {
namespace {

#include "isa/shared/avx512.inl"

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = avx512_kernels();

}  // namespace optkit::isa::avx512vnni
