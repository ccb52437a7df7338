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

#include "isa/shared/linear_256.inl"
#include "isa/shared/single.inl"

template <int kVectors>
void block4_wide(const LinearArgs& args) {
    // Entries take turns with this many sets of sums: one set would wait for itself.
    constexpr int kSets = 4;
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel);
    const uint16_t* indices = args.chunk.indices;
    const int32_t* weights = args.chunk.weights;
    for (uint32_t row = 0; row < args.rows; ++row) {
        int32_t* out = static_cast<int32_t*>(args.out) + size_t(args.chunk.order[args.row + row]) * kLanes;
        uint32_t entry = args.chunk.begin[args.row + row];
        const uint32_t end = args.chunk.begin[args.row + row + 1];
        __m512i sums[kSets][kVectors] = {};
        if (args.accumulate)
            for (int v = 0; v < kVectors; ++v)
                sums[0][v] = _mm512_loadu_si512(out + 16 * v);
        const auto one = [&](int set) {
            const uint8_t* at = panel + size_t(indices[entry]) * (4 * kLanes);
            const __m512i w = _mm512_set1_epi32(weights[entry]);
            for (int v = 0; v < kVectors; ++v)
                sums[set][v] = _mm512_dpbusd_epi32(sums[set][v], _mm512_loadu_si512(at + 64 * v), w);
            ++entry;
        };
        while (entry + kSets <= end)
            for (int set = 0; set < kSets; ++set)
                one(set);
        if (entry < end) {
            one(1);
            if (entry < end) {
                one(2);
                if (entry < end)
                    one(3);
            }
        }
        for (int v = 0; v < kVectors; ++v) {
            const __m512i even = _mm512_add_epi32(sums[0][v], sums[2][v]),
                          odd = _mm512_add_epi32(sums[1][v], sums[3][v]);
            _mm512_storeu_si512(out + 16 * v, _mm512_add_epi32(even, odd));
        }
    }
}

void block4(const LinearArgs& args) noexcept { args.lanes > 16 ? block4_wide<2>(args) : block4_wide<1>(args); }

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
    kernels.block4 = block4;
    kernels.element = element;
    kernels.element_rows4 = element_rows4;
    kernels.single = single;
    kernels.single_rows4 = single_rows4;
    kernels.attention = attention;
    kernels.peak = peak;
    return kernels;
}

}  // namespace

extern const Kernels kernels;
constexpr Kernels kernels = make_kernels();

}  // namespace optkit::isa::avx512vnni
