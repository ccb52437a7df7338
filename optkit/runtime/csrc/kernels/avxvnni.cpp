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

void block4(const LinearArgs& args) { args.lanes > 16 ? block4_lanes<4>(args) : block4_lanes<2>(args); }

uint64_t peak(uint64_t iterations, int32_t* sink) {
    constexpr int kSums = 12;
    // All different, so that none is computed for another.
    __m256i sums[kSums], weights[kSums], panel = _mm256_set1_epi8(3);
    for (int j = 0; j < kSums; ++j) {
        sums[j] = _mm256_set1_epi32(j);
        weights[j] = _mm256_set1_epi8(char(j + 1));
    }
    for (uint64_t i = 0; i < iterations; ++i) {
        __asm__ volatile("" : "+x"(panel));  // else the products are moved out of the loop
        for (int j = 0; j < kSums; ++j)
            sums[j] = Dot::add(sums[j], panel, weights[j]);
    }
    for (int j = 0; j < kSums; ++j)
        *sink += _mm256_extract_epi32(sums[j], 0);
    return iterations * kSums * 32;
}

}  // namespace

const Kernels kAvxVnniKernels = {
    "avxvnni", false, block4, element, element_rows4, single, single_rows4, scale, activation, affine,
    fake_quantize, add, layer_norm, quantize4, quantize1, center, range, attention, load, store, peak};

}  // namespace optkit
