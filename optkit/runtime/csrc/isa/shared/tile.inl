// What happens to a tile outside the matrix products, feature by feature, tokens along the vector.
// Included once per translation unit, inside its unnamed namespace, after vector.inl.

/// Calls f(offset) for every vector of a block of `rows` x `lanes`.
template <typename F>
inline void for_each_vector(uint32_t rows, int lanes, F f) {
    if (lanes == kLanes) {
        for (size_t at = 0; at < size_t(rows) * kLanes; at += kWidth)
            f(at);
        return;
    }
    for (uint32_t row = 0; row < rows; ++row)
        for (int lane = 0; lane < lanes; lane += kWidth)
            f(size_t(row) * kLanes + lane);
}

template <int kVectors, bool kDynamic>
void scale_lanes(float* block, uint32_t rows, const ScaleArgs& args) {
    const float *scales = args.scales, *biases = args.bias, *low_factors = args.low_factor;
    Floats token_scale[kVectors], token_low[kVectors];
    for (int v = 0; kDynamic && v < kVectors; ++v) {
        token_scale[v] = read(args.token_scale + v * kWidth);
        token_low[v] = read(args.token_low + v * kWidth);
    }
    for (uint32_t row = 0; row < rows; ++row, block += kLanes) {
        const Floats factor = splat(scales[row]), bias = splat(biases[row]);
        for (int v = 0; v < kVectors; ++v) {
            Ints sums;
            __builtin_memcpy(&sums, block + v * kWidth, sizeof sums);
            Floats result = __builtin_convertvector(sums, Floats) * factor;
            if (kDynamic)
                result = result * token_scale[v] + token_low[v] * low_factors[row];
            write(block + v * kWidth, result + bias);
        }
    }
}

void scale(float* block, uint32_t rows, int lanes, const ScaleArgs& args) noexcept {
    constexpr int kAll = 32 / kWidth, kHalf = 16 / kWidth;
    if (args.token_scale)
        lanes > 16 ? scale_lanes<kAll, true>(block, rows, args) : scale_lanes<kHalf, true>(block, rows, args);
    else
        lanes > 16 ? scale_lanes<kAll, false>(block, rows, args) : scale_lanes<kHalf, false>(block, rows, args);
}

void activation(float* target, const float* source, uint32_t rows, int lanes, ActivationKind kind) noexcept {
    const auto apply = [&](auto f) {
        for_each_vector(rows, lanes, [&](size_t at) { write(target + at, f(read(source + at))); });
    };
    switch (kind) {
        case ActivationKind::gelu_erf:
            return apply([](Floats x) { return x * (0.5f + half_normal(x)); });
        case ActivationKind::gelu_tanh:  // 0.5 x (1 + tanh(z)) = x sigmoid(2 z)
            return apply([](Floats x) { return x * sigmoid(1.59576912f * (x + 0.044715f * x * x * x)); });
        case ActivationKind::relu:
            return apply([](Floats x) { return larger(x, Floats{}); });
        case ActivationKind::tanh:
            return apply([](Floats x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; });
        case ActivationKind::sigmoid:
            return apply([](Floats x) { return sigmoid(x); });
        case ActivationKind::silu:
            return apply([](Floats x) { return x * sigmoid(x); });
    }
}

void affine(float* target, const float* source, uint32_t rows, int lanes, const float* scale,
            const float* shift) noexcept {
    for (uint32_t row = 0; row < rows; ++row) {
        const float factor = scale ? scale[row] : 1.0f, summand = shift ? shift[row] : 0.0f;
        for (int lane = 0; lane < lanes; lane += kWidth) {
            const size_t at = size_t(row) * kLanes + lane;
            write(target + at, read(source + at) * factor + summand);
        }
    }
}

void fake_quantize(float* target, const float* source, uint32_t rows, int lanes, float low, float high,
                   uint32_t levels) noexcept {
    const float inverse = float(levels - 1) / (high - low), step = (high - low) / float(levels - 1);
    for_each_vector(rows, lanes, [&](size_t at) {
        const Floats bounded = smaller(larger(read(source + at), splat(low)), splat(high));
        write(target + at, __builtin_convertvector(nearest((bounded - low) * inverse), Floats) * step + low);
    });
}

void add(float* target, const float* left, const float* right, uint32_t rows, int lanes) noexcept {
    for_each_vector(rows, lanes, [&](size_t at) { write(target + at, read(left + at) + read(right + at)); });
}

template <int kVectors>
void layer_norm_lanes(float* target, const float* source, uint32_t rows, const float* gamma, const float* beta,
                      float epsilon) {
    Floats mean[kVectors] = {}, square[kVectors] = {}, factor[kVectors];
    for (uint32_t row = 0; row < rows; ++row)
        for (int v = 0; v < kVectors; ++v)
            mean[v] += read(source + size_t(row) * kLanes + v * kWidth);
    for (int v = 0; v < kVectors; ++v)
        mean[v] /= float(rows);
    for (uint32_t row = 0; row < rows; ++row)
        for (int v = 0; v < kVectors; ++v) {
            const Floats distance = read(source + size_t(row) * kLanes + v * kWidth) - mean[v];
            square[v] += distance * distance;
        }
    for (int v = 0; v < kVectors; ++v) {
        const Floats variance = square[v] / float(rows) + epsilon;
        for (int i = 0; i < kWidth; ++i)
            factor[v][i] = 1.0f / __builtin_sqrtf(variance[i]);
    }
    for (uint32_t row = 0; row < rows; ++row) {
        const float scale = gamma ? gamma[row] : 1.0f, shift = beta ? beta[row] : 0.0f;
        for (int v = 0; v < kVectors; ++v) {
            const size_t at = size_t(row) * kLanes + v * kWidth;
            write(target + at, (read(source + at) - mean[v]) * (factor[v] * scale) + shift);
        }
    }
}

void layer_norm(float* target, const float* source, uint32_t rows, int lanes, const float* gamma, const float* beta,
                float epsilon) noexcept {
    lanes > 16 ? layer_norm_lanes<32 / kWidth>(target, source, rows, gamma, beta, epsilon)
               : layer_norm_lanes<16 / kWidth>(target, source, rows, gamma, beta, epsilon);
}

/// The 8-bit number of each lane, in the lowest bits of 32.
inline Ints quantized(const float* source, float channel, Floats low, Floats inverse) {
    const Floats steps = (read(source) * channel - low) * inverse;
    return nearest(smaller(larger(steps, Floats{}), splat(255.0f)));
}

void quantize_panel4(uint8_t* panel, const float* source, uint32_t rows, int lanes, const float* channel,
                     const float* low, const float* inverse) noexcept {
    for (uint32_t row = 0; row < rows; row += 4) {
        const uint32_t count = rows - row < 4 ? rows - row : 4;
        for (int lane = 0; lane < lanes; lane += kWidth) {
            Ints packed = {};
            for (uint32_t i = 0; i < count; ++i) {
                const float* at = source + size_t(row + i) * kLanes + lane;
                const float factor = channel ? channel[row + i] : 1.0f;
                packed |= quantized(at, factor, read(low + lane), read(inverse + lane)) << int(8 * i);
            }
            __builtin_memcpy(panel + size_t(row) * kLanes + 4 * lane, &packed, sizeof packed);
        }
    }
}

void quantize_i16(int16_t* target, const float* source, uint32_t rows, int lanes, float low, float inverse,
                  int32_t zero) noexcept {
    for (uint32_t row = 0; row < rows; row += 2)
        for (int lane = 0; lane < lanes; lane += kWidth) {
            const float* at = source + size_t(row) * kLanes + lane;
            const Ints first = quantized(at, 1.0f, splat(low), splat(inverse)) - zero;
            const Ints second = quantized(at + kLanes, 1.0f, splat(low), splat(inverse)) - zero;
            const Ints pair = (first & 0xFFFF) | (second << 16);
            __builtin_memcpy(target + size_t(row) * kLanes + 2 * lane, &pair, sizeof pair);
        }
}

/// Writes the lowest bytes of `lanes` numbers from 0 to 255.
inline void store_bytes(uint8_t* to, const Ints* numbers, int lanes) {
#if OPTKIT_WIDTH == 8
    // The packing instructions work in halves of a vector; the last step puts the quarters in order.
    const __m256i first = _mm256_packs_epi32((__m256i)numbers[0], (__m256i)numbers[1]);
    const __m256i last = lanes > 16 ? _mm256_packs_epi32((__m256i)numbers[2], (__m256i)numbers[3]) : first;
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first, last), order);
    if (lanes > 16)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
    else
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(bytes));
#else
    for (int v = 0; v < lanes / kWidth; ++v) {
        const Bytes bytes = __builtin_convertvector(numbers[v], Bytes);
        __builtin_memcpy(to + v * kWidth, &bytes, sizeof bytes);
    }
#endif
}

void quantize_panel1(uint8_t* panel, const float* source, uint32_t rows, int lanes, const float* channel,
                     const float* low, const float* inverse) noexcept {
    for (uint32_t row = 0; row < rows; ++row) {
        const float factor = channel ? channel[row] : 1.0f;
        Ints numbers[32 / kWidth] = {};
        for (int lane = 0; lane < lanes; lane += kWidth)
            numbers[lane / kWidth] =
                quantized(source + size_t(row) * kLanes + lane, factor, read(low + lane), read(inverse + lane));
        store_bytes(panel + size_t(row) * kLanes, numbers, lanes);
    }
}

void token_ranges(const float* source, uint32_t rows, int lanes, const float* channel, float* low, float* inverse,
                  float* step) noexcept {
    for (int lane = 0; lane < lanes; lane += kWidth) {
        Floats least = {}, most = {};
        for (uint32_t row = 0; row < rows; ++row) {
            const Floats number = read(source + size_t(row) * kLanes + lane) * (channel ? channel[row] : 1.0f);
            least = smaller(number, least);
            most = larger(number, most);
        }
        // A token of zeros has no range: any step serves, since all its numbers are its low, 0.
        const Floats span = larger(most - least, splat(1e-30f));
        write(low + lane, least);
        write(inverse + lane, 255.0f / span);
        write(step + lane, span / 255.0f);
    }
}

typedef float Floats4 __attribute__((vector_size(16)));

inline Floats4 read4(const float* from) {
    Floats4 value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

/// Writes a 4 x 4 block turned over its diagonal.
inline void transpose4(const float* source, size_t source_stride, float* target, size_t target_stride) {
    const Floats4 a = read4(source), b = read4(source + source_stride), c = read4(source + 2 * source_stride),
                  d = read4(source + 3 * source_stride);
    const Floats4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), AB = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const Floats4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), CD = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    const Floats4 rows[4] = {__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
                             __builtin_shufflevector(AB, CD, 0, 1, 4, 5), __builtin_shufflevector(AB, CD, 2, 3, 6, 7)};
    for (int i = 0; i < 4; ++i)
        __builtin_memcpy(target + i * target_stride, &rows[i], sizeof(Floats4));
}

void load(float* tile, const float* tokens, uint32_t features, int count, int lanes) noexcept {
    const uint32_t even = features / 4 * 4;
    int token = 0;
    for (; token + 4 <= count; token += 4) {
        const float* from = tokens + size_t(token) * features;
        for (uint32_t feature = 0; feature < even; feature += 4)
            transpose4(from + feature, features, tile + size_t(feature) * kLanes + token, kLanes);
        for (uint32_t feature = even; feature < features; ++feature)
            for (int i = 0; i < 4; ++i)
                tile[size_t(feature) * kLanes + token + i] = from[size_t(i) * features + feature];
    }
    for (; token < lanes; ++token)
        for (uint32_t feature = 0; feature < features; ++feature)
            tile[size_t(feature) * kLanes + token] = token < count ? tokens[size_t(token) * features + feature] : 0.0f;
}

void store(float* tokens, const float* tile, uint32_t features, int count) noexcept {
    const uint32_t even = features / 4 * 4;
    int token = 0;
    for (; token + 4 <= count; token += 4) {
        float* to = tokens + size_t(token) * features;
        for (uint32_t feature = 0; feature < even; feature += 4)
            transpose4(tile + size_t(feature) * kLanes + token, kLanes, to + feature, features);
        for (uint32_t feature = even; feature < features; ++feature)
            for (int i = 0; i < 4; ++i)
                to[size_t(i) * features + feature] = tile[size_t(feature) * kLanes + token + i];
    }
    for (; token < count; ++token)
        for (uint32_t feature = 0; feature < features; ++feature)
            tokens[size_t(token) * features + feature] = tile[size_t(feature) * kLanes + token];
}

/// The kernels that this file has; an instruction set adds its matrix products, attention and peak.
constexpr Kernels tile_kernels() {
    Kernels kernels;
    kernels.vector_bits = 32 * kWidth;
    kernels.scale = scale;
    kernels.activation = activation;
    kernels.affine = affine;
    kernels.fake_quantize = fake_quantize;
    kernels.add = add;
    kernels.layer_norm = layer_norm;
    kernels.quantize_panel4 = quantize_panel4;
    kernels.quantize_panel1 = quantize_panel1;
    kernels.quantize_i16 = quantize_i16;
    kernels.token_ranges = token_ranges;
    kernels.load = load;
    kernels.store = store;
    return kernels;
}
