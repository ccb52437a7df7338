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

/// What the entries of a layer hold. An entry has a weight for each of `height` outputs and each of its inputs.
///   block4   one index (a group of 4 inputs), height x 4 x s8; reads panel4
///   element  4 indices (inputs), height x 4 x s8; reads panel1
///   single   one index, height x one float; reads a tile
enum class Form : uint8_t { block4, element, single };

/// One layer's weights over one range of inputs, as rows of entries. A row is `height` outputs. Groups of `interleaved`
/// rows lie together: the first entry of each row, the second of each, and so on, with zero weights behind the end of
/// the shorter ones. Kernels that take `together` entries at once find the first `together` of each row, the next of
/// each, and so on; the weights of so many entries lie output by output, [height][together].
struct Chunk {
    const uint32_t* begin;        // groups + 1: entries of each row, summed up
    const uint32_t* quads_16bit;  // groups: so many of its first entries come in fours whose 16-bit sums can be added,
    const uint32_t* pairs_16bit;  // and so many of those after them in pairs; for kernels with saturating_i16
    const uint32_t* order;        // groups x interleaved: which row of its block (layout.h: kBlockOutputs) each is
    const uint16_t* indices;
    const int32_t* weights;  // int8 forms
    const float* floats;     // single
};

struct LinearArgs {
    Chunk chunk;
    const void* panel;
    uint32_t group, groups;  // first group of a block and how many it has
    int lanes;               // 16 or 32 tokens
    bool accumulate;         // add to what `out` holds
    void* out;               // [outputs][32], int32 or float, of the block that the rows belong to
};

/// One way to compute the matrix products of a linear layer.
struct LinearKernel {
    Form form;
    uint8_t height;       // outputs of a row
    uint8_t interleaved;  // rows of a group
    void (*run)(const LinearArgs&) noexcept;
    /// Entries that are taken at once. More than 1: rows are padded to a multiple of them, and the indices of one more
    /// step lie behind a chunk's last, so that a kernel may read ahead.
    uint8_t together = 1;
};

template <uint32_t kCount>
struct LinearKernels {
    LinearKernel list[kCount];
};

/// Both lists, one behind the other.
template <uint32_t kFirst, uint32_t kSecond>
constexpr LinearKernels<kFirst + kSecond> joined(const LinearKernel (&first)[kFirst],
                                                 const LinearKernel (&second)[kSecond]) {
    LinearKernels<kFirst + kSecond> both{};
    for (uint32_t i = 0; i < kFirst + kSecond; ++i)
        both.list[i] = i < kFirst ? first[i] : second[i - kFirst];
    return both;
}

/// The first step after the sums: y = sum * (scales[n] * token_scale[t]) + bias[n] + token_low[t] * low_factor[n]
struct ScaleArgs {
    const float* scales;  // null: the sums are floats, y = sum + bias[n]
    const float* bias;
    const float* token_scale = nullptr;  // dynamic quantization only
    const float* token_low = nullptr;
    const float* low_factor = nullptr;  // sum of the row's weights x its scale
};

/// Keys whose scores are held at a time: their floats stay in the first-level cache.
constexpr uint32_t kAttentionKeys = 128;
/// Floats of AttentionArgs::scratch, however long the sequence: scores, values of 32 features in 16 bits, and 32 rows
/// of sums.
constexpr size_t kAttentionScratch = kAttentionKeys * (kLanes + 32 / 2) + 32 * kLanes;
/// And for each feature of a head and three more, rounded up to so many: a query and a key in 16 bits.
constexpr size_t kAttentionScratchOfFeature = kLanes, kAttentionFeatures = 32;

/// What is added to scores, as it lies in the input: float32, or bytes, non-zero where a key takes part.
struct MaskView {
    const void* data = nullptr;  // of key 0 and the tile's first query; null: no mask
    bool boolean = false;
    size_t query_stride = 0, key_stride = 0;  // numbers or bytes from one to the next; keys: 1, or 0 as for queries
};

/// Relative positions: `scale` x the product of a query, or of a key, with a row of a table is added to their score.
struct RelativeView {
    // Queries or keys of the sequence, as in AttentionArgs: floats or, less `zero`, u8.
    const float* content = nullptr;
    size_t stride = 0;  // floats from tile to tile
    bool integers = false;
    uint32_t skip = 0;
    int32_t zero = 0;
    bool of_keys = false;
    const float* table = nullptr;     // [row][features of a head]
    const int32_t* places = nullptr;  // the row for each distance, query less key: places[0] is that of 0
    float scale = 0;
};

/// Of one attention.
constexpr uint32_t kMaxRelatives = 2;
/// Floats of AttentionArgs::relative_scratch: for 16 lanes, a product for each distance of 16 tokens to the keys whose
/// scores are held.
constexpr size_t kRelativeProducts = (kAttentionKeys + 16) * 16;
/// Behind them, for each feature of a head, rounded up to so many, a float of 16 lanes, and a bfloat16 for each
/// distance of a tile to these keys.
constexpr size_t kRelativeFeatures = 64, kRelativeScratchOfFeature = 16 + (kAttentionKeys + kLanes) / 2;

/// A panel to be written: q = round(x * factor[n] + shift), or with a range of each token, q = round((x * factor[n] -
/// token_low[t]) * token_inverse[t]); clamped to 0..255, 0 for no number.
struct PanelArgs {
    uint8_t* panel;
    bool grouped;  // panel4, else panel1
    const float* factor;
    float shift = 0;
    const float *token_low = nullptr, *token_inverse = nullptr;
};

/// u8 [row / 4][32][4] to be written: round(x * factor + shift), clamped to 0..255, 0 for no number.
struct IntegersArgs {
    uint8_t* target;
    float factor, shift;
};

/// What becomes of a block of sums. Panels, of fixed range, and integers are made of int32 sums without ranges of
/// tokens; integers without a step between.
struct EpilogueArgs {
    const float* sums;  // [rows][32], int32 or float
    uint32_t rows;
    int lanes;
    ScaleArgs scale;
    // Then one of these or neither.
    const ActivationKind* activation = nullptr;
    const float* other = nullptr;  // [rows][32], added, or multiplied by
    bool multiplies = false;
    // At last one of these.
    float* target = nullptr;  // may be the sums
    const PanelArgs* panel = nullptr;
    const IntegersArgs* integers = nullptr;
};

/// Pairs of features of each head that turn together: features i and i + size / 2, or 2i and 2i + 1 if `interleaved`.
/// target = source * cosines + turned * sines, where turned are a pair's two features in the other order, the one that
/// comes first negated (Su et al. 2021, https://arxiv.org/abs/2104.09864).
struct RotaryArgs {
    float* target;
    const float *source, *cosines, *sines;  // [heads][size][32]; the tables: [size][32]
    uint32_t heads, size;
    bool interleaved;
    int lanes;
};

struct AttentionArgs {
    // Tiles of one sequence, [tile][features][32]; a tile holds `width` tokens. Queries and keys may be 8-bit numbers,
    // u8 [tile][features / 4][32][4]: then a head's features begin behind the first `skip` of a group of four.
    bool integers;
    uint32_t skip;
    int32_t query_zero, key_zero;
    const void *query, *key;
    const float* value;  // floats, or as to_bfloat16 leaves them
    float* target;
    size_t query_stride, key_stride, value_stride;  // floats from tile to tile
    uint32_t size, length, width;                   // features of a head; tokens of the sequence; tokens of a tile
    uint32_t tile;                                  // of the queries
    int lanes, queries;                             // that are computed; that are tokens
    bool bfloat16_values;
    float scale;
    bool added;           // whether anything is added to the scores: one of the following
    MaskView mask, bias;  // of the first, keys that no query sees are looked for
    RelativeView relatives[kMaxRelatives];
    uint32_t relative_count;
    float *scratch, *relative_scratch;
};

/// A row's functions. None of them throws or allocates.
struct Kernels {
    int vector_bits = 0;
    bool saturating_i16 = false;  // products are added in 16 bits that saturate: the layout keeps their sums inside
    bool for_tests = false;       // never chosen unless OPTKIT_ISA names it
    /// Asks the operating system for registers that it gives only then, on a CPU that has them; null: there are none.
    bool (*permitted)() noexcept = nullptr;
    /// What a thread does before it runs the functions below for a while, and after; null: nothing.
    void (*enter)() noexcept = nullptr;
    void (*leave)() noexcept = nullptr;
    /// Each form at least with height 1.
    const LinearKernel* linear = nullptr;
    uint32_t linear_count = 0;

    template <uint32_t kCount>
    constexpr void set_linear(const LinearKernel (&list)[kCount]) {
        linear = list;
        linear_count = kCount;
    }

    void (*epilogue)(const EpilogueArgs&) noexcept = nullptr;
    void (*activation)(float* target, const float* source, uint32_t rows, int lanes, ActivationKind) noexcept = nullptr;
    /// target = source * scale + shift, either null; one number per row.
    void (*affine)(float* target, const float* source, uint32_t rows, int lanes, const float* scale,
                   const float* shift) noexcept = nullptr;
    void (*fake_quantize)(float* target, const float* source, uint32_t rows, int lanes, float low, float high,
                          uint32_t levels) noexcept = nullptr;
    void (*add)(float* target, const float* left, const float* right, uint32_t rows, int lanes) noexcept = nullptr;
    void (*multiply)(float* target, const float* left, const float* right, uint32_t rows, int lanes) noexcept = nullptr;
    /// Writes a panel of the results, too, unless it is null.
    void (*layer_norm)(float* target, const float* source, uint32_t rows, int lanes, const float* gamma,
                       const float* beta, float epsilon, const PanelArgs* panel) noexcept = nullptr;
    /// Each head of `rows` features divided by its root mean square, times gamma. A panel, too, if there is one head.
    void (*rms_norm)(float* target, const float* source, uint32_t rows, uint32_t heads, int lanes, const float* gamma,
                     float epsilon, const PanelArgs* panel) noexcept = nullptr;
    void (*rotary)(const RotaryArgs&) noexcept = nullptr;
    void (*quantize)(const float* source, uint32_t rows, int lanes, const PanelArgs&) noexcept = nullptr;
    void (*quantize_u8)(const float* source, uint32_t rows, int lanes, const IntegersArgs&) noexcept = nullptr;
    /// Each token's own range over all rows, 0 inside: low, inverse of the step, the step.
    void (*token_ranges)(const float* source, uint32_t rows, int lanes, const float* channel, float* low,
                         float* inverse, float* step) noexcept = nullptr;
    void (*attention)(const AttentionArgs&) noexcept = nullptr;
    /// The same with products of bfloat16 and float32 sums; null where the set has none.
    void (*attention_bf16)(const AttentionArgs&) noexcept = nullptr;
    /// Rounds floats to bfloat16 in place: those of a row's first `lanes` tokens then lie in its first bytes. Where
    /// there is attention_bf16.
    void (*to_bfloat16)(float* target, uint32_t rows, int lanes) noexcept = nullptr;
    /// Tokens (count x features, row after row) to a tile and back; the tile's other lanes become zero.
    void (*load)(float* tile, const float* tokens, uint32_t features, int count, int lanes) noexcept = nullptr;
    void (*store)(float* tokens, const float* tile, uint32_t features, int count) noexcept = nullptr;
    /// Runs its fastest products so many times on entries that stay in cache; returns the multiply-adds, for the
    /// machine's peak.
    uint64_t (*peak)(uint64_t iterations, int32_t* sink) noexcept = nullptr;
};

}  // namespace optkit
