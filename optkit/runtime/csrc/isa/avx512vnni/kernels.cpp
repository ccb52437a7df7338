// AVX-512 with VNNI (Cascade Lake and later, Zen 4): 16 tokens a vector, exact dot products of four in one instruction.
#define OPTKIT_WIDTH 16

#include <immintrin.h>

#include "isa/kernels.h"

namespace optkit::isa::avx512vnni {
namespace {

#include "isa/shared/vector.inl"
#include "isa/shared/tile.inl"

/// Two int16 products each, added to 32 bits.
inline Ints add_products(Ints sums, Ints a, Ints b) {
    return (Ints)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)a, (__m512i)b);
}

#include "isa/shared/attention.inl"

struct Dot {
    static constexpr bool kSaturatingI16 = false;

    static __m256i add(__m256i sums, __m256i panel, __m256i weights) {
        return _mm256_dpbusd_epi32(sums, panel, weights);
    }
};

#include "isa/shared/elements_256.inl"

struct Vector {
    static constexpr int kTokens = 16, kSums = 16;
    using Type = __m512i;
    static Type load(const void* from) { return _mm512_loadu_si512(from); }
    static Type broadcast(int32_t number) { return _mm512_set1_epi32(number); }
    static Type add(Type sums, Type panel, Type weights) { return _mm512_dpbusd_epi32(sums, panel, weights); }
    static void store(void* to, Type value) { _mm512_storeu_si512(to, value); }
};

#include "isa/shared/blocks.inl"
#include "isa/shared/single.inl"

constexpr LinearKernel linear[] = {{Form::block4, 1, 4, block4<1, 4, 1>},
                                   {Form::block4, 2, 4, block4<2, 4, 2>},
                                   {Form::block4, 4, 2, block4<4, 2, 4>},
                                   {Form::block4, 8, 1, block4<8, 1, 8>},
                                   {Form::block4, 16, 1, block4<16, 1, 8>},
                                   {Form::block4, 32, 1, block4<32, 1, 8>},
                                   {Form::element, 1, 1, element},
                                   {Form::element, 4, 1, element_rows4},
                                   {Form::single, 1, 1, single},
                                   {Form::single, 4, 1, single_rows4}};

uint64_t peak(uint64_t iterations, int32_t* sink) noexcept {
    constexpr int kSums = 12;
    // All different, so that none is computed for another.
    __m512i sums[kSums], weights[kSums], panel = _mm512_set1_epi8(3);
    for (int j = 0; j < kSums; ++j) {
        sums[j] = _mm512_set1_epi32(j);
        weights[j] = _mm512_set1_epi8(char(j + 1));
    }
    for (uint64_t i = 0; i < iterations; ++i) {
        __asm__ volatile("" : "+v"(panel));  // else the products are moved out of the loop
        for (int j = 0; j < kSums; ++j)
            sums[j] = _mm512_dpbusd_epi32(sums[j], panel, weights[j]);
    }
    for (int j = 0; j < kSums; ++j)
        *sink += _mm256_extract_epi32(_mm512_castsi512_si256(sums[j]), 0);
    return iterations * kSums * 64;
}

constexpr Kernels make_kernels() {
    Kernels kernels = tile_kernels();
    kernels.saturating_i16 = Dot::kSaturatingI16;
    kernels.linear = linear;
    kernels.linear_count = sizeof linear / sizeof *linear;
    kernels.attention = attention;
    kernels.peak = peak;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::avx512vnni
