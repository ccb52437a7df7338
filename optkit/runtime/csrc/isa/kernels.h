// What an instruction set has to provide, and the shapes that its functions share.
//
// This header, and whatever the kernels include, holds no inline function of the standard library: of an inline
// function that several objects define, the linker keeps any one, and one compiled for AVX-512 must not be the one that
// all use.
//
// A tile holds up to 32 tokens, features first: float [feature][32]. Vectors run along tokens, so a sum over features
// needs no sum across a vector. A panel is a tile's activations as u8, in the order that its kernel reads:
//   panel4: [feature / 4][32 tokens][4 features], for 8-bit dot products of four;
//   panel1: [feature][32 tokens], for weights that are gathered one by one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/activation.h"

namespace optkit {

constexpr int kLanes = 32;

/// One layer's weights over one range of inputs, as rows of entries. What an entry is depends on the form:
///   block4        one index (a group of 4 inputs), 4 x s8
///   element       4 indices (inputs), 4 x s8
///   element_rows4 4 indices, 4 outputs x 4 x s8; a row is 4 outputs
///   single        one index, one float
///   single_rows4  one index, 4 floats; a row is 4 outputs
struct Chunk {
    const uint32_t* begin;        // rows + 1: where each row's entries begin
    const uint32_t* quads_16bit;  // rows: so many of its first entries come in fours whose 16-bit sums can be added,
    const uint32_t* pairs_16bit;  // and so many of those after them in pairs
    const uint32_t* order;        // rows: which row of its block (layout.h: kBlockOutputs) each is
    const uint16_t* indices;
    const int32_t* weights;  // int8 forms
    const float* floats;     // single forms
};

struct LinearArgs {
    Chunk chunk;
    const void* panel;
    uint32_t row, rows;  // first row of a block and how many it has, in the form's rows
    int lanes;           // 16 or 32 tokens
    bool accumulate;     // add to what `out` holds
    void* out;           // [outputs][32], int32 or float, of the block that the rows belong to
};

/// Linear steps after the sums: y = sum * (scales[n] * token_scale[t]) + bias[n] + token_low[t] * low_factor[n]
struct ScaleArgs {
    const float* scales;
    const float* bias;
    const float* token_scale = nullptr;  // dynamic quantization only
    const float* token_low = nullptr;
    const float* low_factor = nullptr;  // sum of the row's weights x its scale
};

struct AttentionArgs {
    // Tiles of one sequence, [tile][features][32]; a tile holds `width` tokens. Queries and keys may be 8-bit numbers
    // less their zero points, as int16 [tile][features / 2][32][2], so that two products add up in one instruction.
    bool integers;
    const void *query, *key;
    const float* value;
    float* target;
    size_t query_stride, key_stride, value_stride;  // floats from tile to tile
    uint32_t size, length, width;                   // features of a head; tokens of the sequence; tokens of a tile
    uint32_t tile;                                  // of the queries
    int lanes;
    float scale;
    const float* key_mask;  // (length), added to each query's scores; or null
    const float* mask;      // [length][32 queries of this tile], added; or null
    float* scratch;         // [length][32]
};

/// A row's functions. None of them throws or allocates.
struct Kernels {
    int vector_bits = 0;
    bool saturating_i16 = false;  // products are added in 16 bits that saturate: the layout keeps their sums inside
    using Linear = void (*)(const LinearArgs&) noexcept;
    Linear block4 = nullptr, element = nullptr, element_rows4 = nullptr, single = nullptr, single_rows4 = nullptr;

    /// Turns int32 sums into floats in place; `rows` outputs of 32 tokens.
    void (*scale)(float* block, uint32_t rows, int lanes, const ScaleArgs&) noexcept = nullptr;
    void (*activation)(float* target, const float* source, uint32_t rows, int lanes, ActivationKind) noexcept = nullptr;
    /// target = source * scale + shift, either null; one number per row.
    void (*affine)(float* target, const float* source, uint32_t rows, int lanes, const float* scale,
                   const float* shift) noexcept = nullptr;
    void (*fake_quantize)(float* target, const float* source, uint32_t rows, int lanes, float low, float high,
                          uint32_t levels) noexcept = nullptr;
    void (*add)(float* target, const float* left, const float* right, uint32_t rows, int lanes) noexcept = nullptr;
    void (*layer_norm)(float* target, const float* source, uint32_t rows, int lanes, const float* gamma,
                       const float* beta, float epsilon) noexcept = nullptr;
    /// q = round((x * channel[row] - low[t]) * inverse[t]), clamped to 0..255, into panel4 or panel1.
    using Quantize = void (*)(uint8_t* panel, const float* source, uint32_t rows, int lanes, const float* channel,
                              const float* low, const float* inverse) noexcept;
    Quantize quantize_panel4 = nullptr, quantize_panel1 = nullptr;
    /// int16 [row / 2][lane][2] of what quantize_panel4 would make, less `zero`; `rows` is even.
    void (*quantize_i16)(int16_t* target, const float* source, uint32_t rows, int lanes, float low, float inverse,
                         int32_t zero) noexcept = nullptr;
    /// Each token's own range over all rows, 0 inside: low, inverse of the step, the step.
    void (*token_ranges)(const float* source, uint32_t rows, int lanes, const float* channel, float* low,
                         float* inverse, float* step) noexcept = nullptr;
    void (*attention)(const AttentionArgs&) noexcept = nullptr;
    /// Tokens (count x features, row after row) to a tile and back; the tile's other lanes become zero.
    void (*load)(float* tile, const float* tokens, uint32_t features, int count, int lanes) noexcept = nullptr;
    void (*store)(float* tokens, const float* tile, uint32_t features, int count) noexcept = nullptr;
    /// 8-bit multiply-adds of a loop that touches registers only, for the machine's peak.
    uint64_t (*peak)(uint64_t iterations, int32_t* sink) noexcept = nullptr;
};

}  // namespace optkit
