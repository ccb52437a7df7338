// Attention of one head for one tile of queries. Keys and values are read where the linear layers left them, features
// first: a score is a sum over features of (one key's number) x (a vector of queries), and so is the result over keys.
// No transposition and no sum across a vector anywhere; the softmax of each query runs down a column.
// Included once per translation unit, inside its unnamed namespace, after vector.inl.

/// out[j][lanes] += sum over i < count of numbers[i * step + j] * vectors[i][lanes], for kRows j at once.
template <int kRows, int kVectors>
inline void outer(Floats (&sums)[kRows][kVectors], const float* numbers, size_t step, const float* vectors,
                  uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
        Floats along[kVectors];
        for (int v = 0; v < kVectors; ++v)
            along[v] = read(vectors + size_t(i) * kLanes + v * kWidth);
        for (int j = 0; j < kRows; ++j)
            for (int v = 0; v < kVectors; ++v)
                sums[j][v] += numbers[i * step + j] * along[v];
    }
}

/// The same with the kRows numbers of one i `stride` apart and i running along memory.
template <int kRows, int kVectors>
inline void inner(Floats (&sums)[kRows][kVectors], const float* numbers, size_t stride, const float* vectors,
                  uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
        Floats along[kVectors];
        for (int v = 0; v < kVectors; ++v)
            along[v] = read(vectors + size_t(i) * kLanes + v * kWidth);
        for (int j = 0; j < kRows; ++j)
            for (int v = 0; v < kVectors; ++v)
                sums[j][v] += numbers[j * stride + i] * along[v];
    }
}

/// scores[j][lanes] = the sum over pairs of int16: keys and queries [count][32][2]. Not inlined: inside its caller's
/// loop a compiler runs out of registers and keeps one of the sums in memory.
template <int kRows, int kVectors>
__attribute__((noinline)) void integer_products(Floats (&scores)[kRows][kVectors], const int16_t* keys,
                                                const int16_t* queries, uint32_t count) {
    Ints sums[kRows][kVectors];
    for (auto& row : sums)
        for (Ints& sum : row)
            sum = Ints{};
    for (uint32_t i = 0; i < count; ++i) {
        Ints along[kVectors];
        for (int v = 0; v < kVectors; ++v)
            __builtin_memcpy(&along[v], queries + (size_t(i) * kLanes + v * kWidth) * 2, sizeof along[v]);
        for (int j = 0; j < kRows; ++j) {
            int32_t pair;
            __builtin_memcpy(&pair, keys + (size_t(i) * kLanes + j) * 2, sizeof pair);
            for (int v = 0; v < kVectors; ++v)
                sums[j][v] = add_products(sums[j][v], along[v], Ints{} + pair);
        }
    }
    for (int j = 0; j < kRows; ++j)
        for (int v = 0; v < kVectors; ++v)
            scores[j][v] = __builtin_convertvector(sums[j][v], Floats);
}

/// Scores of kRows keys from `key` on, before scale and mask.
template <int kRows, int kVectors>
inline void products(Floats (&scores)[kRows][kVectors], const AttentionArgs& args, uint32_t key, int lane) {
    // kRows divides a tile's width, so these keys lie in one tile.
    const size_t tile = key / args.width * args.key_stride, queries = args.tile * args.query_stride;
    const uint32_t column = key % args.width;
    if (args.integers) {
        const auto* keys = reinterpret_cast<const int16_t*>(static_cast<const float*>(args.key) + tile);
        const auto* from = reinterpret_cast<const int16_t*>(static_cast<const float*>(args.query) + queries);
        return integer_products<kRows, kVectors>(scores, keys + 2 * column, from + 2 * lane, args.size / 2);
    }
    for (auto& row : scores)
        for (Floats& score : row)
            score = Floats{};
    outer<kRows, kVectors>(scores, static_cast<const float*>(args.key) + tile + column, kLanes,
                           static_cast<const float*>(args.query) + queries + lane, args.size);
}

/// The queries of kVectors vectors from `lane`, kRows keys or features at a time.
template <int kRows, int kVectors>
void attention_lanes(const AttentionArgs& args, int lane, float* scores) {
    // 2^x instead of e^x: the factor goes into the scores' scale.
    const float factor = args.scale * kLog2E;
    Floats largest[kVectors], sum[kVectors] = {};
    for (int v = 0; v < kVectors; ++v)
        largest[v] = splat(-3.0e38f);
    for (uint32_t key = 0; key < args.length; key += kRows) {
        Floats sums[kRows][kVectors];
        products<kRows, kVectors>(sums, args, key, lane);
        for (uint32_t j = 0; j < kRows && key + j < args.length; ++j)  // the tile may hold fewer
            for (int v = 0; v < kVectors; ++v) {
                Floats score = sums[j][v] * factor;
                if (args.key_mask)
                    score += args.key_mask[key + j] * kLog2E;
                if (args.mask)
                    score += read(args.mask + size_t(key + j) * kLanes + lane + v * kWidth) * kLog2E;
                largest[v] = larger(score, largest[v]);
                write(scores + size_t(key + j) * kLanes + v * kWidth, score);
            }
    }
    for (uint32_t key = 0; key < args.length; ++key)
        for (int v = 0; v < kVectors; ++v) {
            float* at = scores + size_t(key) * kLanes + v * kWidth;
            const Floats weight = exp2(read(at) - largest[v]);
            sum[v] += weight;
            write(at, weight);
        }
    Floats inverse[kVectors];
    for (int v = 0; v < kVectors; ++v)  // no key takes part: zeros
        inverse[v] = sum[v] > 0.0f ? 1.0f / sum[v] : Floats{};

    float* target = args.target + lane;
    const auto rows = [&](auto count, uint32_t feature) {
        constexpr int kCount = decltype(count)::value;
        Floats sums[kCount][kVectors];
        for (auto& row : sums)
            for (Floats& sum : row)
                sum = Floats{};
        for (uint32_t key = 0; key < args.length; key += args.width) {
            const uint32_t keys = args.length - key < args.width ? args.length - key : args.width;
            const float* values = args.value + key / args.width * args.value_stride + size_t(feature) * kLanes;
            inner<kCount, kVectors>(sums, values, kLanes, scores + size_t(key) * kLanes, keys);
        }
        for (int j = 0; j < kCount; ++j)
            for (int v = 0; v < kVectors; ++v)
                write(target + size_t(feature + j) * kLanes + v * kWidth, sums[j][v] * inverse[v]);
    };
    uint32_t feature = 0;
    for (; feature + kRows <= args.size; feature += kRows)
        rows(Constant<kRows>{}, feature);
    for (; feature < args.size; ++feature)
        rows(Constant<1>{}, feature);
}

void attention(const AttentionArgs& args) noexcept {
    // Eight sums at once hide the latency of an FMA.
    if (kWidth == 16 && args.lanes == 16)
        return attention_lanes<8, 1>(args, 0, args.scratch);
    constexpr int kVectors = kWidth == 16 ? 2 : 16 / kWidth;
    for (int lane = 0; lane < args.lanes; lane += kVectors * kWidth)
        attention_lanes<4, kVectors>(args, lane, args.scratch);
}
