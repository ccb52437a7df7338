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

    static __m256i add_two(__m256i sums, __m256i a, __m256i w, __m256i b, __m256i x) {
        return add(add(sums, a, w), b, x);
    }
};

#include "linear_x86.inl"
#include "single.inl"

void block4(const LinearArgs& args) { args.lanes > 16 ? block4_lanes<4>(args) : block4_lanes<2>(args); }

uint64_t peak(uint64_t iterations, int32_t* sink) {
    __m256i sums[12] = {}, panel = _mm256_set1_epi8(3), weights = _mm256_set1_epi8(2);
    for (uint64_t i = 0; i < iterations; ++i) {
        for (auto& sum : sums) {
            __asm__ volatile("" : "+x"(panel), "+x"(sum));  // else the products are done once
            sum = Dot::add(sum, panel, weights);
        }
    }
    for (auto& sum : sums)
        *sink += _mm256_extract_epi32(sum, 0);
    return iterations * 12 * 32;
}

}  // namespace

const Kernels kAvxVnniKernels = {
    "avxvnni", false, block4, element, element_rows4, single, single_rows4, scale, activation, affine,
    fake_quantize, add, layer_norm, quantize4, quantize1, center, range, attention, load, store, peak};

}  // namespace optkit
