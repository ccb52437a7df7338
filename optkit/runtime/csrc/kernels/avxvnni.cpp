// AVX-VNNI (Alder Lake, Sierra Forest, Zen 5): AVX2 with exact dot products of four in one instruction.
#define OPTKIT_WIDTH 8

#include <immintrin.h>

#include <type_traits>

#include "kernels.h"

namespace optkit {
namespace {

#include "vector.inl"
#include "tile.inl"

/// Two int16 products each, added to 32 bits.
inline Ints add_products(Ints sums, Ints a, Ints b) {
    return (Ints)_mm256_dpwssd_avx_epi32((__m256i)sums, (__m256i)a, (__m256i)b);
}

#include "attention.inl"

struct Dot {
    static constexpr bool kChains = false;

    static __m256i add(__m256i sums, __m256i panel, __m256i weights) {
        return _mm256_dpbusd_avx_epi32(sums, panel, weights);
    }
};

#include "linear_x86.inl"
#include "single.inl"

}  // namespace

const Kernels kAvxVnniKernels = {
    "avxvnni", false, block4_256, element, element_rows4, single, single_rows4, scale, activation, affine,
    fake_quantize, add, layer_norm, quantize4, quantize1, center, range, attention, load, store, peak_256<12>};

}  // namespace optkit
