#include "engine/tiling.h"

#include <cmath>

namespace optkit {
namespace {

// Of a full tile's time, for half of its tokens.
constexpr double kHalfTileTime = 0.6;

Tiling cut(const Batch& batch, int width) { return {batch, width, (batch.length + size_t(width) - 1) / size_t(width)}; }

double time(const Tiling& tiling, int threads) {
    const double tile = tiling.batch.length > 16 && tiling.width == 32 ? 1.0 : kHalfTileTime;
    return std::ceil(double(tiling.tiles()) / threads) * tile;
}

}  // namespace

Tiling choose_tiling(const Batch& batch, int threads) {
    const Tiling full = cut(batch, 32), half = cut(batch, 16);
    return time(half, threads) < time(full, threads) ? half : full;
}

}  // namespace optkit
