// Relative positions whose products are of bfloat16 with float32 sums, two of them in one instruction. Contents that
// are 8-bit numbers less their zero are exact: they have 8 bits beside the sign.
// Included once per translation unit, inside its unnamed namespace, after attention.inl and pairs.inl.

/// The rows for all distances are rounded first, and lie one behind the other, [features / kFeatures][distance]
/// [kFeatures]: how far apart they are is known to the compiler, which then needs one address for kRows of them.
struct PairPositions {
    static constexpr int kRows = kWidth;
    static constexpr uint32_t kFeatures = kRelativeFeatures, kPairs = kFeatures / 2;
    const RelativeView& view;
    const AttentionArgs& args;

    PairPositions(const RelativeView& view, const AttentionArgs& args, Distances distances)
        : view(view), args(args), pairs((args.size + 1) / 2), part_stride(size_t(distances.count) * kPairs),
          rows(args.relative_scratch + kRelativeProducts +
               size_t((args.size + kFeatures - 1) / kFeatures * kFeatures) * 16) {
        const uint32_t size = args.size, whole = size / kWidth * kWidth;
        const size_t stride = part_stride;
        float* to = rows;
        for (uint32_t row = 0; row < distances.count; ++row, to += kPairs) {
            const float* from = distances.in_table(view, args, row);
            const auto at = [&](uint32_t i) {
                return reinterpret_cast<uint16_t*>(to + i / kFeatures * stride) + i % kFeatures;
            };
            for (uint32_t i = 0; i < whole; i += kWidth)
                write_bfloat16(at(i), read(from + i));
            if (whole < size) {
                Floats rest{};
                __builtin_memcpy(&rest, from + whole, (size - whole) * sizeof(float));
                write_bfloat16(at(whole), rest);
            }
        }
    }

    Contents contents(const float* from, float* memory) const {
        for (uint32_t i = 0; i < pairs; ++i)
            write(memory + size_t(i) * kWidth,
                  view.integers ? integer_pair(from, i) : pair_of_features(from, i, args.size));
        return {memory, kWidth};
    }

    void multiply(Floats (&sums)[kRows], uint32_t row, Contents vectors) const {
        const float *part = rows + size_t(row) * kPairs, *along = vectors.numbers;
        for (uint32_t left = pairs; left > 0; part += part_stride) {
            const uint32_t count = left < kPairs ? left : kPairs;
            for (const float* pair = part; pair < part + count; ++pair, along += kWidth) {
                const Floats vector = read(along);
                OPTKIT_UNROLL
                for (int j = 0; j < kRows; ++j)
                    sums[j] = add_pairs(sums[j], vector, broadcast_pair(pair + size_t(j) * kPairs));
            }
            left -= count;
        }
    }

private:
    uint32_t pairs;  // of features of a head
    size_t part_stride;
    float* rows;

    Floats integer_pair(const float* from, uint32_t i) const {
        const Floats second = 2 * i + 1 < args.size ? integer_feature(view, from, 2 * i + 1) : Floats{};
        // The lower halves are zero.
        return (Floats)(((Ints)integer_feature(view, from, 2 * i) >> 16 & 0xFFFF) | (Ints)second);
    }
};
