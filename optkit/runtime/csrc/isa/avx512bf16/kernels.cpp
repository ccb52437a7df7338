// AVX-512 with VNNI and products of bfloat16 (Cooper Lake, Sapphire Rapids and later, Zen 4 and later), for attention
// where the precision that a model is compiled for allows them. All else is what it is without.
#define OPTKIT_WIDTH 16

#include <immintrin.h>

#include "isa/kernels.h"

namespace optkit::isa::avx512bf16 {
namespace {

#include "isa/shared/avx512.inl"
#include "isa/shared/pairs.inl"

#include "isa/shared/relative_bf16.inl"

#include "isa/shared/attention_bf16.inl"

constexpr Kernels make_kernels() {
    Kernels kernels = avx512_kernels();
    kernels.attention_bf16 = attention_bf16;
    kernels.to_bfloat16 = to_bfloat16;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::avx512bf16
