// A program as it lies in an IR (layout: optkit/runtime/packing.py), read and checked. Views point into the bytes read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "format/activation.h"

namespace optkit {

constexpr uint32_t kNone = 0xFFFFFFFFu;

/// The bytes are no program, or none that this library may run.
struct FormatError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Op : uint32_t {
    linear = 1,
    activation = 2,
    affine = 3,
    fake_quantize = 4,
    add = 5,
    layer_norm = 6,
    attention = 7,
    multiply = 8,
    rms_norm = 9,
    rotary = 10,
    relative = 11,  // of scores: made inside of the attention that they are added in
    bias = 12,      // the same
};

enum class Quantize : uint32_t { none = 0, fixed = 1, dynamic = 2 };

template <typename T>
struct View {
    const T* data = nullptr;
    size_t size = 0;
    explicit operator bool() const { return data != nullptr; }
    const T& operator[](size_t index) const { return data[index]; }
};

/// Non-zero blocks of `rows` outputs x `columns` inputs; group g of `rows` outputs holds blocks pointers[g]..[g + 1].
struct PackedWeights {
    uint32_t out = 0, in = 0, rows = 0, columns = 0;
    bool single = false;  // float32 values, else int8
    View<uint32_t> pointers;
    View<uint16_t> indices;
    View<int8_t> bytes;  // blocks x rows x columns when int8
    View<float> floats;  // the same when float32
};

struct Step {
    Op op{};
    uint32_t sources[4] = {kNone, kNone, kNone, kNone};
    uint32_t target = kNone;
    // linear
    PackedWeights weights;
    Quantize quantize = Quantize::none;
    float low = 0, high = 0;  // of Quantize::fixed and fake_quantize
    View<float> scales, bias, channel_scale;
    // the others
    ActivationKind activation{};
    uint32_t levels = 0, heads = 0, key_heads = 0;
    uint32_t left = kNone, right = kNone;  // attention: distances of keys before and behind a query; kNone: any
    bool interleaved = false;  // rotary: features 2i and 2i + 1 of a head turn together, else i and i + size / 2
    bool of_keys = false;      // relative: the content is a key, else a query
    float epsilon = 0, scale = 0;
    View<float> first, second;  // affine: scale, shift; layer_norm: gamma, beta; rms_norm: gamma
};

/// What a value without features is for: it is added to the scores of an attention, or needed for that.
enum class Use : uint8_t { none, mask, table, places, sum };

struct Spec {
    std::vector<uint32_t> features;  // of each value; 0 marks what is not made of tokens: Spec::uses says what it is
    std::vector<Use> uses;           // of each value
    std::vector<uint32_t> inputs, outputs;
    std::vector<Step> steps;
};

/// Reads `size` bytes. Every number is checked before it is used: offsets, sizes, indices, the order of steps.
/// @throws FormatError that says what is wrong.
Spec parse(const uint8_t* bytes, size_t size);

}  // namespace optkit
