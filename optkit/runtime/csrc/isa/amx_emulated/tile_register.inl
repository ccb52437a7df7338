// The tile registers of AMX in plain C++, instruction by instruction, with what each of them refuses: the kernels over
// them run on any CPU then. Included once per translation unit, inside its unnamed namespace; amx/ has the same
// interface.

#include "isa/shared/tile_configuration.inl"

/// A thread's registers. Without a configuration, which is palette 0, every instruction but LDTILECFG faults.
struct Tiles {
    TileConfiguration configuration;
    uint8_t bytes[kTileRegisters][kTileRows][kTileRowBytes] = {};
};

thread_local Tiles tiles;

/// Ends the process as an invalid instruction does.
inline void require(bool holds) {
    if (!holds)
        __builtin_trap();
}

inline int rows_of(int number) {
    require(tiles.configuration.palette == 1 && number < kTileRegisters && tiles.configuration.rows[number] > 0);
    return tiles.configuration.rows[number];
}

inline int row_bytes_of(int number) {
    require(tiles.configuration.palette == 1 && number < kTileRegisters && tiles.configuration.row_bytes[number] > 0);
    return tiles.configuration.row_bytes[number];
}

template <int kNumber>
struct TileRegister {
    static constexpr int number = kNumber;

    static void zero() {
        require(tiles.configuration.palette == 1);
        __builtin_memset(tiles.bytes[kNumber], 0, sizeof tiles.bytes[kNumber]);
    }
    static void load(const void* from, size_t stride) {
        const int rows = rows_of(kNumber), bytes = row_bytes_of(kNumber);
        zero();
        for (int row = 0; row < rows; ++row)
            __builtin_memcpy(tiles.bytes[kNumber][row], static_cast<const uint8_t*>(from) + row * stride,
                             size_t(bytes));
    }
    static void store(void* to, size_t stride) {
        const int rows = rows_of(kNumber), bytes = row_bytes_of(kNumber);
        for (int row = 0; row < rows; ++row)
            __builtin_memcpy(static_cast<uint8_t*>(to) + row * stride, tiles.bytes[kNumber][row], size_t(bytes));
    }
};

struct Shape {
    int rows, columns, depth;
};

/// Of a product of two registers, which have to fit each other.
template <typename Sums, typename Left, typename Right>
inline Shape product() {
    const Shape shape{rows_of(Sums::number), row_bytes_of(Sums::number) / 4, row_bytes_of(Left::number) / 4};
    require(Sums::number != Left::number && Left::number != Right::number && Right::number != Sums::number);
    require(rows_of(Left::number) == shape.rows && rows_of(Right::number) == shape.depth);
    require(row_bytes_of(Right::number) == 4 * shape.columns);
    return shape;
}

/// TDPBSUD.
template <typename Sums, typename Weights, typename Inputs>
inline void add_products() {
    const auto [rows, columns, depth] = product<Sums, Weights, Inputs>();
    for (int m = 0; m < rows; ++m)
        for (int k = 0; k < depth; ++k) {
            int8_t weights[4];
            __builtin_memcpy(weights, tiles.bytes[Weights::number][m] + 4 * k, sizeof weights);
            for (int n = 0; n < columns; ++n) {
                const uint8_t* inputs = tiles.bytes[Inputs::number][k] + 4 * n;
                uint32_t sum;  // wraps around, as the instruction's sums do
                __builtin_memcpy(&sum, tiles.bytes[Sums::number][m] + 4 * n, sizeof sum);
                for (int i = 0; i < 4; ++i)
                    sum += uint32_t(weights[i] * inputs[i]);
                __builtin_memcpy(tiles.bytes[Sums::number][m] + 4 * n, &sum, sizeof sum);
            }
        }
}

/// What TDPBF16PS takes and gives: no denormal numbers.
inline float flushed(float number) { return __builtin_fabsf(number) < 1.17549435e-38f ? number * 0.0f : number; }

/// One of a register's bfloat16, as a float.
inline float bfloat16(const uint8_t* from) {
    uint16_t half;
    __builtin_memcpy(&half, from, sizeof half);
    const uint32_t bits = uint32_t(half) << 16;
    float number;
    __builtin_memcpy(&number, &bits, sizeof number);
    return flushed(number);
}

/// TDPBF16PS: the products of first halves and those of second halves are added up apart, and then to the sum. A
/// product of two bfloat16 is exact in float32.
template <typename Sums, typename Left, typename Right>
inline void add_pair_products() {
    const auto [rows, columns, depth] = product<Sums, Left, Right>();
    for (int m = 0; m < rows; ++m)
        for (int n = 0; n < columns; ++n) {
            float halves[2] = {};
            for (int k = 0; k < depth; ++k)
                for (int i = 0; i < 2; ++i) {
                    const float left = bfloat16(tiles.bytes[Left::number][m] + 4 * k + 2 * i);
                    halves[i] = flushed(halves[i] + left * bfloat16(tiles.bytes[Right::number][k] + 4 * n + 2 * i));
                }
            uint8_t* at = tiles.bytes[Sums::number][m] + 4 * n;
            float sum;
            __builtin_memcpy(&sum, at, sizeof sum);
            sum = flushed(flushed(sum) + flushed(halves[0] + halves[1]));
            __builtin_memcpy(at, &sum, sizeof sum);
        }
}

/// LDTILECFG and TILERELEASE by turns: a thread that did not release them is a fault of the engine.
void configure_tiles() noexcept {
    require(tiles.configuration.palette == 0);
    tiles = Tiles{kWholeTiles};
}

void release_tiles() noexcept {
    require(tiles.configuration.palette == 1);
    tiles.configuration.palette = 0;
}
