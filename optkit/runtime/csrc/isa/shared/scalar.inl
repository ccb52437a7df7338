// The kernels of plain C++, for any CPU: what the others are tested against.
// Included once per translation unit, inside its unnamed namespace.

#include "isa/shared/vector.inl"
#include "isa/shared/tile.inl"

/// Two int16 products each, added to 32 bits.
inline Ints add_products(Ints sums, Ints a, Ints b) {
    return sums + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
}

#include "isa/shared/quads.inl"
#include "isa/shared/attention.inl"

/// out[row x height + i][token] = sum over entries and j of weight[i][j] * panel(index, j, token). The sums lie in
/// memory that holds floats before and after: each is copied in and out.
template <int kHeight, int kIndices, typename Number, typename Read>
void rows(const LinearArgs& args, const Number* weights, Read read_panel) {
    for (uint32_t group = args.group; group < args.group + args.groups; ++group)
        for (int i = 0; i < kHeight; ++i)
            for (int lane = 0; lane < args.lanes; ++lane) {
                const size_t output = size_t(args.chunk.order[group]) * kHeight + i;
                char* target = static_cast<char*>(args.out) + (output * kLanes + lane) * sizeof(Number);
                Number sum = 0;
                if (args.accumulate)
                    __builtin_memcpy(&sum, target, sizeof sum);
                for (uint32_t entry = args.chunk.begin[group]; entry < args.chunk.begin[group + 1]; ++entry)
                    sum += read_panel(args.chunk.indices + size_t(entry) * kIndices,
                                      weights[size_t(entry) * kHeight + i], lane);
                __builtin_memcpy(target, &sum, sizeof sum);
            }
}

/// One of the four s8 that lie in an int32.
int32_t weight(int32_t quad, int i) { return int8_t(uint32_t(quad) >> (8 * i)); }

template <int kHeight>
void block4(const LinearArgs& args) noexcept {
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel);
    rows<kHeight, 1>(args, args.chunk.weights, [&](const uint16_t* index, int32_t quad, int lane) {
        int32_t sum = 0;
        for (int i = 0; i < 4; ++i)
            sum += weight(quad, i) * panel[(size_t(*index) * kLanes + lane) * 4 + i];
        return sum;
    });
}

template <int kHeight>
void element(const LinearArgs& args) noexcept {
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel);
    rows<kHeight, 4>(args, args.chunk.weights, [&](const uint16_t* index, int32_t quad, int lane) {
        int32_t sum = 0;
        for (int i = 0; i < 4; ++i)
            sum += weight(quad, i) * panel[size_t(index[i]) * kLanes + lane];
        return sum;
    });
}

template <int kHeight>
void single(const LinearArgs& args) noexcept {
    const float* panel = static_cast<const float*>(args.panel);
    rows<kHeight, 1>(args, args.chunk.floats, [&](const uint16_t* index, float number, int lane) {
        return number * panel[size_t(*index) * kLanes + lane];
    });
}

template <int kHeight>
constexpr LinearKernel kBlock4 = {Form::block4, kHeight, 1, block4<kHeight>};

constexpr LinearKernel blocks[] = {kBlock4<1>, kBlock4<2>, kBlock4<4>};
constexpr LinearKernel gathered[] = {{Form::element, 1, 1, element<1>},
                                     {Form::element, 4, 1, element<4>},
                                     {Form::single, 1, 1, single<1>},
                                     {Form::single, 4, 1, single<4>}};
constexpr auto linear = joined(blocks, gathered);

uint64_t peak(uint64_t iterations, int32_t* sink) noexcept {
    int32_t sum = 0;
    for (uint64_t i = 0; i < iterations; ++i) {
        sum += int32_t(i & 0x7f) * 3;
        __asm__ volatile("" : "+r"(sum));  // else the loop is folded away
    }
    *sink = sum;
    return iterations;
}

constexpr Kernels scalar_kernels() {
    Kernels kernels = tile_kernels();
    kernels.set_linear(linear.list);
    kernels.attention = attention;
    kernels.peak = peak;
    return kernels;
}
