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

/// The queries of kVectors vectors from `lane`, kRows keys or features at a time.
template <int kRows, int kVectors>
void attention_lanes(const AttentionArgs& args, int lane, float* scores) {
    const float* queries = args.query + args.tile * args.query_stride + lane;
    // 2^x instead of e^x: the factor goes into the scores' scale.
    const float factor = args.scale * kLog2E;
    Floats most[kVectors], sum[kVectors] = {};
    for (int v = 0; v < kVectors; ++v)
        most[v] = splat(-3.0e38f);
    for (uint32_t key = 0; key < args.length; key += kRows) {
        // kRows divides a tile's width, so these keys lie in one tile; those past the end are never looked at.
        const float* keys = args.key + key / args.width * args.key_stride + key % args.width;
        Floats sums[kRows][kVectors] = {};
        outer<kRows, kVectors>(sums, keys, kLanes, queries, args.size);
        for (uint32_t j = 0; j < kRows && key + j < args.length; ++j)
            for (int v = 0; v < kVectors; ++v) {
                Floats score = sums[j][v] * factor;
                if (args.key_mask)
                    score += args.key_mask[key + j] * kLog2E;
                if (args.mask)
                    score += read(args.mask + size_t(key + j) * kLanes + lane + v * kWidth) * kLog2E;
                most[v] = larger(score, most[v]);
                write(scores + size_t(key + j) * kLanes + v * kWidth, score);
            }
    }
    for (uint32_t key = 0; key < args.length; ++key)
        for (int v = 0; v < kVectors; ++v) {
            float* at = scores + size_t(key) * kLanes + v * kWidth;
            const Floats weight = exp2(read(at) - most[v]);
            sum[v] += weight;
            write(at, weight);
        }
    Floats inverse[kVectors];
    for (int v = 0; v < kVectors; ++v)  // no key takes part: zeros
        inverse[v] = sum[v] > 0.0f ? 1.0f / sum[v] : Floats{};

    float* target = args.target + lane;
    const auto rows = [&](auto count, uint32_t feature) {
        constexpr int kCount = decltype(count)::value;
        Floats sums[kCount][kVectors] = {};
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
        rows(std::integral_constant<int, kRows>{}, feature);
    for (; feature < args.size; ++feature)
        rows(std::integral_constant<int, 1>{}, feature);
}

void attention(const AttentionArgs& args) {
    // Eight sums at once hide the latency of an FMA.
    if (kWidth == 16 && args.lanes == 16)
        return attention_lanes<8, 1>(args, 0, args.scratch);
    constexpr int kVectors = kWidth == 16 ? 2 : 16 / kWidth;
    for (int lane = 0; lane < args.lanes; lane += kVectors * kWidth)
        attention_lanes<4, kVectors>(args, lane, args.scratch);
}
