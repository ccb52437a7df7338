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

/// TDPBSUD.
template <typename Sums, typename Weights, typename Inputs>
inline void add_products() {
    const int rows = rows_of(Sums::number), columns = row_bytes_of(Sums::number) / 4;
    const int depth = row_bytes_of(Weights::number) / 4;
    require(Sums::number != Weights::number && Weights::number != Inputs::number && Inputs::number != Sums::number);
    require(rows_of(Weights::number) == rows && rows_of(Inputs::number) == depth);
    require(row_bytes_of(Inputs::number) == 4 * columns);
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

/// LDTILECFG and TILERELEASE by turns: a thread that did not release them is a fault of the engine.
void configure_tiles() noexcept {
    require(tiles.configuration.palette == 0);
    tiles = Tiles{kWholeTiles};
}

void release_tiles() noexcept {
    require(tiles.configuration.palette == 1);
    tiles.configuration.palette = 0;
}
