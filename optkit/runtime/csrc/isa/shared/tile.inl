// What happens to a tile outside the matrix products, feature by feature, tokens along the vector.
// Included once per translation unit, inside its unnamed namespace, after vector.inl.

#include "isa/shared/activation.inl"
#include "isa/shared/one_pass.inl"

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

/// Less the mean and divided by the deviation of its token, times gamma plus beta.
struct Normalized {
    const float *source, *gamma, *beta;
    float mean[kLanes], factor[kLanes];

    Floats operator()(uint32_t row, int lane) const {
        const Floats distance = read(source + size_t(row) * kLanes + lane) - read(mean + lane);
        return distance * (read(factor + lane) * gamma[row]) + beta[row];
    }
};

/// Means and deviations of kVectors vectors of tokens, in one pass. Sums of squares are taken of distances from the
/// mean of the first features: what is lost to their difference from the mean of all is a few roundings, however far
/// from 0 the token is.
template <int kVectors>
void token_statistics(Normalized& normal, uint32_t rows, float epsilon) {
    constexpr uint32_t kFirst = 16;
    constexpr int kSets = kWidth == 16 ? 2 : 1;  // that features take turns with, as far as there are registers
    const uint32_t first = rows < kFirst ? rows : kFirst;
    const float* from = normal.source;
    Floats near[kVectors] = {}, sum[kSets][kVectors] = {}, squares[kSets][kVectors] = {};
    for (uint32_t row = 0; row < first; ++row)
        for (int v = 0; v < kVectors; ++v)
            near[v] += read(from + size_t(row) * kLanes + v * kWidth);
    for (int v = 0; v < kVectors; ++v)
        near[v] /= float(first);
    const auto take = [&](uint32_t row, int set) {
        OPTKIT_UNROLL
        for (int v = 0; v < kVectors; ++v) {
            const Floats distance = read(from + size_t(row) * kLanes + v * kWidth) - near[v];
            sum[set][v] += distance;
            squares[set][v] += distance * distance;
        }
    };
    uint32_t row = 0;
    for (; row + kSets <= rows; row += kSets) {
        OPTKIT_UNROLL
        for (int set = 0; set < kSets; ++set)
            take(row + uint32_t(set), set);
    }
    if (row < rows)
        take(row, 0);
    for (int v = 0; v < kVectors; ++v) {
        const Floats all = kSets == 1 ? sum[0][v] : sum[0][v] + sum[kSets - 1][v];
        const Floats all_squares = kSets == 1 ? squares[0][v] : squares[0][v] + squares[kSets - 1][v];
        const Floats mean = all / float(rows), variance = all_squares / float(rows) - mean * mean;
        write(normal.mean + v * kWidth, near[v] + mean);
        write(normal.factor + v * kWidth, 1.0f / root(larger(Floats{}, variance) + epsilon));
    }
}

void layer_norm(float* target, const float* source, uint32_t rows, int lanes, const float* gamma, const float* beta,
                float epsilon, const PanelArgs* panel) noexcept {
    Normalized normal{source, gamma, beta, {}, {}};
    lanes > 16 ? token_statistics<32 / kWidth>(normal, rows, epsilon)
               : token_statistics<16 / kWidth>(normal, rows, epsilon);
    if (!panel)
        return one_pass(rows, lanes, normal, Same{}, ToFloats{target});
    with_panel(*panel, [&](const auto& to) { one_pass(rows, lanes, normal, Same{}, both(ToFloats{target}, to)); });
}

/// Divided by the root mean square of its token, times gamma.
struct ByRootMeanSquare {
    const float *source, *gamma;
    float factor[kLanes];

    Floats operator()(uint32_t row, int lane) const {
        return read(source + size_t(row) * kLanes + lane) * (read(factor + lane) * gamma[row]);
    }
};

void rms_norm(float* target, const float* source, uint32_t rows, uint32_t heads, int lanes, const float* gamma,
              float epsilon, const PanelArgs* panel) noexcept {
    const uint32_t size = rows / heads;
    for (uint32_t head = 0; head < heads; ++head, source += size_t(size) * kLanes, gamma += size) {
        ByRootMeanSquare normal{source, gamma, {}};
        for (int lane = 0; lane < lanes; lane += kWidth) {
            Floats squares[4] = {};
            for (uint32_t row = 0; row < size; ++row) {
                const Floats number = read(source + size_t(row) * kLanes + lane);
                squares[row % 4] += number * number;
            }
            const Floats mean = ((squares[0] + squares[1]) + (squares[2] + squares[3])) / float(size);
            write(normal.factor + lane, 1.0f / root(mean + epsilon));
        }
        const ToFloats floats{target + size_t(head) * size * kLanes};
        if (heads > 1 && size % 4)  // one_pass would go on behind the last head
            for (uint32_t row = 0; row < size; ++row)
                for (int lane = 0; lane < lanes; lane += kWidth)
                    write(floats.target + size_t(row) * kLanes + lane, rounded(normal(row, lane)));
        else if (!panel)
            one_pass(size, lanes, normal, Same{}, floats);
        else
            with_panel(*panel, [&](const auto& to) { one_pass(size, lanes, normal, Same{}, both(floats, to)); });
    }
}

void rotary(const RotaryArgs& args) noexcept {
    const uint32_t pairs = args.size / 2, step = args.interleaved ? 2 : 1;
    const size_t apart = size_t(args.interleaved ? 1 : pairs) * kLanes;
    for (uint32_t head = 0; head < args.heads; ++head) {
        const size_t begin = size_t(head) * args.size * kLanes;
        for (uint32_t pair = 0; pair < pairs; ++pair)
            for (int lane = 0; lane < args.lanes; lane += kWidth) {
                const size_t at = size_t(pair) * step * kLanes + lane, other = at + apart;
                const Floats one = read(args.source + begin + at), two = read(args.source + begin + other);
                write(args.target + begin + at, one * read(args.cosines + at) - two * read(args.sines + at));
                write(args.target + begin + other, two * read(args.cosines + other) + one * read(args.sines + other));
            }
    }
}

void token_ranges(const float* source, uint32_t rows, int lanes, const float* channel, float* low, float* inverse,
                  float* step) noexcept {
    for (int lane = 0; lane < lanes; lane += kWidth) {
        Floats least = {}, most = {};
        for (uint32_t row = 0; row < rows; ++row) {
            const Floats number = read(source + size_t(row) * kLanes + lane) * channel[row];
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
    kernels.epilogue = epilogue;
    kernels.activation = activation;
    kernels.affine = affine;
    kernels.fake_quantize = fake_quantize;
    kernels.add = add;
    kernels.multiply = multiply;
    kernels.layer_norm = layer_norm;
    kernels.rms_norm = rms_norm;
    kernels.rotary = rotary;
    kernels.quantize = quantize;
    kernels.quantize_u8 = quantize_u8;
    kernels.token_ranges = token_ranges;
    kernels.load = load;
    kernels.store = store;
    return kernels;
}
