// The reference, for any CPU: what the others are tested against.
#define OPTKIT_WIDTH 4

#include "isa/kernels.h"

#include <cstddef>
#include <type_traits>

namespace optkit::isa::scalar {
namespace {

#include "isa/shared/vector.inl"
#include "isa/shared/tile.inl"

/// Two int16 products each, added to 32 bits.
inline Ints add_products(Ints sums, Ints a, Ints b) {
    return sums + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
}

#include "isa/shared/attention.inl"

/// out[row x height + i][token] = sum over entries and j of weight[i][j] * panel(index, j, token).
template <int kHeight, int kIndices, typename Number, typename Read>
void rows(const LinearArgs& args, const Number* weights, Read read_panel) {
    Number* out = static_cast<Number*>(args.out);
    for (uint32_t row = 0; row < args.rows; ++row)
        for (int i = 0; i < kHeight; ++i)
            for (int lane = 0; lane < args.lanes; ++lane) {
                Number& target = out[(size_t(args.chunk.order[args.row + row]) * kHeight + i) * kLanes + lane];
                Number sum = args.accumulate ? target : Number(0);
                for (uint32_t entry = args.chunk.begin[args.row + row]; entry < args.chunk.begin[args.row + row + 1];
                     ++entry)
                    sum += read_panel(args.chunk.indices + size_t(entry) * kIndices,
                                      weights[size_t(entry) * kHeight + i], lane);
                target = sum;
            }
}

int32_t weight(int32_t four, int i) { return int8_t(uint32_t(four) >> (8 * i)); }

void block4(const LinearArgs& args) {
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel);
    rows<1, 1>(args, args.chunk.weights, [&](const uint16_t* index, int32_t four, int lane) {
        int32_t sum = 0;
        for (int i = 0; i < 4; ++i)
            sum += weight(four, i) * panel[(size_t(*index) * kLanes + lane) * 4 + i];
        return sum;
    });
}

template <int kHeight>
void gathered(const LinearArgs& args) {
    const uint8_t* panel = static_cast<const uint8_t*>(args.panel);
    rows<kHeight, 4>(args, args.chunk.weights, [&](const uint16_t* index, int32_t four, int lane) {
        int32_t sum = 0;
        for (int i = 0; i < 4; ++i)
            sum += weight(four, i) * panel[size_t(index[i]) * kLanes + lane];
        return sum;
    });
}

template <int kHeight>
void single(const LinearArgs& args) {
    const float* panel = static_cast<const float*>(args.panel);
    rows<kHeight, 1>(args, args.chunk.floats, [&](const uint16_t* index, float number, int lane) {
        return number * panel[size_t(*index) * kLanes + lane];
    });
}

uint64_t peak(uint64_t iterations, int32_t* sink) {
    int32_t sum = 0;
    for (uint64_t i = 0; i < iterations; ++i) {
        sum += int32_t(i & 0x7f) * 3;
        __asm__ volatile("" : "+r"(sum));  // else the loop is folded away
    }
    *sink = sum;
    return iterations;
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {
    false, block4, gathered<1>, gathered<4>, single<1>, single<4>, scale, activation, affine,
    fake_quantize, add, layer_norm, quantize4, quantize1, center, range, attention, load, store, peak};

}  // namespace optkit::isa::scalar
