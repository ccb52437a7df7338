// What the tile registers of AMX are told before they are used. Included by each tile_register.inl.

constexpr int kTileRegisters = 8;
constexpr int kTileRows = 16;
constexpr int kTileRowBytes = 64;

/// As LDTILECFG reads it.
struct alignas(64) TileConfiguration {
    uint8_t palette = 0, start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfiguration) == 64, "the instruction reads 64 bytes");

/// Every register whole: what needs less is padded with zero weights, so that nothing is configured anew.
constexpr TileConfiguration whole_tiles() {
    TileConfiguration configuration;
    configuration.palette = 1;
    for (int i = 0; i < kTileRegisters; ++i) {
        configuration.row_bytes[i] = kTileRowBytes;
        configuration.rows[i] = kTileRows;
    }
    return configuration;
}

constexpr TileConfiguration kWholeTiles = whole_tiles();
