// The matrix products of gathered weights with 256-bit vectors. What an instruction set adds is how four u8 x s8
// products become 32 bits:
//   struct Dot {
//       static constexpr bool kSaturatingI16;
//       static __m256i add(__m256i sums, __m256i panel, __m256i weights);
//   };
// and, where kSaturatingI16 says that products of two are added in 16 bits first, its pairs(panel, weights) and
// widen(sums, pairs). Included once per translation unit, inside its unnamed namespace, after Dot is defined.

inline __m256i load256(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline __m128i load128(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
inline void store256(void* to, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(to), value); }

/// Four gathered inputs of 32 tokens, interleaved: of[0]: tokens 0-3 and 16-19, of[1]: 4-7 and 20-23, and so on.
struct Gathered {
    __m256i of[4];

    Gathered(const uint8_t* panel, const uint16_t* indices) {
        const __m256i a = load256(panel + size_t(indices[0]) * kLanes),
                      b = load256(panel + size_t(indices[1]) * kLanes);
        const __m256i c = load256(panel + size_t(indices[2]) * kLanes),
                      d = load256(panel + size_t(indices[3]) * kLanes);
        const __m256i ab = _mm256_unpacklo_epi8(a, b), AB = _mm256_unpackhi_epi8(a, b);
        const __m256i cd = _mm256_unpacklo_epi8(c, d), CD = _mm256_unpackhi_epi8(c, d);
        of[0] = _mm256_unpacklo_epi16(ab, cd);
        of[1] = _mm256_unpackhi_epi16(ab, cd);
        of[2] = _mm256_unpacklo_epi16(AB, CD);
        of[3] = _mm256_unpackhi_epi16(AB, CD);
    }
};

/// Puts sums in the order of Gathered back into the order of tokens.
inline void store_gathered(int32_t* out, const __m256i (&sums)[4], bool accumulate) {
    const __m256i ordered[4] = {
        _mm256_permute2x128_si256(sums[0], sums[1], 0x20), _mm256_permute2x128_si256(sums[2], sums[3], 0x20),
        _mm256_permute2x128_si256(sums[0], sums[1], 0x31), _mm256_permute2x128_si256(sums[2], sums[3], 0x31)};
    for (int v = 0; v < 4; ++v)
        store256(out + 8 * v, accumulate ? _mm256_add_epi32(ordered[v], load256(out + 8 * v)) : ordered[v]);
}

template <typename D = Dot>
void element_32(const LinearArgs& args) {
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel);
    const uint16_t* indices = args.chunk.indices;
    const int32_t* weights = args.chunk.weights;
    for (uint32_t group = args.group; group < args.group + args.groups; ++group) {
        int32_t* out = static_cast<int32_t*>(args.out) + size_t(args.chunk.order[group]) * kLanes;
        uint32_t entry = args.chunk.begin[group];
        const uint32_t end = args.chunk.begin[group + 1];
        __m256i sums[4] = {};
        if constexpr (D::kSaturatingI16) {
            const auto together = [&](auto count) {
                constexpr int kCount = decltype(count)::value;
                __m256i pairs[4] = {};
                for (int i = 0; i < kCount; ++i, ++entry) {
                    const Gathered inputs(panel, indices + size_t(entry) * 4);
                    const __m256i w = _mm256_set1_epi32(weights[entry]);
                    for (int v = 0; v < 4; ++v)
                        pairs[v] = _mm256_add_epi16(pairs[v], D::pairs(inputs.of[v], w));
                }
                for (int v = 0; v < 4; ++v)
                    sums[v] = D::widen(sums[v], pairs[v]);
            };
            const uint32_t quads_end = entry + args.chunk.quads_16bit[group];
            while (entry < quads_end)
                together(Constant<4>{});
            const uint32_t pairs_end = entry + args.chunk.pairs_16bit[group];
            while (entry < pairs_end)
                together(Constant<2>{});
        }
        for (; entry < end; ++entry) {
            const Gathered inputs(panel, indices + size_t(entry) * 4);
            const __m256i w = _mm256_set1_epi32(weights[entry]);
            for (int v = 0; v < 4; ++v)
                sums[v] = Dot::add(sums[v], inputs.of[v], w);
        }
        store_gathered(out, sums, args.accumulate);
    }
}

/// Sixteen tokens: two rows of inputs share a vector, so that the same interleaving serves.
void element_16(const LinearArgs& args) {
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel);
    const uint16_t* indices = args.chunk.indices;
    const int32_t* weights = args.chunk.weights;
    for (uint32_t group = args.group; group < args.group + args.groups; ++group) {
        int32_t* out = static_cast<int32_t*>(args.out) + size_t(args.chunk.order[group]) * kLanes;
        const uint32_t end = args.chunk.begin[group + 1];
        __m256i low = _mm256_setzero_si256(), high = low;  // tokens 0-3 and 8-11; 4-7 and 12-15
        for (uint32_t entry = args.chunk.begin[group]; entry < end; ++entry) {
            const uint16_t* index = indices + size_t(entry) * 4;
            const __m128i a = load128(panel + size_t(index[0]) * kLanes),
                          b = load128(panel + size_t(index[1]) * kLanes);
            const __m128i c = load128(panel + size_t(index[2]) * kLanes),
                          d = load128(panel + size_t(index[3]) * kLanes);
            const __m256i ab = _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b));
            const __m256i cd = _mm256_set_m128i(_mm_unpackhi_epi8(c, d), _mm_unpacklo_epi8(c, d));
            const __m256i w = _mm256_set1_epi32(weights[entry]);
            low = Dot::add(low, _mm256_unpacklo_epi16(ab, cd), w);
            high = Dot::add(high, _mm256_unpackhi_epi16(ab, cd), w);
        }
        const __m256i ordered[2] = {_mm256_permute2x128_si256(low, high, 0x20),
                                    _mm256_permute2x128_si256(low, high, 0x31)};
        for (int v = 0; v < 2; ++v)
            store256(out + 8 * v, args.accumulate ? _mm256_add_epi32(ordered[v], load256(out + 8 * v)) : ordered[v]);
    }
}

/// Four outputs share the gathered inputs; 16 tokens at a time (parts 0-3 and 16-19 ..), so that 8 sums fit.
void element_rows4(const LinearArgs& args) noexcept {
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel);
    const uint16_t* indices = args.chunk.indices;
    const int32_t* weights = args.chunk.weights;
    for (uint32_t group = args.group; group < args.group + args.groups; ++group) {
        int32_t* out = static_cast<int32_t*>(args.out) + size_t(args.chunk.order[group]) * (4 * kLanes);
        const uint32_t begin = args.chunk.begin[group], end = args.chunk.begin[group + 1];
        __m256i sums[4][4] = {};
        const auto half = [&](int part) {
            __m256i low[4] = {}, high[4] = {};
            for (uint32_t entry = begin; entry < end; ++entry) {
                const uint16_t* index = indices + size_t(entry) * 4;
                const __m256i a = load256(panel + size_t(index[0]) * kLanes);
                const __m256i b = load256(panel + size_t(index[1]) * kLanes);
                const __m256i c = load256(panel + size_t(index[2]) * kLanes);
                const __m256i d = load256(panel + size_t(index[3]) * kLanes);
                const __m256i ab = part ? _mm256_unpackhi_epi8(a, b) : _mm256_unpacklo_epi8(a, b);
                const __m256i cd = part ? _mm256_unpackhi_epi8(c, d) : _mm256_unpacklo_epi8(c, d);
                const __m256i first = _mm256_unpacklo_epi16(ab, cd), second = _mm256_unpackhi_epi16(ab, cd);
                for (int i = 0; i < 4; ++i) {
                    const __m256i w = _mm256_set1_epi32(weights[size_t(entry) * 4 + i]);
                    low[i] = Dot::add(low[i], first, w);
                    high[i] = Dot::add(high[i], second, w);
                }
            }
            for (int i = 0; i < 4; ++i) {
                sums[i][2 * part] = low[i];
                sums[i][2 * part + 1] = high[i];
            }
        };
        half(0);
        half(1);
        for (int i = 0; i < 4; ++i)
            store_gathered(out + i * kLanes, sums[i], args.accumulate);
    }
}

void element(const LinearArgs& args) noexcept { args.lanes > 16 ? element_32<>(args) : element_16(args); }
