// What masks add to scores, read where they lie in the input.
// Included once per translation unit, inside its unnamed namespace, by attention.inl.

/// What the mask adds to a query's scores of kWidth keys from `key` on, as powers of two; 0 from `keys` on.
inline Floats mask_of_keys(const MaskView& mask, size_t query, uint32_t key, uint32_t keys) {
    const size_t first = query * mask.query_stride + key * mask.key_stride;
    const uint32_t count = keys - key < uint32_t(kWidth) ? keys - key : uint32_t(kWidth);
    if (mask.boolean) {
        const uint8_t* from = static_cast<const uint8_t*>(mask.data) + first;
        Bytes bytes;
        if (mask.key_stride == 0)
            bytes = Bytes{} + *from;
        else if (count == uint32_t(kWidth))
            __builtin_memcpy(&bytes, from, sizeof bytes);
        else
            for (uint32_t i = 0; i < uint32_t(kWidth); ++i)
                bytes[i] = i < count ? from[i] : 1;
        return __builtin_convertvector(bytes, Ints) != 0 ? Floats{} : splat(-__builtin_inff());
    }
    const float* from = static_cast<const float*>(mask.data) + first;
    Floats numbers = {};
    if (mask.key_stride == 0)
        numbers = splat(*from);
    else if (count == uint32_t(kWidth))
        numbers = read(from);
    else
        for (uint32_t i = 0; i < count; ++i)
            numbers[i] = from[i];
    // Bounded, so that "the lowest number there is" stays one when it is scaled: then all keys count alike.
    return larger(splat(-2.0e38f), numbers) * kLog2E;
}

/// Whether the mask is the same for all queries of the tile, from `key` up to `end`.
inline bool same_for_all_queries(const MaskView& mask, int queries, uint32_t key, uint32_t end) {
    if (mask.query_stride == 0)
        return true;
    const size_t bytes = mask.boolean ? 1 : sizeof(float), row = mask.query_stride * bytes;
    const char* data = static_cast<const char*>(mask.data) + key * mask.key_stride * bytes;
    for (int query = 1; query < queries; ++query)
        if (__builtin_memcmp(data, data + query * row, (mask.key_stride ? end - key : 1) * bytes) != 0)
            return false;
    return true;
}

/// scores[key][lanes] = what a mask adds to the scores of kVectors vectors of queries from `lane` on, or with kAdd that
/// and what they hold. Returns the end of the keys that have to be looked at: without kAdd, the last ones, such as
/// padding, may take part in no query.
template <int kVectors, bool kAdd>
uint32_t write_mask(float* scores, const MaskView& mask, const AttentionArgs& args, int lane, uint32_t first,
                    uint32_t end) {
    const auto put = [](float* score, Floats numbers) {
        write(score, kAdd ? read(score) + numbers : numbers);
    };
    const bool same = same_for_all_queries(mask, args.queries, first, end);
    if (!kAdd && same && mask.boolean && mask.key_stride) {
        const uint8_t* row = static_cast<const uint8_t*>(mask.data);
        while (end - first > 1 && !row[end - 1])
            --end;
    }
    for (uint32_t key = first; key < end; key += kWidth, scores += kWidth * kVectors * kWidth)
        if (same) {
            const Floats numbers = mask_of_keys(mask, 0, key, end);
            for (int i = 0; i < kWidth; ++i)
                for (int v = 0; v < kVectors; ++v)
                    put(scores + (i * kVectors + v) * kWidth, splat(numbers[i]));
        } else {
            for (int v = 0; v < kVectors; ++v) {
                Floats rows[kWidth];
                for (int i = 0; i < kWidth; ++i) {
                    const int query = lane + v * kWidth + i;
                    rows[i] = query < args.queries ? mask_of_keys(mask, size_t(query), key, end) : Floats{};
                }
                transpose(rows);
                for (int i = 0; i < kWidth; ++i)
                    put(scores + (i * kVectors + v) * kWidth, rows[i]);
            }
        }
    return end;
}
