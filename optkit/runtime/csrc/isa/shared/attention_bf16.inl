// Attention whose products are of bfloat16 with float32 sums, two of them in one instruction: those of queries and
// keys, where they are no integers, and those of softmax and values. Softmax itself and all sums are float32. Included
// once per translation unit, inside its unnamed namespace, after attention.inl.

/// The lanes of two vectors as pairs of bfloat16, rounded to the nearest, ties to even.
inline Floats pairs(Floats first, Floats second) {
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (Floats)_mm512_permutexvar_epi16(order, both);
}

inline Floats add_pairs(Floats sums, Floats left, Floats right) {
    return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)left, (__m512bh)right);
}

/// A pair of bfloat16 for all lanes. An integer load: as a float a compiler might take it for a number.
inline Floats broadcast_pair(const void* from) {
    int32_t pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return (Floats)(Ints{} + pair);
}

/// 2^x for x <= 0, 0 below -126. Relative error 8e-5, of which rounding to bfloat16 leaves nothing.
inline Floats short_exp2(Floats x) {
    const Floats bounded = larger(x, splat(-130.0f));
    const Floats whole = (Floats)_mm512_roundscale_ps((__m512)bounded, 0), part = bounded - whole;
    Floats power = splat(0.05517167f);
    power = power * part + 0.24261112f;
    power = power * part + 0.69326099f;
    power = power * part + 0.99992807f;
    return (Floats)_mm512_scalef_ps((__m512)power, (__m512)whole);
}

/// Queries and keys as pairs of bfloat16, [feature / 2][32][2].
struct PairProducts {
    using Sums = Floats;
    static constexpr uint32_t kFeatures = 2;

    static Sums vectors(const float* from) { return read(from); }
    static Sums add(Sums sums, Sums queries, const float* key) { return add_pairs(sums, queries, broadcast_pair(key)); }
    static Floats floats(Sums sums) { return sums; }
};

/// to[feature / 2][32] = pairs of the features of a tile's first `lanes` tokens; an odd last feature has a zero beside
/// it.
inline void write_pairs(float* to, const float* from, uint32_t features, int lanes) {
    for (uint32_t feature = 0; feature < features; feature += 2, from += 2 * kLanes, to += kLanes)
        for (int lane = 0; lane < lanes; lane += kWidth)
            write(to + lane, pairs(read(from + lane), feature + 1 < features ? read(from + kLanes + lane) : Floats{}));
}

/// add_values of attention.inl, with the weights of two keys as pairs, and values that become bfloat16 in `converted`,
/// [kRows][kAttentionKeys].
template <int kRows, int kVectors>
__attribute__((noinline)) uint32_t add_value_pairs(const AttentionArgs& args, const float* scores, uint16_t* converted,
                                                   uint32_t feature, uint32_t first, uint32_t end,
                                                   const Floats* correction, const Floats* factor) {
    for (; feature + kRows <= args.size; feature += kRows) {
        const uint32_t keys = end - first;
        const float* tile = args.value + first / args.width * args.value_stride + size_t(feature) * kLanes;
        for (uint32_t key = 0; key < keys; key += args.width, tile += args.value_stride)
            for (int j = 0; j < kRows; ++j)
                for (uint32_t i = 0; i < args.width; i += kWidth) {
                    const __m256bh numbers = _mm512_cvtneps_pbh((__m512)read(tile + j * kLanes + i));
                    __builtin_memcpy(converted + j * kAttentionKeys + key + i, &numbers, sizeof numbers);
                }
        // The weight of a key that is not there is zero; its value might be no number.
        for (int j = 0; keys % 2 != 0 && j < kRows; ++j)
            converted[j * kAttentionKeys + keys] = 0;

        Floats sums[kRows][kVectors];
        for (auto& row : sums)
            for (Floats& sum : row)
                sum = Floats{};
        const float* weights = scores;
        const uint16_t* values = converted;
        do {
            Floats along[kVectors];
            for (int v = 0; v < kVectors; ++v)
                along[v] = read(weights + v * kWidth);
            for (int j = 0; j < kRows; ++j) {
                const Floats pair = broadcast_pair(values + j * kAttentionKeys);
                for (int v = 0; v < kVectors; ++v)
                    sums[j][v] = add_pairs(sums[j][v], along[v], pair);
            }
            weights += kVectors * kWidth;
            values += 2;
        } while (values < converted + keys);
        float* target = args.target + size_t(feature) * kLanes;
        for (int j = 0; j < kRows; ++j)
            for (int v = 0; v < kVectors; ++v) {
                float* at = target + j * kLanes + v * kWidth;
                if (correction)
                    sums[j][v] += read(at) * correction[v];
                write(at, factor ? sums[j][v] * factor[v] : sums[j][v]);
            }
    }
    return feature;
}

template <int kRows, int kVectors>
void attention_pairs(const AttentionArgs& args) {
    const uint32_t even = args.size + args.size % 2;
    float* scores = args.scratch;
    auto* values = reinterpret_cast<uint16_t*>(scores + kAttentionKeys * kVectors * kWidth);
    float *queries = scores + kAttentionScratch, *keys = queries + size_t(even / 2) * kLanes;
    AttentionArgs converted = args;  // for a tile of keys at a time
    if (!args.integers) {
        write_pairs(queries, static_cast<const float*>(args.query) + args.tile * args.query_stride, args.size,
                    args.lanes);
        converted.query = queries;
        converted.key = keys;
        converted.query_stride = converted.key_stride = 0;
        converted.size = even;
    }
    Floats largest[kVectors], sum[kVectors] = {};
    for (int v = 0; v < kVectors; ++v)
        largest[v] = splat(-3.0e38f);
    for (uint32_t first = 0; first < args.length; first += kAttentionKeys) {
        const bool last = args.length - first <= kAttentionKeys;
        uint32_t end = last ? args.length : first + kAttentionKeys;
        if (args.mask.data)
            end = write_mask<kVectors>(scores, args, 0, first, end);
        Floats correction[kVectors], inverse[kVectors];
        for (int v = 0; v < kVectors; ++v)
            correction[v] = largest[v];
        if (args.integers)
            write_scores<IntegerProducts, kRows, kVectors>(scores, largest, args, 0, first, end);
        else
            for (uint32_t key = first; key < end; key += args.width) {
                write_pairs(keys, static_cast<const float*>(args.key) + key / args.width * args.key_stride, args.size,
                            int(args.width));
                write_scores<PairProducts, kRows, kVectors>(scores + (key - first) * kVectors * kWidth, largest,
                                                            converted, 0, key,
                                                            end - key < args.width ? end : key + args.width);
            }
        for (int v = 0; first > 0 && v < kVectors; ++v) {
            correction[v] = exp2(correction[v] - largest[v]);
            sum[v] *= correction[v];
        }
        const Floats ones = (Floats)(Ints{} + 0x3F803F80);
        for (uint32_t key = 0; key < end - first; key += 2)
            for (int v = 0; v < kVectors; ++v) {
                const float* from = scores + (key * kVectors + v) * kWidth;
                const Floats one = short_exp2(read(from) - largest[v]);
                const bool both = key + 1 < end - first;
                const Floats other = both ? short_exp2(read(from + kVectors * kWidth) - largest[v]) : Floats{};
                // Where the scores of earlier keys were. The sum is of what counts: weights that were rounded.
                const Floats weights = pairs(one, other);
                sum[v] = add_pairs(sum[v], weights, ones);
                write(scores + (key / 2 * kVectors + v) * kWidth, weights);
            }
        for (int v = 0; v < kVectors; ++v)  // no key takes part: zeros
            inverse[v] = sum[v] > 0.0f ? 1.0f / sum[v] : Floats{};
        const Floats *scale = first > 0 ? correction : nullptr, *factor = last ? inverse : nullptr;
        uint32_t rest = add_value_pairs<kRows, kVectors>(args, scores, values, 0, first, end, scale, factor);
        if (rest < args.size)
            rest = add_value_pairs<kRows / 2, kVectors>(args, scores, values, rest, first, end, scale, factor);
        if (rest < args.size)
            add_value_pairs<1, kVectors>(args, scores, values, rest, first, end, scale, factor);
    }
}

void attention_bf16(const AttentionArgs& args) noexcept {
    args.lanes == 16 ? attention_pairs<16, 1>(args) : attention_pairs<8, 2>(args);
}
