// AVX-VNNI (Alder Lake, Sierra Forest, Zen 5): AVX2 with exact dot products of four in one instruction.
#define OPTKIT_WIDTH 8

#include <immintrin.h>

#include "isa/kernels.h"

namespace optkit::isa::avxvnni {
namespace {

#include "isa/shared/vector.inl"
#include "isa/shared/tile.inl"

/// Two int16 products each, added to 32 bits.
inline Ints add_products(Ints sums, Ints a, Ints b) {
    return (Ints)_mm256_dpwssd_avx_epi32((__m256i)sums, (__m256i)a, (__m256i)b);
}

#include "isa/shared/attention.inl"

struct Dot {
    static constexpr bool kSaturatingI16 = false;

    static __m256i add(__m256i sums, __m256i panel, __m256i weights) {
        return _mm256_dpbusd_avx_epi32(sums, panel, weights);
    }
};

#include "isa/shared/linear_256.inl"
#include "isa/shared/single.inl"

constexpr Kernels make_kernels() {
    Kernels kernels = tile_kernels();
    kernels.saturating_i16 = Dot::kSaturatingI16;
    kernels.block4 = block4_256;
    kernels.element = element;
    kernels.element_rows4 = element_rows4;
    kernels.single = single;
    kernels.single_rows4 = single_rows4;
    kernels.attention = attention;
    kernels.peak = peak_256<12>;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::avxvnni
