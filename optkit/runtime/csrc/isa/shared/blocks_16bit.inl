// The matrix products of blocks of kHeight outputs x 4 inputs where products of two are added in 16 bits first. Entries
// whose 16-bit sums stay inside come in fours and pairs (plan/entries.h), and are widened together.
// Included once per translation unit, inside its unnamed namespace, after elements_256.inl.

/// Rows of kHeight outputs, for kVectors vectors of tokens from `lane` on.
template <int kHeight, int kVectors>
inline void block_rows(const LinearArgs& args, int lane) {
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel) + 4 * lane;
    const uint16_t* indices = args.chunk.indices;
    const int32_t* weights = args.chunk.weights;
    for (uint32_t group = args.group; group < args.group + args.groups; ++group) {
        int32_t* out = static_cast<int32_t*>(args.out) + size_t(args.chunk.order[group]) * (kHeight * kLanes) + lane;
        __m256i sums[kHeight][kVectors] = {};
        if (args.accumulate)
            for (int i = 0; i < kHeight; ++i)
                for (int v = 0; v < kVectors; ++v)
                    sums[i][v] = load256(out + i * kLanes + 8 * v);
        uint32_t entry = args.chunk.begin[group];
        const uint32_t end = args.chunk.begin[group + 1];
        const auto together = [&](auto count) {
            constexpr int kCount = decltype(count)::value;
            const uint8_t* at[kCount];
            for (int j = 0; j < kCount; ++j)
                at[j] = panel + size_t(indices[entry + uint32_t(j)]) * (4 * kLanes);
            OPTKIT_UNROLL
            for (int i = 0; i < kHeight; ++i) {
                __m256i w[kCount];
                for (int j = 0; j < kCount; ++j)
                    w[j] = _mm256_set1_epi32(weights[size_t(entry + uint32_t(j)) * kHeight + size_t(i)]);
                OPTKIT_UNROLL
                for (int v = 0; v < kVectors; ++v) {
                    __m256i pairs = Dot::pairs(load256(at[0] + 32 * v), w[0]);
                    for (int j = 1; j < kCount; ++j)
                        pairs = _mm256_add_epi16(pairs, Dot::pairs(load256(at[j] + 32 * v), w[j]));
                    sums[i][v] = Dot::widen(sums[i][v], pairs);
                }
            }
            entry += kCount;
        };
        const uint32_t quads_end = entry + args.chunk.quads_16bit[group];
        while (entry < quads_end)
            together(Constant<4>{});
        const uint32_t pairs_end = entry + args.chunk.pairs_16bit[group];
        while (entry < pairs_end)
            together(Constant<2>{});
        while (entry < end)
            together(Constant<1>{});
        for (int i = 0; i < kHeight; ++i)
            for (int v = 0; v < kVectors; ++v)
                store256(out + i * kLanes + 8 * v, sums[i][v]);
    }
}

/// Up to two outputs at a time for 32 tokens, or up to four for 16, since eight sums fit the registers; higher blocks
/// are stored as rows of these.
template <int kHeight>
void block4(const LinearArgs& args) noexcept {
    if (args.lanes <= 16) {
        block_rows<kHeight, 2>(args, 0);
    } else if constexpr (kHeight <= 2) {
        block_rows<kHeight, 4>(args, 0);
    } else {
        block_rows<kHeight, 2>(args, 0);
        block_rows<kHeight, 2>(args, 16);
    }
}

template <int kHeight>
constexpr LinearKernel kBlock4 = {Form::block4, kHeight, 1, block4<kHeight>};
